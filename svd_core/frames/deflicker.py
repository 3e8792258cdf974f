"""Brightness and colour flicker taken out of a clip; motion is left as it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from ..signatures import OnStep
from .cuts import LEAST_CHANGED, UNCHANGED, likeness_in_any_light
from .flow import Quality, bidirectional
from .layout import check, colours
from .trend import trend
from .warp import warp

COMPARED_SIDE = 96  # pixels of the longer side on which brightness is compared
SMALL = Quality(finest=0, rounds=1, iterations=8, coarsest=8)
CLIPPED = 0.02  # distance from black and white within which a value says nothing about gain
SCENE = 0.55  # likeness in any light under which two frames are taken for two scenes
CONTRAST_FLOOR = 0.01  # deviation below which gain is not told from offset
DARKEST = 0.02  # added to brightness before its logarithm is taken
NEIGHBOURS = 4  # frames to each side from which it is seen whether a pixel flickers
SHARE_OF_STILL, SHARE_OF_FLICKERING = 0.3, 0.6  # of the change that flicker foretells: up to, and from


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

    The gain and offset of each channel are followed along the motion from frame to frame.
    What oscillates is undone, with `strength` from 0 to 1, where pixels follow it; fades,
    steps and dips stay. Below about 24 pixels of height motion is hardly told from light,
    and less is removed.
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
        if cut_threshold is not None and likeness_in_any_light(a, b) < cut_threshold:
            scenes.append(i)
        else:
            g, o = change(a[:, :c], b[:, :c])
            gain[i], offset[i] = g * gain[i - 1], g * offset[i - 1] + o
        if on_step:
            on_step(i - 1, n)
    out = torch.empty_like(frames)
    for first, end in zip(scenes, [*scenes[1:], t]):
        level = typical(small(frames[first : first + 1])[:, :c])
        light = gain[first:end], offset[first:end]
        for i, frame in enumerate(steadied(frames[first:end], *light, level, window, strength), first):
            out[i] = frame
            if on_step:
                on_step(t + i, n)
    return out


def small(x: Tensor) -> Tensor:
    """1 c H W -> 1 c h w float32 with h, w <= COMPARED_SIDE"""
    H, W = x.shape[-2:]
    scale = min(1.0, COMPARED_SIDE / max(H, W))
    return F.adaptive_avg_pool2d(x.float(), (max(1, round(H * scale)), max(1, round(W * scale))))


def typical(x: Tensor) -> Tensor:
    """Mean of each channel over what is neither black nor white: 1 k h w -> k"""
    inside = ((x > CLIPPED) & (x < 1 - CLIPPED)).double()
    return ((x * inside).sum((0, 2, 3)) / inside.sum((0, 2, 3)).clamp(min=1)).cpu()


def change(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """gain c and offset c with b = gain a + offset where both show the same thing: 1 c h w, 1 c h w

    Bars, logos and subtitles keep their light whatever happens to the picture; if the rest agrees,
    it is believed.
    """
    flow = bidirectional(a, b, quality=SMALL)
    matched = warp(b, flow[:1])
    way_back = (flow[:1] + warp(flow[1:], flow[:1])).square().sum(1, keepdim=True)
    inside = (torch.minimum(a, matched) > CLIPPED) & (torch.maximum(a, matched) < 1 - CLIPPED)
    weight = (inside / (1 + way_back) + 1e-6).flatten(2)[0].double()
    x, y = (v.flatten(2)[0].double() for v in (a, matched))
    changed = weight * ((y - x).abs().amax(0, keepdim=True) > UNCHANGED)
    if LEAST_CHANGED * weight.sum() < changed.sum() < (1 - LEAST_CHANGED) * weight.sum():
        g, o = line(x, y, changed)
        left, whole = ((changed * v.abs()).sum() for v in (y - g * x - o, y - x))
        weight = changed if left < whole / 2 else weight
    g, o = line(x, y, weight)
    return g[:, 0].cpu(), o[:, 0].cpu()


def line(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """gain c 1 and offset c 1 of y = gain x + offset, outliers left out: each c n"""
    for _ in range(3):
        total = weight.sum(1, keepdim=True)
        mean_x, mean_y = ((weight * v).sum(1, keepdim=True) / total for v in (x, y))
        variance_x = (weight * (x - mean_x) ** 2).sum(1, keepdim=True) / total
        variance_y = (weight * (y - mean_y) ** 2).sum(1, keepdim=True) / total
        g = (variance_y.sqrt() + CONTRAST_FLOOR) / (variance_x.sqrt() + CONTRAST_FLOOR)
        residual = (y - mean_y - g * (x - mean_x)).abs()
        weight = weight * (residual <= 3 * residual.median(1, keepdim=True).values + 1 / 255)
    return g, mean_y - g * mean_x


def steadied(
    frames: Tensor, gain: Tensor, offset: Tensor, level: Tensor, window: float, strength: float
) -> Iterator[Tensor]:
    """The frames of a scene without their flicker: t c H W, gain and offset t k,
    the level they apply to k -> c H W

    Contrast (the gain) and brightness (what becomes of `level`) have each their own trend.
    """
    brightness = (gain * level + offset).clamp(min=0)
    wanted_gain = torch.stack([trend(x, window) for x in gain.log().unbind(1)], 1).exp()
    logs = (brightness + DARKEST).log().unbind(1)
    wanted = torch.stack([trend(x, window) for x in logs], 1).exp() - DARKEST
    factor = wanted_gain / gain
    shift = wanted - wanted_gain * level - factor * offset
    if float((factor - 1).abs().max()) + float(shift.abs().max()) < 1e-9:
        yield from frames
        return
    shares = flickering(frames, gain, offset)
    for frame, f, o, share in zip(frames, factor, shift, shares):
        yield affine(frame, f, o, strength * share)


def flickering(frames: Tensor, gain: Tensor, offset: Tensor) -> Iterator[Tensor]:
    """For each frame of a scene where its pixels follow the flicker: t c H W, t k, t k -> 1 H W in [0, 1]

    A pixel flickers if around this time it changes at least as much as the light's change foretells.
    """
    t, k = len(frames), gain.shape[1]
    ratio = torch.cat((gain[:1] * 0 + 1, gain[1:] / gain[:-1]))
    step = torch.cat((offset[:1] * 0, offset[1:] - ratio[1:] * offset[:-1]))

    def seen(i: int) -> tuple[Tensor, Tensor]:
        x, y = frames[i - 1, :k].float(), frames[i, :k].float()
        r, s = (v[i].to(x).view(-1, 1, 1) for v in (ratio - 1, step))
        foretold = torch.addcmul(s, r, x).abs_()
        return torch.minimum((y - x).abs_(), foretold).sum(0, keepdim=True), foretold.sum(0, keepdim=True)

    ahead = (seen(i) for i in range(1, t))
    near = deque(islice(ahead, NEIGHBOURS), maxlen=2 * NEIGHBOURS)
    for _ in range(t):
        followed, foretold = (sum(maps[1:], maps[0]) for maps in zip(*near))
        share = followed / (foretold + 1e-6)
        yield ((share - SHARE_OF_STILL) / (SHARE_OF_FLICKERING - SHARE_OF_STILL)).clamp_(0, 1)
        near.extend(islice(ahead, 1))


def affine(frame: Tensor, factor: Tensor, offset: Tensor, strength: Tensor) -> Tensor:
    """c H W times factor plus offset of each colour channel, mixed in by `strength` 1 H W; stays in [0, 1]

    Values that were outside of it already are kept.
    """
    k = len(factor)
    factor, offset = (v.to(frame.device, torch.float32).view(-1, 1, 1) for v in (factor, offset))
    x = frame[:k].float()
    wanted = torch.addcmul(offset, factor, x)
    wanted = torch.minimum(torch.maximum(wanted, x.clamp(max=0)), x.clamp(min=1))
    changed = torch.lerp(x, wanted, strength)
    return torch.cat((changed.to(frame.dtype), frame[k:]))
