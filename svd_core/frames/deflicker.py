"""Brightness and colour flicker taken out of a clip; motion is left as it is."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .cuts import is_cut
from .flow import Quality, bidirectional
from .layout import OnStep, check, colours
from .warp import warp

SIDE = 96  # pixels of the longer side on which brightness is compared
SMALL = Quality(finest=0, rounds=1, iterations=8, coarsest=8)
CLIPPED = 0.02  # distance from black and white within which a value says nothing about gain
SCENE = 0.55  # likeness, brightness matched, under which two frames are taken for two scenes
CONTRAST = 0.01  # deviation below which gain is not told from offset
ROOM = 24  # frames of a scene from which its course may be curved; in fewer, flicker of period 6 passes for a curve


@torch.no_grad()
def deflicker(
    frames: Tensor,
    *,
    window: float = 24.0,
    strength: float = 1.0,
    cut_threshold: float | None = SCENE,
    on_step: OnStep | None = None,
) -> Tensor:
    """Take out brightness and colour flicker of periods up to `window` frames: t c H W in [0, 1] -> t c H W.

    The gain and offset of each channel are followed along the motion from frame to frame; what departs from
    their smooth course is undone, with `strength` from 0 to 1. Fades slower than `window` stay. Below about 24
    pixels of height motion is hardly told from light, and less is removed.
    """
    check(frames)
    if not window >= 2:
        raise ValueError(f"window is {window}; use 2 frames or more")
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}; use a value from 0 (nothing) to 1 (all flicker)")
    n, t, c = 2 * len(frames), len(frames), colours(frames)
    gain, offset = torch.ones(t, c, dtype=torch.float64), torch.zeros(t, c, dtype=torch.float64)
    scenes = [0]
    for i in range(1, t):
        a, b = (small(frames[k : k + 1]) for k in (i - 1, i))
        if cut_threshold is not None and is_cut(a, relit(b, a), threshold=cut_threshold):
            scenes.append(i)
        else:
            g, o = change(a[:, :c], b[:, :c])
            gain[i], offset[i] = g * gain[i - 1], g * offset[i - 1] + o
        if on_step:
            on_step(i - 1, n)
    out = torch.empty_like(frames)
    for first, end in zip(scenes, [*scenes[1:], t]):
        g, o = gain[first:end], offset[first:end]
        factor = course(g.log(), window).exp() / g
        shift = course(o, window) - factor * o
        for i in range(first, end):
            out[i] = affine(frames[i], factor[i - first], shift[i - first], strength)
            if on_step:
                on_step(t + i, n)
    return out


def small(x: Tensor) -> Tensor:
    """1 c H W -> 1 c h w float32 with h, w <= SIDE"""
    H, W = x.shape[-2:]
    scale = min(1.0, SIDE / max(H, W))
    return F.adaptive_avg_pool2d(x.float(), (max(1, round(H * scale)), max(1, round(W * scale))))


def relit(x: Tensor, like: Tensor) -> Tensor:
    """x with the mean and contrast of another frame, channel by channel: 1 c h w, 1 c h w -> 1 c h w"""
    mean, mean_to = (v.mean((2, 3), keepdim=True) for v in (x, like))
    spread, spread_to = (v.std((2, 3), keepdim=True, correction=0) + CONTRAST for v in (x, like))
    return (x - mean) * (spread_to / spread) + mean_to


def change(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """gain c and offset c with b = gain a + offset where both show the same thing: 1 c h w, 1 c h w"""
    flow = bidirectional(a, b, quality=SMALL)
    matched = warp(b, flow[:1])
    way_back = (flow[:1] + warp(flow[1:], flow[:1])).square().sum(1, keepdim=True)
    inside = (torch.minimum(a, matched) > CLIPPED) & (torch.maximum(a, matched) < 1 - CLIPPED)
    weight = (inside / (1 + way_back) + 1e-6).flatten(2)[0].double()
    x, y = (v.flatten(2)[0].double() for v in (a, matched))
    for _ in range(3):
        total = weight.sum(1, keepdim=True)
        mean_x, mean_y = ((weight * v).sum(1, keepdim=True) / total for v in (x, y))
        variance_x = (weight * (x - mean_x) ** 2).sum(1, keepdim=True) / total
        variance_y = (weight * (y - mean_y) ** 2).sum(1, keepdim=True) / total
        g = (variance_y.sqrt() + CONTRAST) / (variance_x.sqrt() + CONTRAST)
        residual = (y - mean_y - g * (x - mean_x)).abs()
        weight = weight * (residual <= 3 * residual.median(1, keepdim=True).values + 1 / 255)
    return g[:, 0].cpu(), (mean_y - g * mean_x)[:, 0].cpu()


def course(x: Tensor, window: float) -> Tensor:
    """The smooth course of a series: t c -> t c

    Polynomials fitted under Gaussian weights, lines where there is not room for more. Near an end the fit of the last
    place with room on both sides is drawn out, for a fit cut off in mid-period takes flicker for slope.
    """
    n = len(x)
    degree = 2 if n >= ROOM else 1
    sigma = min(window / 2, n / (6 - degree))
    reach, margin = math.ceil(3 * sigma), min(int(2 * sigma), (n - 1) // 2)
    place, d = torch.arange(n), torch.arange(-reach, reach + 1)
    centre = place.clamp(margin, n - 1 - margin)
    near = centre[:, None] + d
    exponents = torch.arange(degree + 1)
    powers = (d / sigma).to(x)[:, None] ** exponents
    weights = torch.exp(-((d / sigma).to(x) ** 2) / 2) * ((near >= 0) & (near < n))
    moments = torch.einsum("tr,ri,rj->tij", weights, powers, powers) + 1e-9 * torch.eye(degree + 1).to(x)
    sums = torch.einsum("tr,ri,trc->tic", weights, powers, x[near.clamp(0, n - 1)])
    ahead = ((place - centre) / sigma).to(x)[:, None] ** exponents
    return torch.einsum("ti,tic->tc", ahead, torch.linalg.solve(moments, sums))


def affine(frame: Tensor, factor: Tensor, offset: Tensor, strength: float) -> Tensor:
    """c H W times factor plus offset of each colour channel, mixed in by `strength`"""
    k = len(factor)
    factor, offset = (v.to(frame.device, torch.float32).view(-1, 1, 1) for v in (factor, offset))
    x = frame[:k].float()
    changed = torch.lerp(x, (x * factor + offset).clamp(0, 1), strength)
    return torch.cat((changed.to(frame.dtype), frame[k:]))
