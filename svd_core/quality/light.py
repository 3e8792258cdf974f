"""The change of light between two frames, apart from what moves, and its course over a clip."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..frames.flow import Quality, bidirectional
from ..frames.warp import warp

QUALITY = Quality(finest=0, rounds=1, iterations=8, coarsest=8)
SCENE = 0.55  # likeness, light matched, under which two frames are taken for two scenes
CLIPPED = 0.02  # distance from black and white within which a value says nothing about gain
CONTRAST = 0.01  # deviation below which gain is not told from offset
ROUNDS = 3  # of leaving out what does not follow the rest
WINDOW = 24.0  # frames; slower changes of light are a course and not flicker
FAST = 0.25  # cycles a frame
CURVED_FROM = 24  # frames from which a course may be curved; in fewer, flicker of period 6 passes for a curve

Change = tuple[Tensor, Tensor]  # gain and offset of each channel


def relit(x: Tensor, like: Tensor) -> Tensor:
    """x with the mean and contrast of another frame, channel by channel: 1 c h w, 1 c h w -> 1 c h w"""
    (mean, spread), (mean_to, spread_to) = (
        (v.mean((2, 3), keepdim=True), v.std((2, 3), keepdim=True, correction=0) + CONTRAST)
        for v in (x, like)
    )
    return (x - mean) * (spread_to / spread) + mean_to


def change(a: Tensor, b: Tensor) -> Change:
    """gain c and offset c with b = gain a + offset where both show the same thing: 1 c h w, 1 c h w

    From means and deviations along the motion; pixels without a way back,
    clipped ones and those that do not follow the rest are left out.
    """
    flow = bidirectional(a, b, quality=QUALITY)
    matched = warp(b, flow[:1])
    astray = (flow[:1] + warp(flow[1:], flow[:1])).square().sum(1, keepdim=True)
    inside = (torch.minimum(a, matched) > CLIPPED) & (torch.maximum(a, matched) < 1 - CLIPPED)
    weight = (inside / (1 + astray) + 1e-6).flatten(2)[0].double()
    x, y = (v.flatten(2)[0].double() for v in (a, matched))
    for _ in range(ROUNDS):
        (mean_x, spread_x), (mean_y, spread_y) = moments(x, weight), moments(y, weight)
        gain = (spread_y + CONTRAST) / (spread_x + CONTRAST)
        residual = (y - mean_y - gain * (x - mean_x)).abs()
        weight = weight * (residual <= 3 * residual.median(1, keepdim=True).values + 1 / 255)
    return gain[:, 0], (mean_y - gain * mean_x)[:, 0]


def moments(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and deviation: c p, c p -> c 1, c 1"""
    total = weight.sum(1, keepdim=True)
    mean = (weight * x).sum(1, keepdim=True) / total
    return mean, ((weight * (x - mean) ** 2).sum(1, keepdim=True) / total).sqrt()


def course(x: Tensor, window: float) -> Tensor:
    """What is left of a series without changes of periods up to `window`: t c -> t c

    Lines, or parabolas where there is room, fitted under Gaussian weights.
    Near an end the fit of the last place with room on both sides is drawn out:
    one cut off in mid-period would take flicker for slope.
    """
    n = len(x)
    degree = 2 if n >= CURVED_FROM else 1
    sigma = min(window / 2, n / (6 - degree))
    margin = min(int(2 * sigma), (n - 1) // 2)
    t = torch.arange(n, dtype=x.dtype)
    out = torch.empty_like(x)
    for i in range(n):
        centre = min(max(i, margin), n - 1 - margin)
        d = (t - centre) / sigma
        near = slice(max(0, centre - math.ceil(3 * sigma)), centre + math.ceil(3 * sigma) + 1)
        powers = d[near, None] ** torch.arange(degree + 1)
        weighted = powers * torch.exp(-(d[near, None] ** 2) / 2)
        moment = weighted.T @ powers + 1e-9 * torch.eye(degree + 1, dtype=x.dtype)
        fit = torch.linalg.solve(moment, weighted.T @ x[near])
        out[i] = d[i] ** torch.arange(degree + 1, dtype=x.dtype) @ fit
    return out


def along(changes: Sequence[Change | None], mean: Tensor) -> list[Tensor]:
    """The colour of the same things over time, scene by scene: mean colour of the first frame 3 -> each t 3

    `changes` are gain and offset from frame to frame, None at a cut.
    """
    level: list[list[Tensor]] = [[mean.double()]]
    gain, offset = torch.ones(3).double(), torch.zeros(3).double()
    for found in changes:
        if found is None:
            gain, offset = torch.ones(3).double(), torch.zeros(3).double()
            level.append([mean.double()])
            continue
        gain, offset = found[0] * gain, found[0] * offset + found[1]
        level[-1].append(gain * mean + offset)
    return [torch.stack(scene) for scene in level]


def flicker(scenes: Sequence[Tensor]) -> tuple[float, float]:
    """Root mean square of light about its course, share above 1/4 cycle a frame: each t 3 -> in 0..1, 0..1"""
    total, fast, count = 0.0, 0.0, 0
    for scene in scenes:
        count += len(scene)
        if len(scene) < 3:
            continue
        rest = scene - course(scene, WINDOW)
        power = torch.fft.fft(rest, dim=0).abs().square().sum(1) / len(rest)
        frequency = torch.fft.fftfreq(len(rest)).abs()
        total, fast = total + float(power.sum()), fast + float(power[frequency >= FAST].sum())
    return (total / (3 * count)) ** 0.5, fast / total if total > 0 else 0.0


def jump(scenes: Sequence[Tensor]) -> float:
    """The largest change of light from one frame to the next, of any channel: each t 3 -> in 0..1"""
    return max((float(scene.diff(dim=0).abs().max()) for scene in scenes if len(scene) > 1), default=0.0)
