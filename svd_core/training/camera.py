"""A camera over latents: windows that pan, zoom or turn over an encoded picture,
at the speed that a motion bucket means.

Where the encoder is equivariant, a moved window of latents is what encoding the moved picture would give:
no encoder runs for the frames, and every picture serves every movement. Pixels work as well, with `cell=1`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CELL = 8  # pixels along a latent position
WIDTH = 256  # pixels, the picture that buckets are defined on
FASTEST = 3.0  # pixels a frame at 7 frames a second: what bucket 255 stands for
FULL_SPEED = FASTEST * 7 / WIDTH  # the same in picture widths a second
RADIUS = 0.3826  # mean distance of a square's points from its centre, in sides

GUESS = (
    "note: motion buckets follow this pack's own linear law, which is svd-nano's. How the released "
    "checkpoints were labelled was never published: for them a bucket is a guess, and --bucket 127 "
    "of the lora command gives every clip the value that public trainers use"
)


@dataclass(frozen=True)
class Movement:
    """Where the camera goes; one of the three at a time, none for a camera that stands."""

    pan: tuple[float, float] = (0.0, 0.0)  # to the right and down, of length 1
    zoom: float = 0.0  # 1 towards the picture, -1 away
    turn: float = 0.0  # of the camera: 1 clockwise, -1 anticlockwise


MOVEMENTS = {
    "static": Movement(),
    "right": Movement(pan=(1, 0)),
    "left": Movement(pan=(-1, 0)),
    "up": Movement(pan=(0, -1)),
    "down": Movement(pan=(0, 1)),
    "in": Movement(zoom=1),
    "out": Movement(zoom=-1),
    "clockwise": Movement(turn=1),
    "anticlockwise": Movement(turn=-1),
}


def motion_bucket(speed: float, *, fps: float) -> float:
    """The bucket of a mean movement of `speed` pixels a frame at `fps`; up to 255."""
    return 255.0 * min(1.0, speed / WIDTH * fps / FULL_SPEED)


def bucket_speed(bucket: float, *, fps: float) -> float:
    """Pixels a frame that a bucket asks for at `fps`: the inverse of `motion_bucket`."""
    return bucket / 255.0 * FULL_SPEED * WIDTH / fps


def views(movement: Movement, *, speed: float, frames: int, size: int, cell: int = CELL) -> Tensor:
    """What each frame sees: t 2 3, from the window's points to points about the first one's centre, x then y.

    Both in positions of `cell` pixels. `speed` is the mean movement in pixels a frame over a window of `size`
    positions.
    """
    path = np.arange(frames) * speed / cell
    angle, scale = path * movement.turn / (RADIUS * size), np.exp(-path * movement.zoom / (RADIUS * size))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    rows = [
        np.stack([cos, -sin, path * movement.pan[0]], -1),
        np.stack([sin, cos, path * movement.pan[1]], -1),
    ]
    return torch.from_numpy(np.stack(rows, 1)).float()


def points(seen: Tensor, *, size: int) -> Tensor:
    """Positions that each frame's window of `size` samples, about the first one's centre: t size size 2."""
    axis = torch.arange(size) - (size - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.einsum("tij,hwj->thwi", seen, torch.stack([x, y, torch.ones_like(x)], -1))


def place(
    rng: np.random.Generator, seen: Tensor, *, size: int, within: tuple[int, ...], cell: int = CELL
) -> tuple[int, int]:
    """A random corner, y x in pixels, of the first window in a picture of `within` h w positions.

    No later window leaves the picture if there is room; else the first lies in the middle of what there is.
    """
    where = points(seen, size=size)
    low, high = where.amin((0, 1, 2)).tolist(), where.amax((0, 1, 2)).tolist()
    half, corner = (size - 1) / 2, []
    for a, b, n in ((low[1], high[1], within[0]), (low[0], high[0], within[1])):
        least, most = np.ceil(cell * (-a - half)), np.floor(cell * (n - 1 - b - half))
        free = int(rng.integers(least, most + 1)) if least <= most else int((least + most) // 2)
        corner.append(min(max(free, 0), cell * (n - size)))
    return corner[0], corner[1]


def film(z: Tensor, seen: Tensor, corner: tuple[int, int], *, size: int, cell: int = CELL) -> Tensor:
    """The windows t c size size of a picture c h w that `views` says.

    `corner` is the first window's, y x in pixels. Bicubic; beyond the border the picture is mirrored.
    """
    h, w = z.shape[-2:]
    centre = torch.tensor([corner[1] / cell, corner[0] / cell]) + (size - 1) / 2
    grid = (2 * (points(seen, size=size) + centre) + 1) / torch.tensor([w, h]) - 1
    z = z.float().expand(len(seen), -1, -1, -1)
    return F.grid_sample(z, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
