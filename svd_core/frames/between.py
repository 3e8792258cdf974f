"""Frames between two frames: both are carried along several likely motions and mixed where they agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from .filters import gaussian, smooth
from .flow import EPSILON_DATA, QUALITIES, bidirectional, windowed
from .keep import keep_light, keep_still, moving, stillness, unmatched
from .splat import fill, splat
from .warp import warp

PHOTOMETRIC = 30.0  # how fast a colour difference takes trust from a flow vector
LEAST_TRUST = 1e-4  # left to a vector that nothing confirms
MIX_WINDOW = gaussian(4.0)  # pixels over which the mix is judged
MOVED_SHARE = 0.5  # how much a disagreement of the moved frames counts against one of the unmoved
NOISE_VARIANCE = EPSILON_DATA**2  # squared difference of values below which two mixes count as equal
EXPLAINED, UNEXPLAINED = (
    0.5,
    0.7,
)  # share of the difference that a motion leaves over: counts in full, not at all
EPSILON = 1e-12  # keeps equal frames from dividing by zero
AGREEMENT_WINDOW = gaussian(3.0)  # pixels over which two accelerations must agree
SLIGHT_BEND = 0.1  # squared pixels below which accelerations hardly count
ONE_SIDED_SHARE = 0.3  # of an acceleration that only one end shows
BEND_BLUR = gaussian(2.0)  # pixels over which accelerations are smoothed

Around = tuple[Tensor | None, Tensor | None]
Between = Callable[[Tensor, Tensor, Sequence[float], Around], Iterable[Tensor]]
Flow = Callable[[Tensor, Tensor], Tensor]


def crossfade(
    a: Tensor, b: Tensor, times: Sequence[float], around: Around = (None, None)
) -> Iterator[Tensor]:
    """Plain mixing: 1 c H W, 1 c H W, times in (0, 1) -> one 1 c H W each"""
    return (torch.lerp(a, b, t) for t in times)


def by_flow(quality: str = "balanced") -> Between:
    """A `Between` that follows motion; `quality` is fast, balanced or best."""
    if quality not in QUALITIES:
        raise ValueError(f"quality {quality!r} is unknown; use {', '.join(QUALITIES)}")
    chosen = QUALITIES[quality]
    flow = lru_cache(maxsize=3)(partial(bidirectional, quality=chosen))  # serves the neighbours of a pair too
    return partial(moved, flow=flow, calm=partial(windowed, quality=chosen))


def moved(
    a: Tensor,
    b: Tensor,
    times: Sequence[float],
    around: Around = (None, None),
    *,
    flow: Flow,
    calm: Flow,
) -> Iterator[Tensor]:
    """1 c H W, 1 c H W, times in (0, 1) -> one 1 c H W each; motion is followed once,
    each frame made when asked for

    `around` are the frames before a and after b, None beyond an end or a cut; with them paths may be curved.
    """
    frames = torch.cat((a, b))
    v, other = flow(a, b), calm(a, b)
    differences = [(warp(frames.flip(0), u) - frames).abs() for u in (v, other)]
    weight, other_weight = (trust(*pair) for pair in zip(differences, (v, other)))
    still = stillness(a, b, around, moving(differences[0], v))
    lost = unmatched(differences[0])
    before, after = around
    bends = (
        None if before is None else v[:1] + flow(before, a)[1:],
        None if after is None else v[1:] + flow(b, after)[:1],
    )
    for t in times:
        motions = (along(v, weight, t), v[:1], -v[1:], along(other, other_weight, t))
        made, fade = mix(a, b, motions, curve(v, weight, bends, t), t), torch.lerp(a, b, t)
        yield keep_light(keep_still(made, fade, still), fade, lost)


def trust(difference: Tensor, flow: Tensor) -> Tensor:
    """Which vectors the other frame and the other flow confirm: 2 c H W, 2 2 H W -> 2 1 H W in (0, 1]

    `difference` is that of each frame from the other along the flow.
    """
    way_back = (flow + warp(flow.flip(0), flow)).square().sum(1, keepdim=True)
    return torch.exp(-PHOTOMETRIC * difference.mean(1, keepdim=True)) / (1 + way_back) + LEAST_TRUST


def along(flow: Tensor, weight: Tensor, t: float) -> Tensor:
    """The motion a -> b of what is seen at time t: 2 2 H W, 2 1 H W -> 1 2 H W"""
    share = flow.new_tensor([t, 1 - t]).view(2, 1, 1, 1)
    sign = flow.new_tensor([1.0, -1.0]).view(2, 1, 1, 1)
    return fill(splat(flow * sign, flow * share, weight).sum(0, keepdim=True))


def curve(flow: Tensor, weight: Tensor, bends: Sequence[Tensor | None], t: float) -> Tensor:
    """How far the chord lies off the curved path at time t: 2 2 H W, 2 1 H W,
    accelerations 1 2 H W -> 1 2 H W

    The accelerations seen at both ends count as far as they agree (Xu et al. 2019 take their mean).
    """
    seen = [
        fill(splat(bend, flow[k : k + 1] * share, weight[k : k + 1]))
        for k, (bend, share) in enumerate(zip(bends, (t, 1 - t)))
        if bend is not None
    ]
    if not seen:
        return torch.zeros_like(flow[:1])
    bend = agreed(*seen) if len(seen) == 2 else ONE_SIDED_SHARE * seen[0]
    return smooth(bend, BEND_BLUR) * (t * (1 - t) / 2)


def agreed(p: Tensor, q: Tensor) -> Tensor:
    """The mean where both are alike, nothing where they are opposed: 1 2 H W, 1 2 H W -> 1 2 H W"""
    common = smooth((p * q).sum(1, keepdim=True), AGREEMENT_WINDOW)
    size = smooth((p * p + q * q).sum(1, keepdim=True), AGREEMENT_WINDOW)
    return (p + q) * (common / (size + SLIGHT_BEND)).clamp(min=0)


def mix(a: Tensor, b: Tensor, motions: Sequence[Tensor], bend: Tensor, t: float) -> Tensor:
    """Both frames carried to time t along each motion and not at all; where they agree best counts most.

    A motion that explains little of their difference has followed noise, and counts for nothing.
    """
    still = disagreement(a, b)
    total = 1 / (still + NOISE_VARIANCE)
    made = total * torch.lerp(a, b, t)
    for v in motions:
        from_a, from_b = warp(a, bend - t * v, "bicubic"), warp(b, bend + (1 - t) * v, "bicubic")
        left = disagreement(from_a, from_b)
        gate = (UNEXPLAINED - left.mean() / (still.mean() + EPSILON)) / (UNEXPLAINED - EXPLAINED)
        weight = gate.clamp(0, 1) / (MOVED_SHARE * (left + NOISE_VARIANCE))
        total, made = total + weight, made + weight * torch.lerp(from_a, from_b, t)
    return made / total


def disagreement(p: Tensor, q: Tensor) -> Tensor:
    """Squared difference over a window: 1 c H W, 1 c H W -> 1 1 H W"""
    return smooth((p - q).square().mean(1, keepdim=True), MIX_WINDOW)
