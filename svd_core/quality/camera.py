"""Camera and objects apart: one affine movement a pair, fitted so that what moves by itself counts little."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..frames.filters import gaussian, gradient, smooth
from ..frames.flow import Quality, luma, windowed
from ..frames.warp import warp

ROUNDS, REFINEMENTS = 8, 3  # of reweighting along the flow, and then on the pictures
LEAST_SPREAD = 0.02  # pixels; below it residuals are the noise of the flow
NOISE = 0.01  # of luma
NEARBY = gaussian(2.0)  # pixels around one that say whether there is anything to follow
CALM = Quality(finest=1, rounds=1, iterations=1, coarsest=8)


@dataclass(frozen=True)
class Camera:
    """What the camera does from one frame to the next.

    Positive: pan turns right, tilt looks up, zoom goes in, roll turns the picture clockwise.
    """

    pan: float  # picture widths
    tilt: float  # picture widths
    zoom: float  # growth of the picture, no unit
    roll: float  # degrees


STILL = Camera(0.0, 0.0, 0.0, 0.0)


def fit(a: Tensor, b: Tensor) -> tuple[Tensor, Camera]:
    """The movement a -> b that most of the picture shares: 1 c H W in [0, 1] twice -> 1 2 H W pixels, Camera

    An affine one, by iteratively reweighted least squares on a calm flow, from the median shift on, weights
    1 / (1 + (r / s)^2) with s = 1.4826 MAD (Cauchy): a plain fit would follow a large object.
    What counts as camera is then fitted to the pictures themselves by Gauss-Newton steps (Lucas and Kanade
    1981), which flat regions do not mislead. Where that explains less than standing still,
    the camera stands still.
    """
    flow = windowed(a, b, quality=CALM)[:1]
    H, W = flow.shape[-2:]
    y, x = torch.meshgrid(offsets(H, W), offsets(W, W), indexing="ij")
    known = torch.stack([torch.ones_like(x), x, y], -1).flatten(0, 1)
    matrix, weight = along(known, flow[0].flatten(1).T.double(), structure(a))
    for _ in range(REFINEMENTS):
        matrix = matrix + correction(a, warp(b, field(known, matrix, flow)), known, weight)
    affine = field(known, matrix, flow)
    if not left(a, warp(b, affine)) < left(a, b):
        return torch.zeros_like(flow), STILL
    (dx, dy), (xx, yx), (xy, yy) = matrix.tolist()
    growth, turn = (xx + yy) / W, (yx - xy) / W  # x and y run over half-widths: a unit is W / 2 pixels
    return affine, Camera(pan=-dx / W, tilt=dy / W, zoom=growth, roll=math.degrees(turn))


def structure(a: Tensor) -> Tensor:
    """How much there is to see at each pixel: 1 c H W -> p, above 0"""
    gx, gy = gradient(luma(a))
    slope = smooth(gx.square() + gy.square(), NEARBY).flatten().double()
    return slope / (slope + NOISE**2) + 1e-6


def left(a: Tensor, b: Tensor) -> float:
    """Robust difference; large ones count little"""
    r = (luma(a) - luma(b)).square() / NOISE**2
    return float(torch.log1p(r).mean())


def offsets(n: int, W: int) -> Tensor:
    """Pixel centres from the middle of the picture, in half-widths: n"""
    return (torch.arange(n, dtype=torch.float64) * 2 + 1 - n) / W


def field(known: Tensor, matrix: Tensor, like: Tensor) -> Tensor:
    """p 3, 3 2 -> 1 2 H W"""
    return (known @ matrix).T.reshape(like.shape).to(like)


def along(known: Tensor, wanted: Tensor, trust: Tensor) -> tuple[Tensor, Tensor]:
    """Affine movement of most vectors, and how much each counts: p 3, p 2, p -> 3 2, p"""
    seen = trust >= trust.median()
    matrix = known.new_zeros(3, 2)
    matrix[0] = wanted[seen].median(0).values
    weight = trust
    for _ in range(ROUNDS):
        residual = (wanted - known @ matrix).square().sum(1).sqrt()
        spread = max(1.4826 * float(residual[seen].median()), LEAST_SPREAD)
        weight = trust / (1 + (residual / spread) ** 2)
        w = weight[:, None]
        matrix = solve(known.T @ (w * known), known.T @ (w * wanted))
    return matrix, weight


def correction(a: Tensor, b: Tensor, known: Tensor, weight: Tensor) -> Tensor:
    """The further movement a -> b that the slopes of the pictures ask for: 1 c H W twice, p 3, p -> 3 2"""
    p, q = luma(a), luma(b)
    gx, gy = (g.flatten().double()[:, None] for g in gradient((p + q) / 2))
    r = (p - q).flatten().double()
    w = (weight / (1 + (r / NOISE) ** 2))[:, None]
    columns = torch.cat((gx * known, gy * known), 1)
    moments = columns.T @ (w * columns) + 1e-6 * float(weight.sum()) * torch.eye(6, dtype=torch.float64)
    return solve(moments, columns.T @ (w * r[:, None])).view(2, 3).T


def solve(moments: Tensor, wanted: Tensor) -> Tensor:
    ridge = 1e-9 * (float(moments.diagonal().sum()) + 1e-30)
    return torch.linalg.solve(moments + ridge * torch.eye(len(moments), dtype=moments.dtype), wanted)
