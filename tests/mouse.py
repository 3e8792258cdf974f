"""What a hand does on a page of the browser tests."""


def drag(page, *points):
    """Press at the first point, in pixels of the page, and let go at the last."""
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()
