"""Regions moved along drawn paths: where they come to lie, what counts as known, what is refused."""

import json

import pytest
import torch

from svd_core.control import moved_clip
from svd_core.control.easing import progress
from svd_core.control.paths import Drawing, Path, parse

assert_close = torch.testing.assert_close
HEIGHT, WIDTH, FRAMES = 48, 64, 5
SIZE = {"height": HEIGHT, "width": WIDTH}
SQUARE = ((0.2, 0.3), (0.45, 0.3), (0.45, 0.6), (0.2, 0.6))


@pytest.fixture(scope="module")
def photo():
    return torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def drag(photo, drawing, *, t=FRAMES, mask=None, radius=0.1):
    layers = moved_clip.layers(drawing, progress(t=t), **SIZE, radius=radius, mask=mask)
    held = moved_clip.pins(drawing, **SIZE, radius=radius)
    return layers, *moved_clip.compose(photo, layers, held, t=t)


def test_a_region_is_carried_whole_pixels_exactly(photo):
    """16 px to the right in 4 steps: each frame holds the square 4 px further, its colours to rounding."""
    x0, x1 = 10 / (WIDTH - 1), 26 / (WIDTH - 1)
    drawing = Drawing((Path(((x0, 0.5), (x1, 0.5)), polygon=SQUARE),))
    (layer,), frames, mask = drag(photo, drawing)
    assert layer.region.sum() > 150
    for f in range(FRAMES):
        wanted = layer.region.roll(4 * f, -1)
        assert_close(mask[f], wanted[0], rtol=0, atol=1e-4)
        inner = (wanted[0] == 1).expand(3, -1, -1)
        assert_close(frames[f][inner], photo[0].roll(4 * f, -1)[inner], rtol=0, atol=1e-4)


def test_the_first_frame_is_the_photo(photo):
    drawing = Drawing(
        (
            Path(((0.3, 0.5), (0.8, 0.2)), polygon=SQUARE, turn=40, scale=1.5),
            Path(((0.7, 0.7), (0.5, 0.9), (0.9, 0.9))),
        ),
        pins=((0.1, 0.1),),
    )
    _, frames, mask = drag(photo, drawing)
    assert torch.equal(frames[:1], photo)
    assert not torch.equal(frames[1:2], photo)
    assert mask[0].sum() > 0


def test_what_a_region_leaves_is_filled_and_not_claimed(photo):
    drawing = Drawing((Path(((0.3, 0.5), (0.8, 0.5)), polygon=SQUARE),))
    (layer,), frames, mask = drag(photo, drawing)
    left = (layer.region[0] == 1) & (mask[-1] == 0)
    assert left.sum() > 100
    hole = left.expand(3, -1, -1)
    assert float((frames[-1][hole] - photo[0][hole]).abs().mean()) > 0.1
    assert frames[-1][hole].std() < photo[0][hole].std() / 2, "smooth"
    untouched = ((layer.region[0] == 0) & (mask[-1] == 0)).expand(3, -1, -1)
    assert torch.equal(frames[-1][untouched], photo[0][untouched])


def test_turning_and_scaling_are_about_the_middle_of_the_region(photo):
    """A square turned by 90 degrees covers itself; at twice the size it has four times the area."""
    rim = (10 / (WIDTH - 1), 12 / (HEIGHT - 1), 30 / (WIDTH - 1), 32 / (HEIGHT - 1))
    x0, y0, x1, y1 = rim
    square = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    still = ((x0, y0), (x0, y0))
    (layer,), _, turned = drag(photo, Drawing((Path(still, polygon=square, turn=90),)))
    assert float((turned[-1] - layer.region[0]).abs().sum()) < 0.2 * float(layer.region.sum())
    _, frames, grown = drag(photo, Drawing((Path(still, polygon=square, scale=2.0),)))
    ratio = float(grown[-1].sum() / layer.region.sum())
    assert ratio == pytest.approx(4.0, rel=0.1)
    for axis, size in ((-1, WIDTH), (-2, HEIGHT)):
        places = torch.arange(size).float()
        line = grown[-1].sum(-2 if axis == -1 else -1).flatten()
        line0 = layer.region.sum(-2 if axis == -1 else -1).flatten()
        assert float((line * places).sum() / line.sum()) == pytest.approx(
            float((line0 * places).sum() / line0.sum()), abs=0.3
        )
    quarter = grown[2].sum() / layer.region.sum()
    assert float(quarter) == pytest.approx(2.0, rel=0.1), (
        "half-way: twice the area, as log scale grows evenly"
    )


def test_turning_is_clockwise(photo):
    """A bar that points right points down after 90 degrees."""
    bar = tuple((x / (WIDTH - 1), y / (HEIGHT - 1)) for x, y in ((20, 22), (44, 22), (44, 26), (20, 26)))
    marked = torch.zeros_like(photo)
    marked[..., 22:26, 40:44] = 1
    drawing = Drawing((Path((bar[0], bar[0]), polygon=bar, turn=90),))
    layers = moved_clip.layers(drawing, progress(t=2), **SIZE, radius=0.1)
    frames, _ = moved_clip.compose(marked, layers, torch.zeros(1, 1, HEIGHT, WIDTH), t=2)
    rows = frames[1, 0].sum(1)
    assert float((rows * torch.arange(HEIGHT)).sum() / rows.sum()) > 30


def test_paths_are_walked_at_constant_speed_through_their_points():
    points = torch.tensor([[0.0, 0.0], [10.0, 0.0], [10.0, 30.0], [40.0, 30.0]])
    line = moved_clip.curve(points)
    for point in points:
        assert float((line - point).norm(dim=1).min()) < 1e-4
    places = moved_clip.along(points, progress(t=41))
    steps = places.diff(dim=0).norm(dim=1)
    assert float(steps.max() / steps.min()) < 1.05
    assert_close(places[0], points[0])
    assert_close(places[-1], points[-1])
    straight = moved_clip.along(torch.tensor([[1.0, 2.0], [9.0, 6.0]]), progress(t=5))
    assert_close(straight, torch.stack([torch.linspace(1, 9, 5), torch.linspace(2, 6, 5)], -1))


def test_a_path_that_stands_still_stays():
    assert_close(
        moved_clip.along(torch.tensor([[3.0, 4.0], [3.0, 4.0]]), progress(t=3)),
        torch.tensor([[3.0, 4.0]] * 3),
    )


def test_polygons_hold_the_pixels_inside_them():
    corners = torch.tensor([[2.0, 2.0], [12.0, 2.0], [12.0, 7.0], [2.0, 7.0]]) + 0.5
    region = moved_clip.polygon(corners, height=16, width=20)[0, 0]
    wanted = torch.zeros(16, 20)
    wanted[3:8, 3:13] = 1
    assert torch.equal(region, wanted)
    bow = torch.tensor([[0.0, 0.0], [19.0, 15.0], [19.0, 0.0], [0.0, 15.0]])
    assert 0.4 < float(moved_clip.polygon(bow, height=16, width=20).mean()) < 0.6


def test_a_mask_is_shared_out_among_paths_without_a_polygon(photo):
    mask = torch.zeros(1, 1, HEIGHT, WIDTH)
    mask[..., 10:20, 5:15] = 1
    mask[..., 10:20, 45:55] = 1
    drawing = Drawing((Path(((0.15, 0.3), (0.15, 0.6))), Path(((0.8, 0.3), (0.8, 0.1)))))
    layers, *_ = drag(photo, drawing, mask=mask)
    assert torch.equal(layers[0].region + layers[1].region, mask)
    assert layers[0].region[..., :30].sum() == layers[1].region[..., 30:].sum() == 100


def test_pins_hold_the_photo_in_every_frame(photo):
    """Also inside of what is carried away, where no layer covers them."""
    x, y = 0.3, 0.45
    drawing = Drawing((Path(((0.3, 0.45), (0.9, 0.45)), polygon=SQUARE),), pins=((x, y),))
    _, frames, mask = drag(photo, drawing, radius=0.05)
    column, row = round(x * (WIDTH - 1)), round(y * (HEIGHT - 1))
    for f in (0, FRAMES - 1):
        assert mask[f, 0, row, column] == 1
        assert torch.equal(frames[f, :, row, column], photo[0, :, row, column])


def test_a_region_may_leave_the_picture(photo):
    drawing = Drawing((Path(((0.3, 0.5), (2.0, 0.5)), polygon=SQUARE),))
    _, frames, mask = drag(photo, drawing)
    assert mask[-1].sum() == 0
    assert frames.isfinite().all()


def test_nothing_drawn_is_a_still_clip(photo):
    _, frames, mask = drag(photo, Drawing())
    assert torch.equal(frames, photo.expand(FRAMES, -1, -1, -1))
    assert not mask.any()


# JSON


def test_short_and_long_forms_say_the_same():
    points = [[0.1, 0.2], [0.3, 0.4]]
    wanted = Drawing((Path(((0.1, 0.2), (0.3, 0.4))),))
    for text in ([points], {"paths": [points]}, {"paths": [{"points": points}], "pins": []}):
        assert parse(json.dumps(text)) == wanted
    assert parse("") == parse("  ") == parse("{}") == Drawing()
    full = {"points": points, "polygon": [[0, 0], [1, 0], [1, 1]], "radius": 0.2, "turn": -90, "scale": 2}
    (path,) = parse(json.dumps({"paths": [full], "pins": [[0.5, 1]]})).paths
    assert path == Path(((0.1, 0.2), (0.3, 0.4)), ((0, 0), (1, 0), (1, 1)), 0.2, -90.0, 2.0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("drag it left", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("7", "write it as"),
        ('{"lines": []}', "write it as"),
        ('{"paths": "all"}', "use a list"),
        ('{"paths": [[[0.5, 0.5]]]}', "put a single point under pins"),
        (json.dumps([[[0.5, 0.5]] * 10_000]), "10000 points, use 2 to 500"),
        (json.dumps([[[0.5, 0.5]] * 2] * 101), "at most 100"),
        ("[[[0.5, 0.5], [NaN, 0.5]]]", "use a number"),
        ("[[[0.5, 0.5], [1e999, 0.5]]]", "use a number"),
        ("[[[1.5, 0.5], [0.5, 0.5]]]", "the start of path 1 holds 1.5"),
        ("[[[0.5, 0.5], [7, 0.5]]]", "use a number from -1 to 2"),
        ("[[[0.5, 0.5], [0.5]]]", "a point as"),
        ("[[[0.5, 0.5], [true, 0.5]]]", "use a number"),
        ('[{"points": [[0, 0], [1, 1]], "colour": 1}]', "and if you like"),
        ('[{"points": [[0, 0], [1, 1]], "scale": 0}]', "the scale of path 1 holds 0"),
        ('[{"points": [[0, 0], [1, 1]], "polygon": [[0, 0], [1, 1]]}]', "the polygon of path 1 has 2 points"),
        ('{"pins": [[0.5, 1.2]]}', "pin 1 holds 1.2"),
        ('{"pins": [0.5, 0.5]}', "a point as"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
