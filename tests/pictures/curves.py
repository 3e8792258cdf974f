"""A measured curve: a thin line for each photograph, a thick one for their mean, numbers at its points."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from PIL import Image, ImageDraw, ImageFont

from .drawing import INK, PAPER

SIZE, BOX = (520, 300), (64, 44, 500, 250)  # of the picture, and of the plot: left, top, right, bottom
THIN, THICK, FAINT = (92, 110, 132), (94, 175, 255), (62, 62, 70)


def draw(path: Path, title: str, below: str, at: Sequence[float], lines: Sequence[Sequence[float]]) -> None:
    """`lines` holds a value for each position `at`; both axes begin at 0."""
    picture = Image.new("RGB", SIZE, PAPER)
    pen = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(15), ImageFont.load_default(12)
    left, top, right, bottom = BOX
    wide, high = max(at), 1.1 * max(map(max, lines))

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x / wide * (right - left), bottom - y / high * (bottom - top)

    pen.text((14, 12), title, INK, large)
    pen.text(((left + right) / 2, bottom + 26), below, INK, small, anchor="ma")
    for share in (0, 0.5, 1):
        y = place(0, share * high)[1]
        pen.line((left, y, right, y), FAINT)
        pen.text((left - 8, y), f"{share * high:.2g}" if share else "0", INK, small, anchor="rm")
    for x in at:
        pen.text((place(x, 0)[0], bottom + 6), f"{x:g}", INK, small, anchor="ma")
    for values in lines:
        pen.line([place(*pair) for pair in zip(at, values)], THIN, 1)
    middle = [mean(column) for column in zip(*lines)]
    points = [place(*pair) for pair in zip(at, middle)]
    pen.line(points, THICK, 3)
    for (x, y), value in zip(points, middle):
        pen.ellipse((x - 4, y - 4, x + 4, y + 4), THICK)
        pen.text((min(max(x, left + 20), right - 16), y - 20), f"{value:.3f}", INK, small, anchor="ma")
    picture.save(path, optimize=True)
