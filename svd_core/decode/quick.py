"""The decode of a clip that stays on an accelerator: written in place, without waiting but once a stage.

Channels come first, as the group norm of CUDA wants them. Where half precision overflows, the whole group of
a norm becomes NaN, and so does all that follows; each stage looks at its statistics alone, and the clip is
decoded again by `exact`, which repeats single steps in float32.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..models.ops import moments, whole_moments
from .half import HALF, call

if TYPE_CHECKING:
    from .exact import Steps
    from .stages import Stage

Moments = list[tuple[Tensor, Tensor]]


class Overflow(ArithmeticError):
    """A stage's result is not finite in half precision."""


def decode(cut: list[Stage], mix: nn.Module | None, z: Tensor, *, keep: float, steps: Steps) -> Tensor:
    """Latents t z h w -> t 3 8h 8w. `keep` is that of the plan. Raises Overflow."""
    t, _, h, w = z.shape
    *most, last = cut
    largest = max(stage.channels * stage.scale**2 for stage in cut)
    memory = z.new_empty(largest * z[:, 0].numel())
    frames = memory[: z.numel()].view(z.shape).copy_(z)
    for stage in most:
        shape = torch.Size((t, stage.channels, h * stage.scale, w * stage.scale))
        before, frames = frames, memory[: shape.numel()].view(shape)
        statistics = _refill(stage, before, frames, steps)
        kept = stage.channels * stage.scale**2 <= keep * largest
        check(_mix(frames, stage, statistics, keep=kept, steps=steps), z.dtype)
    pixels = z.new_empty(last.channels, t, h * last.scale, w * last.scale)
    for group in last.groups(t):
        pixels[:, group] = last.spatial(frames[group]).transpose(0, 1)
        steps.done()
    if mix is not None:
        pixels = call(mix, pixels.flatten(2)[None])[0].view(pixels.shape)
    check(pixels, z.dtype)
    return pixels.transpose(0, 1)


def check(x: Tensor, dtype: torch.dtype) -> None:
    """Wait for the device, and raise where x is not finite and `dtype`, which was computed in, is why."""
    if dtype in HALF and not math.isfinite(x.sum(dtype=torch.float32)):
        raise Overflow(f"half precision overflowed before {tuple(x.shape)}")


def _refill(stage: Stage, before: Tensor, frames: Tensor, steps: Steps) -> Moments:
    """The per-frame layers, from frames to frames in one memory, in the order of `Clip.refill`."""
    assert stage.block is not None
    order = 1 if frames.numel() < before.numel() else -1
    statistics = []
    for group in stage.groups(len(frames))[::order]:
        place = frames[group]
        x = stage.spatial(before[group], out=place)
        statistics.append(moments(x, stage.block.time_stack.groups))
        if x is not place:
            place.copy_(x)
        steps.done()
    return statistics


def _mix(frames: Tensor, stage: Stage, statistics: Moments, *, keep: bool, steps: Steps) -> Tensor:
    """v + a r(v) over all frames, t c h w, in place -> the mean of each group of the second norm."""
    block: Any = stage.block
    norm1, silu, conv1 = block.time_stack.in_layers
    norm2, _, _, conv2 = block.time_stack.out_layers
    t, c, h, w = frames.shape
    whole1 = whole_moments(statistics, [1] * t)

    def first(slab: slice) -> Tensor:
        columns = frames.new_empty(1, c, t, (slab.stop - slab.start) * w)
        norm1.normalize(frames[:, :, slab], *whole1, out=_frames(columns, w))
        return call(conv1, silu(columns))

    slabs, statistics = stage.slabs(t, h // stage.scale), []
    kept: list[Tensor | None] = []
    for slab in slabs:
        u = first(slab)
        statistics.append(moments(u, block.time_stack.groups))
        kept.append(u if keep else None)
        del u
        steps.done()

    whole2 = whole_moments(statistics, [s.stop - s.start for s in slabs])
    alpha = block.alpha(frames)
    for slab in slabs:
        held = kept.pop(0)
        u = first(slab) if held is None else held
        u = call(conv2, silu(norm2.normalize(u, *whole2, out=u)))
        v = frames[:, :, slab]
        torch.addcmul(v, _frames(u, w), alpha, out=v)
        del u, held
        steps.done()
    return whole2[0]


def _frames(columns: Tensor, w: int) -> Tensor:
    """1 c t (h w) -> t c h w, a view"""
    return columns[0].unflatten(2, (-1, w)).transpose(0, 1)
