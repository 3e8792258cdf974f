"""A camera that moves over one photo: the clip it would film, and which of its pixels come from the photo.

Flat moves are homographies H_f, one a frame, of the photo's plane: u' = H_f u in pixels.
Moves through space (dolly, orbit) need depth and are in `parallax`. Directions are the camera's:
what it pans to comes into the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..frames.filters import gaussian, smooth
from ..frames.warp import warp

ERODED = 8  # pixels that a border of the photo is kept away from the mask: one latent position
FOV = 55.0  # degrees, horizontal: a common lens where nothing is known
BORDERS = ("generate", "overscan", "replicate")


@dataclass(frozen=True)
class Move:
    kind: str  # lock, pan, tilt, zoom, roll, turn, nod; dolly, orbit
    sign: int
    amount: float  # over the whole clip, in the kind's unit, where none is given


MOVES = {
    "Static": Move("lock", 0, 0.0),
    "Pan Left": Move("pan", -1, 0.15),  # shares of the width
    "Pan Right": Move("pan", 1, 0.15),
    "Pan Up": Move("tilt", -1, 0.15),  # shares of the height
    "Pan Down": Move("tilt", 1, 0.15),
    "Zoom In": Move("zoom", 1, 1.15),  # times
    "Zoom Out": Move("zoom", -1, 1.15),
    "Clockwise": Move("roll", 1, 5.0),  # degrees
    "Anticlockwise": Move("roll", -1, 5.0),
    "Turn Left": Move("turn", -1, 8.0),
    "Turn Right": Move("turn", 1, 8.0),
    "Turn Up": Move("nod", -1, 5.0),
    "Turn Down": Move("nod", 1, 5.0),
    "Dolly In": Move("dolly", 1, 0.15),  # shares of the distance to the nearest thing
    "Dolly Out": Move("dolly", -1, 0.15),
    "Orbit Left": Move("orbit", -1, 10.0),  # degrees
    "Orbit Right": Move("orbit", 1, 10.0),
}
NEEDS_DEPTH = ("dolly", "orbit")
LIMITS = {
    "lock": 0.0,
    "pan": 2.0,
    "tilt": 2.0,
    "zoom": 8.0,
    "roll": 360.0,
    "turn": 45.0,
    "nod": 45.0,
    "dolly": 0.4,
    "orbit": 45.0,
}


def intrinsics(width: int, height: int, fov: float) -> Tensor:
    """K, 3 3: pixels of a centred pinhole camera whose horizontal field of view is `fov` degrees."""
    f = width / (2 * math.tan(math.radians(fov) / 2))
    K = [[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]]
    return torch.tensor(K, dtype=torch.float64)


def rotation(angle: Tensor, axis: str) -> Tensor:
    """t radians about x, y or z -> t 3 3; positive moves what lies ahead to the left (y) or up (x)."""
    c, s, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    rows = {
        "x": (one, zero, zero, zero, c, -s, zero, s, c),
        "y": (c, zero, -s, zero, one, zero, s, zero, c),
        "z": (c, s, zero, -s, c, zero, zero, zero, one),
    }
    return torch.stack(rows[axis], -1).unflatten(-1, (3, 3))


def homographies(
    kind: str,
    by: Tensor,
    *,
    width: int,
    height: int,
    centre: tuple[float, float] = (0.5, 0.5),
    fov: float = FOV,
) -> Tensor:
    """How far the camera is at each frame, signed and in the kind's unit, t -> H_f, t 3 3, float64.

    pan, tilt in shares of the side; zoom in log scale; roll, turn (about the vertical), nod in degrees.
    `centre` in 0..1 is what zoom and roll keep in place.
    """
    by = by.double()
    H = torch.eye(3, dtype=torch.float64).repeat(len(by), 1, 1)
    if kind == "pan":
        H[:, 0, 2] = -by * width
    elif kind == "tilt":
        H[:, 1, 2] = -by * height
    elif kind in ("zoom", "roll"):
        x, y = centre[0] * (width - 1), centre[1] * (height - 1)
        H = rotation(by.deg2rad(), "z") if kind == "roll" else H
        H = H * torch.stack([by.exp(), by.exp(), torch.ones_like(by)], -1)[..., None] if kind == "zoom" else H
        to = torch.tensor([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=torch.float64)
        H = to @ H @ to.inverse()
    elif kind in ("turn", "nod"):
        K = intrinsics(width, height, fov)
        H = K @ rotation(by.deg2rad(), "y" if kind == "turn" else "x") @ K.inverse()
    elif kind != "lock":
        raise ValueError(f"a {kind} is not a flat move; use one of lock, pan, tilt, zoom, roll, turn, nod")
    return H


def film(photo: Tensor, H: Tensor, *, border: str = "generate") -> tuple[Tensor, Tensor]:
    """Photo 1 c H W, homographies t 3 3 -> frames t c H W and mask t 1 H W, 1 where the photo shows.

    What lies outside the photo repeats its border. `generate` leaves it, and ERODED pixels before it,
    out of the mask; `replicate` takes it in; `overscan` starts from the largest crop with which nothing
    outside is ever seen.
    """
    width, height = photo.shape[-1], photo.shape[-2]
    back = H.inverse()
    if border == "overscan":
        back = overscan(back, width=width, height=height) @ back
    frames, masks = zip(*(_look(photo, one, border) for one in back))
    return torch.cat(frames), torch.cat(masks)


def apply(H: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The homography H 3 3 of points x, y of any shape."""
    w = H[2, 0] * x + H[2, 1] * y + H[2, 2]
    return (H[0, 0] * x + H[0, 1] * y + H[0, 2]) / w, (H[1, 0] * x + H[1, 1] * y + H[1, 2]) / w


def flow(H: Tensor, *, width: int, height: int) -> Tensor:
    """H u - u of every pixel u: 3 3 -> 1 2 height width, x then y, float32."""
    x = torch.arange(width, dtype=torch.float64)
    y = torch.arange(height, dtype=torch.float64)[:, None]
    to_x, to_y = apply(H, x, y)
    return torch.stack([to_x - x, to_y - y])[None].float()


def overscan(back: Tensor, *, width: int, height: int) -> Tensor:
    """The crop 3 3 of the photo that holds all that any of the backward maps t 3 3 look at."""
    x = torch.tensor([0.0, width - 1, 0, width - 1], dtype=torch.float64)
    y = torch.tensor([0.0, 0, height - 1, height - 1], dtype=torch.float64)
    seen = torch.stack([torch.stack(apply(one, x, y)) for one in back])  # t 2 corners
    low, high = seen.amin((0, 2)), seen.amax((0, 2))
    sides = torch.tensor([width - 1, height - 1], dtype=torch.float64)
    share = torch.where(
        high > low, sides / (high - low), 1.0
    )  # a photo one pixel wide shows all of that side
    s = float(share.amin().clamp(max=1))
    room = sides - s * (high - low)
    keep = (s * low).clamp(min=torch.zeros_like(low), max=room) if s == 1 else room / 2
    o = keep - s * low
    return torch.tensor([[s, 0, float(o[0])], [0, s, float(o[1])], [0, 0, 1]], dtype=torch.float64)


def _look(photo: Tensor, back: Tensor, border: str) -> tuple[Tensor, Tensor]:
    """One frame by its backward map 3 3: 1 c H W and its mask 1 1 H W; the identity is the photo itself."""
    height, width = photo.shape[-2:]
    if torch.equal(back, torch.eye(3, dtype=back.dtype)):
        return photo, photo.new_ones(1, 1, height, width)
    v = flow(back, width=width, height=height).to(photo)
    frame = warp(antialiased(photo, shrink(back, width, height)), v)
    return frame, inside(v) if border == "generate" else photo.new_ones(1, 1, height, width)


def shrink(back: Tensor, width: int, height: int) -> float:
    """Photo pixels to one pixel of the frame, along a side, in its middle."""
    x = torch.tensor([0.0, 1, 0], dtype=torch.float64) + (width - 1) / 2
    y = torch.tensor([0.0, 0, 1], dtype=torch.float64) + (height - 1) / 2
    here, right, below = torch.stack(apply(back, x, y), -1)
    return math.sqrt(abs(float(torch.linalg.det(torch.stack([right - here, below - here])))))


def antialiased(photo: Tensor, times: float) -> Tensor:
    """The photo without what `times` smaller pixels cannot show; itself where it is enlarged."""
    sigma = 0.5 * math.sqrt(max(times * times - 1, 0))
    return photo if sigma < 0.1 else smooth(photo, gaussian(sigma))


def inside(v: Tensor) -> Tensor:
    """1 where u + v(u) lies in the picture, ERODED pixels or more from where not: 1 2 H W -> 1 1 H W"""
    height, width = v.shape[-2:]
    x = torch.arange(width, device=v.device) + v[:, 0]
    y = torch.arange(height, device=v.device)[:, None] + v[:, 1]
    slack = 0.01  # pixels, for rounding
    seen = (x >= -slack) & (x <= width - 1 + slack) & (y >= -slack) & (y <= height - 1 + slack)
    return erode(seen[:, None].to(v.dtype), ERODED)


def erode(mask: Tensor, pixels: int) -> Tensor:
    """n 1 H W of 0 and 1: zeros grow by `pixels`; the edge of the picture is not one."""
    return -dilate(-mask, pixels)


def dilate(mask: Tensor, pixels: int) -> Tensor:
    """n 1 H W: the largest value within `pixels`, along both axes."""
    side = 2 * pixels + 1
    rows = F.max_pool2d(mask, (side, 1), stride=1, padding=(pixels, 0))
    return F.max_pool2d(rows, (1, side), stride=1, padding=(0, pixels))
