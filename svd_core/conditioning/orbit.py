"""What SV3D is told of an orbit: where the camera stands in each frame, and the object alone on white.

The last frame is the input view. Facts: simple_video_sample.py, sv3d_helpers.py of
Stability-AI/generative-models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

FRAMES, SIDE = 21, 576  # as trained
ELEVATION = 10.0  # degrees above the object's middle
FILLED = 0.917  # of the picture's side, the object's longer one (simple_video_sample_4d.py)
STEEPEST = 89.0
LARGEST = 8192  # pixels, the side of a square that is worth its memory: beyond, the object is reduced first


@dataclass(frozen=True)
class Orbit:
    """Degrees in each of t frames."""

    elevations: tuple[float, ...]
    azimuths: tuple[float, ...]


def azimuths(t: int = FRAMES, *, direction: int = 1) -> list[float]:
    """Even steps around, the input view (0) last; direction -1 goes the other way."""
    return [(direction * 360.0 * (i + 1) / t) % 360.0 for i in range(t)]


def static(t: int = FRAMES, *, elevation: float = ELEVATION, direction: int = 1) -> Orbit:
    """Once around at one height."""
    return Orbit((elevation,) * t, tuple(azimuths(t, direction=direction)))


def wave(
    t: int = FRAMES,
    *,
    elevation: float = ELEVATION,
    amplitude: float = 15.0,
    waves: int = 1,
    direction: int = 1,
) -> Orbit:
    """Once around while the height swings `waves` times by `amplitude` degrees;
    the last frame is at `elevation`.
    """
    heights = [elevation + amplitude * math.sin(2 * math.pi * waves * (i + 1) / t) for i in range(t)]
    steepest = max(map(abs, heights), default=0.0)
    if steepest > STEEPEST:
        raise ValueError(
            f"the wave reaches an elevation of {steepest:g} degrees, at most {STEEPEST:g}; lower elevation or"
            " amplitude"
        )
    return Orbit((*heights[:-1], elevation), tuple(azimuths(t, direction=direction)))


def listed(azimuth: Sequence[float], elevation: Sequence[float]) -> Orbit:
    """Given degrees, counted from the last frame, as the reference does; one elevation may stand for all."""
    if len(elevation) == 1:
        elevation = list(elevation) * len(azimuth)
    if not azimuth or len(azimuth) != len(elevation):
        raise ValueError(
            f"{len(azimuth)} azimuths and {len(elevation)} elevations; give as many of both, or one elevation"
            " for all"
        )
    if not all(math.isfinite(v) for v in (*azimuth, *elevation)) or max(map(abs, elevation)) > 90:
        raise ValueError("azimuths and elevations must be numbers of degrees, elevations from -90 to 90")
    return Orbit(tuple(map(float, elevation)), tuple((a - azimuth[-1]) % 360.0 for a in azimuth))


def radians(orbit: Orbit) -> tuple[Tensor, Tensor]:
    """Polar angle from the top and azimuth, t each, float32: what the sinusoids of SV3D_p are made of."""
    polar = torch.tensor([math.radians(90 - e) for e in orbit.elevations], dtype=torch.float32)
    return polar, torch.tensor([math.radians(a) for a in orbit.azimuths], dtype=torch.float32)


def centred(photo: Tensor, alpha: Tensor, *, ratio: float = FILLED, side: int = SIDE) -> Tensor:
    """The object in the middle of a white square: photo 1 3 H W and alpha 1 1 H W in [0, 1] -> 1 3 side side.

    Its box, alpha > 0, becomes `ratio` of the square's longer side; ratio 0 keeps its size,
    in a square of the photo's height. Resized by Lanczos and rounded to 8 bit, as the reference does;
    where the square would exceed 8192 pixels, by whole factors before.
    """
    rows, columns = (alpha[0, 0] > 0).nonzero(as_tuple=True)
    if not len(rows):
        raise ValueError(
            "the mask shows no object; give it one that is white, or invert the mask of Load Image"
        )
    top, bottom, left, right = (
        int(rows.min()),
        int(rows.max()) + 1,
        int(columns.min()),
        int(columns.max()) + 1,
    )
    h, w = bottom - top, right - left
    if 0 < ratio < 1 / side:
        raise ValueError(
            f"ratio {ratio:g} leaves less than a pixel of the object; use 0.9, or 0 for its size"
        )
    square = int(max(w, h) / ratio) if ratio else photo.shape[-2]
    if max(w, h) > square:
        raise ValueError(
            f"the object is {w}x{h} pixels, the square with ratio 0 only {square}; use a ratio above 0"
        )
    rgba = torch.cat([photo, alpha], 1)[0, :, top:bottom, left:right]
    cut = Image.fromarray((rgba.movedim(0, -1) * 255).round().byte().cpu().numpy(), "RGBA")
    if (factor := -(-square // LARGEST)) > 1:
        cut, square = cut.reduce(factor), square // factor
    canvas = Image.new("RGBA", (square, square))
    canvas.paste(cut, (square // 2 - cut.width // 2, square // 2 - cut.height // 2))
    small = canvas.resize((side, side), Image.Resampling.LANCZOS)
    x = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).view(1, side, side, 4).movedim(-1, 1)
    colour, a = x[:, :3].float() / 255, x[:, 3:].float() / 255
    return ((colour * a + (1 - a)) * 255).floor() / 255
