"""The camera over stills: speeds, directions and places, on pictures whose values are their own positions."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from svd_core.training.camera import (
    CELL,
    MOVEMENTS,
    bucket_speed,
    film,
    motion_bucket,
    place,
    points,
    views,
)


def ramps(n):
    """2 n n: each position's x and y."""
    y, x = torch.meshgrid(torch.arange(float(n)), torch.arange(float(n)), indexing="ij")
    return torch.stack([x, y])


def test_bucket_is_speed_in_pixels_at_256_and_7_frames_a_second():
    assert motion_bucket(0.0, fps=7) == 0
    assert motion_bucket(3.0, fps=7) == 255
    assert motion_bucket(1.5, fps=7) == motion_bucket(0.75, fps=14) == 127.5
    assert motion_bucket(9.0, fps=7) == 255
    assert bucket_speed(100, fps=12) == pytest.approx(bucket_speed(100, fps=7) * 7 / 12)
    assert motion_bucket(bucket_speed(77, fps=9), fps=9) == pytest.approx(77)


@pytest.mark.parametrize("name", sorted(MOVEMENTS))
def test_speed_is_the_mean_length_of_the_first_step(name):
    seen = views(MOVEMENTS[name], speed=2.0, frames=14, size=32)
    where = points(seen, size=32)
    assert_close(where[0], points(torch.eye(2, 3)[None], size=32)[0])
    length = CELL * (where[1] - where[0]).norm(dim=-1).mean()
    wanted = 0.0 if name == "static" else 2.0
    assert float(length) == pytest.approx(
        wanted, rel=0.05
    )  # the constant is of a full square, not of 32 x 32 points


@pytest.mark.parametrize(
    ("name", "wanted"), [("right", (1, 0)), ("left", (-1, 0)), ("up", (0, -1)), ("down", (0, 1))]
)
def test_pan_shows_what_lies_in_its_direction(name, wanted):
    seen = views(MOVEMENTS[name], speed=CELL, frames=4, size=8)  # one position a frame
    frames = film(ramps(20), seen, (6 * CELL, 6 * CELL), size=8)
    assert_close(frames[0], ramps(20)[:, 6:14, 6:14], rtol=0, atol=1e-4)  # float32 grid of 20 positions
    step = torch.tensor(wanted, dtype=torch.float32).view(1, 2, 1, 1).expand(3, 2, 8, 8)
    assert_close(frames.diff(dim=0), step, rtol=0, atol=1e-4)


def test_zoom_in_narrows_the_view_and_a_clockwise_camera_turns_what_it_sees_anticlockwise():
    frames = film(ramps(20), views(MOVEMENTS["in"], speed=4.0, frames=6, size=8), (48, 48), size=8)
    widths = frames[:, 0, 0, -1] - frames[:, 0, 0, 0]
    assert (widths.diff() < 0).all()
    assert_close(frames[:, 0].mean((1, 2)), torch.full((6,), 9.5), rtol=0, atol=1e-4)
    turned = film(ramps(20), views(MOVEMENTS["clockwise"], speed=4.0, frames=2, size=8), (48, 48), size=8)
    top = turned[1, :, 0].mean(1) - turned[1].mean(
        (1, 2)
    )  # where the window's top now lies, about its centre
    assert top[0] > 0 > top[1]  # y points down: the camera's top leans to the right


@pytest.mark.parametrize("name", sorted(MOVEMENTS))
def test_no_window_leaves_a_picture_that_has_room(name):
    seen = views(MOVEMENTS[name], speed=2.0, frames=14, size=16)
    corners = {place(np.random.default_rng(seed), seen, size=16, within=(40, 44)) for seed in range(30)}
    assert len(corners) > 20
    for corner in corners:
        frames = film(torch.zeros(1, 40, 44), seen, corner, size=16)
        assert frames.shape == (14, 1, 16, 16)
        centre = torch.tensor([corner[1], corner[0]]) / CELL + 7.5
        where = points(seen, size=16) + centre
        assert where.min() >= -1e-3
        assert (where <= torch.tensor([43.0, 39.0]) + 1e-3).all()


def test_first_window_stays_inside_where_there_is_no_room():
    for name in MOVEMENTS:
        seen = views(MOVEMENTS[name], speed=3.0, frames=14, size=32)
        y, x = place(np.random.default_rng(0), seen, size=32, within=(32, 33))
        assert y == 0
        assert 0 <= x <= CELL
