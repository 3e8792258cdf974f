"""Frames between two frames: both are carried along the flow and mixed where they agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from .filters import gaussian, smooth
from .flow import QUALITIES, Quality, bidirectional
from .warp import fill, splat, warp

PHOTOMETRIC = 30.0  # how fast a colour difference takes trust from a flow vector
FLOOR = 1e-4  # trust left to a vector that nothing confirms
WINDOW = gaussian(4.0)  # over which the mix is judged
DOUBT = 0.3  # how much a disagreement of the moved frames counts against one of the unmoved
NOISE = 1e-5  # squared difference below which two mixes count as equal

Between = Callable[[Tensor, Tensor, Sequence[float]], Iterable[Tensor]]


def crossfade(a: Tensor, b: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
    """Plain mixing: 1 c H W, 1 c H W, times in (0, 1) -> one 1 c H W each"""
    return (torch.lerp(a, b, t) for t in times)


def by_flow(quality: str = "balanced") -> Between:
    """A `Between` that follows motion; `quality` is fast, balanced or best."""
    if quality not in QUALITIES:
        raise ValueError(f"quality {quality!r} is unknown; use {', '.join(QUALITIES)}")
    return lambda a, b, times: moved(a, b, times, quality=QUALITIES[quality])


def moved(a: Tensor, b: Tensor, times: Sequence[float], *, quality: Quality) -> Iterator[Tensor]:
    """1 c H W, 1 c H W, times in (0, 1) -> one 1 c H W each; the flow is computed once, each frame when asked for"""
    flow = bidirectional(a, b, quality=quality)
    weight = trust(torch.cat((a, b)), flow)
    for t in times:
        yield mix(a, b, (along(flow, weight, t), flow[:1], -flow[1:]), t)


def trust(frames: Tensor, flow: Tensor) -> Tensor:
    """Which vectors the other frame and the other flow confirm: 2 c H W, 2 2 H W -> 2 1 H W in (0, 1]"""
    colour = (warp(frames.flip(0), flow) - frames).abs().mean(1, keepdim=True)
    way_back = (flow + warp(flow.flip(0), flow)).square().sum(1, keepdim=True)
    return torch.exp(-PHOTOMETRIC * colour) / (1 + way_back) + FLOOR


def along(flow: Tensor, weight: Tensor, t: float) -> Tensor:
    """The motion a -> b of what is seen at time t: 2 2 H W, 2 1 H W -> 1 2 H W"""
    share = flow.new_tensor([t, 1 - t]).view(2, 1, 1, 1)
    sign = flow.new_tensor([1.0, -1.0]).view(2, 1, 1, 1)
    return fill(splat(flow * sign, flow * share, weight).sum(0, keepdim=True))


def mix(a: Tensor, b: Tensor, motions: Sequence[Tensor], t: float) -> Tensor:
    """Both frames carried to time t along each motion and not at all; where they agree best counts most."""
    total, made = torch.zeros_like(a[:, :1]), torch.zeros_like(a)
    carried = [(warp(a, -t * v, "bicubic"), warp(b, (1 - t) * v, "bicubic"), DOUBT) for v in motions]
    for from_a, from_b, doubt in [(a, b, 1.0), *carried]:
        error = smooth((from_a - from_b).square().mean(1, keepdim=True), WINDOW) + NOISE
        weight = 1 / (doubt * error)
        total, made = total + weight, made + weight * torch.lerp(from_a, from_b, t)
    return made / total
