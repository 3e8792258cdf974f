"""The temporal decoder over a whole clip in bounded memory, with the pixels of the one-shot decode.

Between two temporal layers everything is per frame, so consecutive spatial layers run fused, one frame at a time, and
the clip is a list of frames at one resolution. A temporal layer has (3,1,1) kernels and norms over the whole clip: its
statistics are gathered first, then it runs over slabs of *space* that hold all frames, in place. There is no seam.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .decode_stages import Stage, stages
from .ops import merge_moments, moments
from .timeconv import to_frames, to_time
from .vae import VAE, VAEConfig
from .vae_layers import VideoResBlock

GIB = 2**30
TIERS = tuple(int(g * GIB) for g in (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128))
WORK = 7.5  # activations of one full-size frame beyond the clip: 5 live tensors, the rest is room for kernels

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How a clip is decoded; nothing here changes pixels beyond rounding."""

    keep: bool  # keep the first temporal convolution of the largest level for the clip, or compute it twice
    offload: bool  # frames that wait leave the device
    peak: int  # estimated bytes on the device


def plan(config: VAEConfig, t: int, h: int, w: int, *, itemsize: int, memory: int, can_offload: bool) -> Plan:
    """The quickest plan for a clip of t frames of h x w latents within `memory` bytes of device memory.

    The limit is rounded down to one of `TIERS`, so that nearby limits give the same bytes. Raises ValueError with the
    smallest possible limit when nothing fits.
    """
    scale = 2 ** (len(config.ch_mult) - 1)
    H, W = scale * h, scale * w
    frame = config.ch * config.ch_mult[0] * H * W * itemsize
    work = int(WORK * frame)
    options = [Plan(True, False, 2 * t * frame + work), Plan(False, False, t * frame + work)]
    if can_offload:
        options.append(Plan(False, True, work))
    tier = max((m for m in TIERS if m <= memory), default=0)
    for option in options:
        if option.peak <= tier:
            return option
    least = min((m for m in TIERS if m >= options[-1].peak), default=options[-1].peak)
    raise ValueError(
        f"decoding {t} frames of {W}x{H} needs a limit of at least {least / GIB:g} GiB, and {memory / GIB:.2f} GiB is "
        "allowed; raise the memory limit, or decode fewer or smaller frames"
    )


@torch.no_grad()
def decode(
    vae: VAE, z: Tensor, *, t: int, memory: int | None = None, on_step: Callable[[int, int], None] | None = None
) -> Tensor:
    """(b t) z h w unscaled latents -> (b t) 3 8h 8w about [-1, 1], each clip exactly as if decoded in one piece.

    `memory` limits the bytes of device memory beyond weights, latents and result (None: as little as is quick).
    `on_step(i, n)` follows every few frames and every slab; raising from it stops the decode. A step that overflows in half
    precision is logged and repeated in float32.
    """
    n, _, h, w = z.shape
    if n % t:
        raise ValueError(f"{n} latent frames do not divide into clips of {t}; pass a t that divides {n}")
    limit = TIERS[-1] if memory is None else memory
    chosen = plan(vae.config, t, h, w, itemsize=z.element_size(), memory=limit, can_offload=z.device.type != "cpu")
    if memory is None:
        chosen = replace(chosen, keep=False)
    cut = stages(vae)
    steps = Steps(n // t * sum(stage.steps(t, h) for stage in cut), on_step)
    mix = vae.first_stage_model.decoder.time_mix()
    return torch.cat([_decode_clip(cut, mix, clip, chosen, steps) for clip in z.split(t)])


class Steps:
    """Reports finished groups of frames and slabs."""

    def __init__(self, n: int, on_step: Callable[[int, int], None] | None):
        self.i, self.n, self.on_step = 0, n, on_step

    def done(self) -> None:
        if self.on_step is not None:
            self.on_step(self.i, self.n)
        self.i += 1


def _decode_clip(cut: list[Stage], mix: nn.Module | None, z: Tensor, chosen: Plan, steps: Steps) -> Tensor:
    store = torch.device("cpu") if chosen.offload else z.device
    frames = [f.contiguous(memory_format=torch.channels_last) for f in z.split(1)]
    full = cut[-1].scale
    for stage in cut:
        _trim_heap()
        statistics = []
        for group in stage.groups(len(frames)):
            x = _finite(stage.layers, _take(frames, group).to(z.device))
            if stage.block is not None:
                statistics.append(moments(x, stage.block.time_stack.in_layers[0].num_groups))
            frames[group] = x.to(store).split(1)
            del x
            steps.done()
        if stage.block is not None:
            slabs = stage.slabs(len(frames), z.shape[2])
            keep = chosen.keep or (stage.scale < full and not chosen.offload)  # small levels fit beside the floor
            _mix(frames, stage.block, statistics, slabs, keep=keep, device=z.device, steps=steps)
    x = torch.cat([f.to(z.device) for f in frames])
    return x if mix is None else to_frames(_call(mix, to_time(x, len(frames))), x.shape[2])


def _trim_heap() -> None:
    """Have glibc return what it keeps of freed blocks below 32 MiB, up to three frames of them; elsewhere do nothing."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _mix(
    frames: list[Tensor], block: VideoResBlock, statistics: list[tuple[Tensor, Tensor]], slabs: list[slice], *,
    keep: bool, device: torch.device, steps: Steps,
) -> None:  # fmt: skip
    """v + a r(v) over all frames, 1 c h w each, in place."""
    norm1, silu, conv1 = block.time_stack.in_layers
    norm2, _, _, conv2 = block.time_stack.out_layers
    statistics = [part for group in statistics for part in zip(*(s.split(1) for s in group))]
    into = [_Normalize(norm1, *_merge(statistics, [1] * len(frames))), silu, conv1]

    def inner(slab: slice) -> Tensor:
        return _finite(into, to_time(torch.cat([f[:, :, slab].to(device) for f in frames]), len(frames)))

    kept, statistics = [], []
    for slab in slabs:
        u = inner(slab)
        statistics.append(moments(u, norm2.num_groups))
        kept.append(u if keep else None)
        del u
        steps.done()

    out = [_Normalize(norm2, *_merge(statistics, [s.stop - s.start for s in slabs])), silu, conv2]
    alphas = [block.alpha(f) for f in frames]
    for i, slab in enumerate(slabs):
        r = to_frames(_finite(out, _take(kept, slice(i, i + 1)) if keep else inner(slab)), slab.stop - slab.start)
        for f, alpha, part in zip(frames, alphas, r.split(1)):
            f[:, :, slab].addcmul_(part.to(f), alpha)
        del r, part
        steps.done()


class _Normalize(nn.Module):
    """A group norm with statistics gathered over the whole clip; in float32, where nothing is repeated, in place."""

    def __init__(self, norm: nn.Module, mean: Tensor, variance: Tensor):
        super().__init__()
        self.norm, self.mean, self.variance = norm, mean, variance

    def forward(self, x: Tensor) -> Tensor:
        return self.norm.normalize(x, self.mean, self.variance, inplace=x.dtype == torch.float32)


def _merge(statistics: list[tuple[Tensor, Tensor]], counts: list[int]) -> tuple[Tensor, Tensor]:
    """Mean and variance 1 g of parts with the given relative sizes."""
    mean, variance = (torch.stack(s) for s in zip(*statistics))
    count = torch.tensor(counts, dtype=torch.float32, device=mean.device).view(-1, 1, 1)
    return merge_moments(mean, variance, count, dim=0)


def _take(frames: list, group: slice) -> Tensor:
    """The frames of a group as one tensor of its own, removed from the list so that they are freed once used."""
    taken = frames[group]
    frames[group] = [None] * len(taken)
    whole = len(taken) == 1 and taken[0].untyped_storage().nbytes() == taken[0].nbytes
    return taken[0] if whole else torch.cat(taken)


def _finite(layers: list[nn.Module], x: Tensor) -> Tensor:
    """Apply layers; where the result overflows in half precision, say so and apply them again in float32."""
    if x.dtype not in (torch.float16, torch.bfloat16):
        for layer in layers:  # each input is freed before the next layer runs
            x = _call(layer, x)
        return x
    y = _apply(layers, x)
    if y.sum(dtype=torch.float32).isfinite():
        return y
    names = " + ".join(type(m).__name__ for m in layers)
    log.warning("%s overflowed in %s at %s; repeated in float32", names, y.dtype, tuple(y.shape))
    exact = _apply(layers, x.float())
    half = exact.to(y.dtype)
    return half if half.sum(dtype=torch.float32).isfinite() else exact


def _apply(layers: list[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = _call(layer, x)
    return x


def _call(module: nn.Module, x: Tensor) -> Tensor:
    """Run a module in the dtype of x, also when its weights have another."""
    weight = next(module.parameters(), x)
    if weight.dtype == x.dtype or getattr(module, "comfy_cast_weights", False):
        return module(x)
    return functional_call(module, {k: v.to(x.dtype) for k, v in module.named_parameters()}, (x,))
