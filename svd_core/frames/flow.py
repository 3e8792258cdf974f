"""Dense flow between two frames, without learned weights, coarse to fine.

`bidirectional`: on each scale every pixel first takes the best of a few proposals (its own flow, none,
that of pixels around it; Barnes et al. 2009), which saves what moves otherwise than its surroundings,
then a robust variational solve (Brox et al. 2004) settles the fractions of a pixel.
`windowed`: least squares over a window (Lucas and Kanade 1981), calmer where nothing moves as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .filters import gaussian, gradient, halve, median3, resize, shift, smooth
from .warp import warp

LUMA = (0.299, 0.587, 0.114)
EPSILON_DATA = 0.01  # rounds |residual| at zero; about the noise of a generated frame
EPSILON_SMOOTH = 0.2  # the same for flow differences, in pixels
LAMBDA = 0.04  # weight of smoothness
PATCH = gaussian(1.5)  # window that judges proposals
REACH = (1, 3, 9)  # pixels from which neighbours' flow is proposed
WINDOW = gaussian(2.0)  # of least squares
FLAT = 1e-5  # squared gradient below which least squares leave the flow as it is
STEPS = 3  # of least squares, on each scale
LOCAL = gaussian(6.0)  # window of the local mean taken out of luma


@dataclass(frozen=True)
class Quality:
    finest: int  # scale at which the solve stops: 0 full size, 1 half size
    rounds: int  # proposals and solve, times per scale
    iterations: int  # Jacobi steps of a solve
    coarsest: int = 16  # pixels of the shorter side on the coarsest scale, at least


QUALITIES = {"fast": Quality(1, 1, 8), "balanced": Quality(1, 3, 10), "best": Quality(0, 4, 12)}


def luma(x: Tensor) -> Tensor:
    """n c H W -> n 1 H W; with 1 or 2 channels the first is luma already"""
    if x.shape[1] < 3:
        return x[:, :1]
    return LUMA[0] * x[:, :1] + LUMA[1] * x[:, 1:2] + LUMA[2] * x[:, 2:3]


def features(y: Tensor) -> Tensor:
    """n 1 H W -> n 3 H W: luma without its local mean, and its gradient; a brightness change moves neither"""
    gx, gy = gradient(y)
    return torch.cat((y - smooth(y, LOCAL), 2 * gx, 2 * gy), 1)


def pyramid(a: Tensor, b: Tensor, *, finest: int, coarsest: int) -> list[Tensor]:
    """1 c H W, 1 c H W -> luma of both, 2 1 h w, from the coarsest scale to the finest"""
    scales = [torch.cat((luma(a), luma(b)))]
    while min(scales[-1].shape[-2:]) >= 2 * coarsest:
        scales.append(halve(scales[-1]))
    return scales[min(finest, len(scales) - 1) :][::-1]


def bidirectional(a: Tensor, b: Tensor, *, quality: Quality) -> Tensor:
    """Flow a -> b and b -> a: 1 c H W, 1 c H W in [0, 1] -> 2 2 H W, x then y in pixels"""
    scales = pyramid(a, b, finest=quality.finest, coarsest=quality.coarsest)
    v = torch.zeros_like(scales[0]).expand(-1, 2, -1, -1)
    for y in scales:
        source = features(y)
        target = source.flip(0)
        v = enlarge(v, y.shape[-2:])
        for _ in range(quality.rounds):
            v = propose(source, target, v)
            v = median3(solve(source, target, v, iterations=quality.iterations))
    return enlarge(v, a.shape[-2:])


def windowed(a: Tensor, b: Tensor, *, quality: Quality) -> Tensor:
    """As `bidirectional`, by least squares over a window, on half size at the finest"""
    scales = pyramid(a, b, finest=1, coarsest=quality.coarsest)
    v = torch.zeros_like(scales[0]).expand(-1, 2, -1, -1)
    for y in scales:
        v = enlarge(v, y.shape[-2:])
        for _ in range(STEPS):
            v = v + step(y, warp(y.flip(0), v))
    return enlarge(v, a.shape[-2:])


def step(a: Tensor, b: Tensor) -> Tensor:
    """The flow a -> b that least squares give, the same over each window: n 1 H W, n 1 H W -> n 2 H W"""
    gx, gy = gradient((a + b) / 2)
    r = b - a
    sums = smooth(torch.cat((gx * gx, gx * gy, gy * gy, gx * r, gy * r), 1), WINDOW)
    xx, xy, yy, xr, yr = sums.split(1, 1)
    xx, yy = xx + FLAT, yy + FLAT
    return torch.cat((xy * yr - yy * xr, xy * xr - xx * yr), 1) / (xx * yy - xy * xy)


def enlarge(v: Tensor, size: Sequence[int]) -> Tensor:
    """Flow on another scale: n 2 h w -> n 2 H W"""
    h, w = v.shape[-2:]
    if (h, w) == tuple(size):
        return v
    return resize(v, size) * v.new_tensor([size[1] / w, size[0] / h]).view(1, 2, 1, 1)


def mismatch(source: Tensor, target: Tensor, v: Tensor) -> Tensor:
    """Robust difference over a window: n 3 H W, n 3 H W, n 2 H W -> n 1 H W"""
    e = (warp(target, v) - source).square().mean(1, keepdim=True)
    return smooth((e + EPSILON_DATA**2).sqrt(), PATCH)


def propose(source: Tensor, target: Tensor, v: Tensor) -> Tensor:
    """The best of several flows at each pixel: n 3 H W, n 3 H W, n 2 H W -> n 2 H W"""
    proposals = [torch.zeros_like(v)]
    for r in REACH:
        proposals += [shift(v, r, 0), shift(v, -r, 0), shift(v, 0, r), shift(v, 0, -r)]
    best, lowest = v, mismatch(source, target, v)
    for u in proposals:
        cost = mismatch(source, target, u)
        better = cost < lowest
        best, lowest = torch.where(better, u, best), torch.where(better, cost, lowest)
    return best


def solve(source: Tensor, target: Tensor, v: Tensor, *, iterations: int) -> Tensor:
    """One linearisation of  sum psi(residual) + lambda psi(grad v), by Jacobi steps: n 2 H W -> n 2 H W"""
    warped = warp(target, v)
    r = warped - source
    gx, gy = gradient((warped + source) / 2)
    psi = (r.square().mean(1, keepdim=True) + EPSILON_DATA**2).rsqrt()
    a11, a12, a22 = ((g * h).sum(1, keepdim=True) * psi for g, h in ((gx, gx), (gx, gy), (gy, gy)))
    b1, b2 = ((g * r).sum(1, keepdim=True) * psi for g in (gx, gy))
    v1, v2 = v[:, :1], v[:, 1:]
    known = torch.cat((a11 * v1 + a12 * v2 - b1, a12 * v1 + a22 * v2 - b2), 1)
    right, left, down, up = smoothness(v)
    total = right + left + down + up
    d11, d22 = a11 + total, a22 + total
    scale = 1 / (d11 * d22 - a12 * a12 + 1e-9)
    i12 = -a12 * scale
    diagonal = torch.cat((d22, d11), 1) * scale
    for _ in range(iterations):
        p = F.pad(v, (1, 1, 1, 1), mode="replicate")
        q = torch.addcmul(known, right, p[..., 1:-1, 2:]).addcmul_(left, p[..., 1:-1, :-2])
        q.addcmul_(down, p[..., 2:, 1:-1]).addcmul_(up, p[..., :-2, 1:-1])
        v = torch.addcmul(diagonal * q, i12, q.flip(1))
    return v


def smoothness(v: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of the links to the right, left, lower and upper pixel, 0 across the border: each n 1 H W"""
    dx, dy = shift(v, 0, 1) - v, shift(v, 1, 0) - v
    s = LAMBDA * ((dx * dx + dy * dy).sum(1, keepdim=True) + EPSILON_SMOOTH**2).rsqrt()
    right, down = (s + shift(s, 0, 1)) / 2, (s + shift(s, 1, 0)) / 2
    right[..., -1], down[..., -1, :] = 0, 0
    return right, F.pad(right, (1, 0))[..., :-1], down, F.pad(down, (0, 0, 1, 0))[..., :-1, :]
