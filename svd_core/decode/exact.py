"""The temporal decoder over a whole clip in bounded memory, with the pixels of the one-shot decode.

Between two temporal layers everything is per frame, so consecutive spatial layers run fused,
one frame at a time, and the clip lies in memory at one resolution. A temporal layer has (3,1,1) kernels and
norms over the whole clip: its statistics are gathered first, then it runs over slabs of *space* that hold all
frames, in place. There is no seam.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..models.ops import moments, whole_moments
from ..models.timeconv import to_frames, to_time
from ..models.vae_blocks import VideoResBlock
from ..signatures import OnStep
from . import quick
from .half import HALF, call, finite
from .plan import LEVELS_BELOW, TIERS, Plan, plan
from .stages import Stage, stages

if TYPE_CHECKING:
    from ..models.vae import VAE


@torch.no_grad()
def decode(
    vae: VAE,
    z: Tensor,
    *,
    t: int,
    memory: int | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """(b t) z h w unscaled latents -> (b t) 3 8h 8w about [-1, 1], each clip as if decoded in one piece.

    `memory` limits the bytes of device memory beyond weights, latents and result (None:
    as little as is quick). `on_step(i, n)` follows every few frames and every slab;
    raising from it stops the decode. A step that overflows in half precision is logged and repeated in
    float32.
    """
    n, _, h, w = z.shape
    if n % t:
        raise ValueError(f"{n} latent frames do not divide into clips of {t}; pass a t that divides {n}")
    limit = TIERS[-1] if memory is None else memory
    chosen = plan(
        vae.config, t, h, w, itemsize=z.element_size(), memory=limit, can_offload=z.device.type != "cpu"
    )
    if memory is None:
        chosen = replace(chosen, keep=min(chosen.keep, LEVELS_BELOW))
    cut = stages(vae)
    steps = Steps(n // t * sum(stage.steps(t, h) for stage in cut), on_step)
    mix = vae.first_stage_model.decoder.time_mix()
    clips = [_decode_clip(cut, mix, clip, chosen, steps) for clip in z.split(t)]
    return clips[0] if len(clips) == 1 else torch.cat(clips)


class Steps:
    """Reports finished groups of frames and slabs."""

    def __init__(self, n: int, on_step: OnStep | None):
        self.i, self.n, self.on_step = 0, n, on_step

    def done(self) -> None:
        if self.on_step is not None:
            self.on_step(self.i, self.n)
        self.i += 1


def stays(z: Tensor, chosen: Plan) -> bool:
    """Whether a clip is decoded by `quick`: no step of it is looked at before the stage is done."""
    return z.device.type != "cpu" and not chosen.offload


def _decode_clip(cut: list[Stage], mix: nn.Module | None, z: Tensor, chosen: Plan, steps: Steps) -> Tensor:
    if stays(z, chosen):
        before = steps.i
        with suppress(quick.Overflow):
            return quick.decode(cut, mix, z, keep=chosen.keep, steps=steps)
        steps.i = before
    t, _, h, _ = z.shape
    largest = max(stage.channels * stage.scale**2 for stage in cut)
    clip = Clip(z, largest, offload=chosen.offload)
    for stage in cut:
        _trim_heap()
        statistics = clip.refill(stage, steps)
        if stage.block is not None:
            keep = stage.channels * stage.scale**2 <= chosen.keep * largest
            _mix(clip, stage.block, statistics, stage.slabs(t, h), keep=keep, steps=steps)
    x = clip.frames.to(z.device)
    return x.clone() if mix is None else to_frames(call(mix, to_time(x, t)), x.shape[2])


def _trim_heap() -> None:
    """Have glibc return freed blocks below 32 MiB, up to three frames of them; elsewhere do nothing."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


class Clip:
    """The frames of a clip in one memory, as large as the largest stage and refilled by each in place."""

    def __init__(self, z: Tensor, elements: int, *, offload: bool):
        """From latents t c h w; `elements` of the largest stage for each of their t h w positions."""
        self.latents, self.shape, self.device = z.shape, z.shape, z.device
        store = torch.device("cpu") if offload else z.device
        self.memory = torch.empty(elements * z[:, 0].numel(), dtype=z.dtype, device=store)
        self.frames.copy_(z)

    @property
    def frames(self) -> Tensor:
        """t c h w, channels-last."""
        return self.view(self.shape)

    def view(self, shape: torch.Size) -> Tensor:
        """The memory as t c h w, channels-last."""
        t, c, h, w = shape
        return self.memory[: shape.numel()].view(t, h, w, c).permute(0, 3, 1, 2)

    def put(self, where: tuple[slice, ...], x: Tensor) -> None:
        """Overwrite a part of the frames; all are float32 from then on where x is,
        being too large for half precision.
        """
        self.memory = self.memory.to(x.dtype)
        self.frames[where] = x

    def rows(self, slab: slice) -> Tensor:
        """A slab of space of every frame: t c rows w, on the device that computes."""
        return self.frames[:, :, slab].to(self.device)

    def refill(self, stage: Stage, steps: Steps) -> list[tuple[Tensor, Tensor]]:
        """Replace the frames by a stage's result; norm statistics n g of each group for the block after it.

        Frames that grow are replaced from the last to the first, others from the first on,
        so that none is overwritten before it is read.
        """
        t, _, h, w = self.latents
        before, self.shape = self.shape, torch.Size((t, stage.channels, h * stage.scale, w * stage.scale))
        order = 1 if self.shape.numel() < before.numel() else -1
        statistics = []
        for group in stage.groups(t)[::order]:
            place = self.frames[group]
            x = self.view(before)[group].to(self.device)
            fits = x.dtype not in HALF and (place.device, place.dtype) == (x.device, x.dtype)
            apply = partial(stage.spatial, out=place if fits else None)
            x = finite(apply, x, f"decoder stage of {stage.channels} channels")
            if stage.block is not None:
                statistics.append(moments(x, stage.block.time_stack.groups))
            if x is not place:
                self.put((group,), x)
            del x
            steps.done()
        return statistics


def _mix(
    clip: Clip,
    block: VideoResBlock,
    statistics: list[tuple[Tensor, Tensor]],
    slabs: list[slice],
    *,
    keep: bool,
    steps: Steps,
) -> None:
    """v + a r(v) over all frames, in place."""
    stack: Any = block.time_stack
    norm1, silu, conv1 = stack.in_layers
    norm2, _, _, conv2 = stack.out_layers
    t, what = len(clip.frames), f"temporal layer of {block.c_out} channels"
    whole1 = whole_moments(statistics, [1] * t)

    def first(v: Tensor) -> Tensor:
        return call(conv1, silu(norm1.normalize(v, *whole1)))

    kept: list[Tensor | None] = []
    statistics = []
    for slab in slabs:
        u = finite(first, to_time(clip.rows(slab), t), what)
        statistics.append(moments(u, stack.groups))
        kept.append(u if keep else None)
        del u
        steps.done()

    whole2 = whole_moments(statistics, [s.stop - s.start for s in slabs])
    alpha = block.alpha(whole2[0])  # float32; each slab takes it in its own dtype

    def second(u: Tensor) -> Tensor:
        return call(conv2, silu(norm2.normalize(u, *whole2, out=u if u.dtype == torch.float32 else None)))

    for slab in slabs:
        held = kept.pop(0)
        u = finite(first, to_time(clip.rows(slab), t), what) if held is None else held
        r = to_frames(finite(second, u, what), slab.stop - slab.start)
        del u, held
        x = finite(partial(_add, r, alpha), clip.rows(slab), what)
        clip.put((slice(None), slice(None), slab), x)
        del r, x
        steps.done()


def _add(r: Tensor, alpha: Tensor, v: Tensor) -> Tensor:
    """v + a r in the dtype of v."""
    return torch.addcmul(v, r.to(v), alpha.to(v))
