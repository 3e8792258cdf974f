"""How far a move has come at each frame: a curve through points, read at t even places."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

INTERPOLATIONS = ("monotone_cubic", "linear")
LINEAR = ((0.0, 0.0), (1.0, 1.0))


def progress(
    points: Sequence[Sequence[float]] = LINEAR, *, t: int, interpolation: str = "monotone_cubic"
) -> Tensor:
    """Points (x, y) in 0..1, at least one -> t, float32: the curve at t even places less its first value.

    The first entry is therefore 0: the first frame of a move is the photo.
    A curve that comes back is a move there and back. Left and right of its points the curve is flat.
    A single frame gets 0.
    """
    at = torch.linspace(0, 1, t, dtype=torch.float64)
    way = read(points, at, interpolation=interpolation)
    return (way - way[0]).float()


def read(points: Sequence[Sequence[float]], at: Tensor, *, interpolation: str) -> Tensor:
    """The curve through one or more points (x, y) at places n -> n, float64; flat left and right of them."""
    places = sorted((float(x), float(y)) for x, y in points)
    if not places or not all(map(math.isfinite, (v for place in places for v in place))):
        raise ValueError(f"easing has the points {list(points)[:4]}; use pairs of numbers from 0 to 1")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation {interpolation!r} is unknown; use {' or '.join(INTERPOLATIONS)}")
    x = torch.tensor([place[0] for place in places], dtype=torch.float64)
    y = torch.tensor([place[1] for place in places], dtype=torch.float64)
    return _through(x, y, at.double(), slopes=_slopes(x, y) if interpolation == "monotone_cubic" else None)


def _through(x: Tensor, y: Tensor, at: Tensor, *, slopes: Tensor | None) -> Tensor:
    """Lines between the points, or the cubics with these slopes at them."""
    if len(x) == 1:
        return y.expand(len(at))
    i = torch.searchsorted(x, at, right=True).clamp(1, len(x) - 1) - 1
    h = x[i + 1] - x[i]
    u = ((at.clamp(x[0], x[-1]) - x[i]) / h.clamp(min=1e-12)).clamp(0, 1)
    if slopes is None:
        return torch.lerp(y[i], y[i + 1], u)
    start = (1 + 2 * u) * (1 - u) ** 2 * y[i] + u * (1 - u) ** 2 * h * slopes[i]
    return start + (3 - 2 * u) * u**2 * y[i + 1] - (1 - u) * u**2 * h * slopes[i + 1]


def _slopes(x: Tensor, y: Tensor) -> Tensor:
    """Slopes at the points that keep the cubics from overshooting (Fritsch and Carlson, 1980)."""
    if len(x) == 1:
        return torch.zeros_like(x)
    secant = (y.diff() / x.diff().clamp(min=1e-12)).where(x.diff() > 0, torch.zeros(()))
    mean = (secant[:-1] + secant[1:]) / 2
    inner = torch.where(secant[:-1] * secant[1:] > 0, mean, torch.zeros_like(mean))
    slopes = torch.cat([secant[:1], inner, secant[-1:]])
    for i, s in enumerate(secant.tolist()):
        if s == 0:
            slopes[i : i + 2] = 0
            continue
        length = math.hypot(float(slopes[i]) / s, float(slopes[i + 1]) / s)
        if length > 3:
            slopes[i : i + 2] *= 3 / length
    return slopes
