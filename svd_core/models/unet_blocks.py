"""The blocks of the video U-Net: residual blocks and transformers over space, each followed by one over time.

On a CPU activations stay channels-last, (b t) c h w, so that frames, tokens and time columns are views of one
memory; elsewhere channels come first (`ops.layout`), and the sum before the columns is written as columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .ops import Ops, SiLU, sinusoid
from .timeconv import add_in_time, time_conv, to_frames, to_time
from .transformer import SpatialBlock, TimeBlock, added, plain

if TYPE_CHECKING:
    from .hooks import Hooks


@dataclass(frozen=True)
class Pass:
    """What the blocks of one pass over b videos of t frames share."""

    emb: Tensor  # (b t) e, SiLU of noise level and micro-conditions
    context: Tensor  # (b t) l e
    time_context: Tensor  # b l e
    t: int
    hooks: Hooks
    mix: dict[Mixer, Tensor]  # the weight of time of each block
    image_only: bool = False  # skip every temporal layer
    numbers: dict[int, Tensor] = field(default_factory=dict)

    def numbered(self, c: int) -> Tensor:
        """Sinusoids of the frames' numbers: t c, made once a pass for each width."""
        if c not in self.numbers:
            frames = torch.arange(self.t, dtype=torch.float32, device=self.emb.device)
            self.numbers[c] = sinusoid(frames, c).to(self.emb.dtype)
        return self.numbers[c]


class Mixer(nn.Module):
    """Blend of a spatial value v with v + r over time: v + (1 - a) r,
    where a = sigmoid(mix_factor) weighs *space*.
    """

    def __init__(self, **factory: Any):
        super().__init__()
        self.mix_factor = nn.Parameter(torch.zeros(1, **factory))

    @staticmethod
    def weights(mixers: list[Mixer], like: Tensor) -> dict[Mixer, Tensor]:
        """The weight of time of each, 1 - a, computed in float32, then as `like` in dtype and device."""
        factors = [mixer.mix_factor.to(like.device) for mixer in mixers]
        if like.device.type == "cpu":  # one by one: a CPU rounds the sigmoids of a vector otherwise
            found = [torch.sigmoid(-factor.float()).to(like) for factor in factors]
        else:
            found = list(torch.sigmoid(-torch.cat(factors).float()).to(like).split(1))
        return dict(zip(mixers, found))


def mix(v: Tensor, r: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
    """v + weight r, in the memory of `out`, else of r, unless a result is `plain`."""
    if plain():
        return torch.addcmul(v, r, weight)
    return torch.addcmul(v, r, weight, out=r if out is None else out)


class ResBlock(nn.Module):
    """GN, SiLU, conv, + embedding, GN, SiLU, conv. `conv` makes the convolutions, over space or over time."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        emb: int,
        *,
        conv: Callable[[int, int], nn.Module],
        groups: int,
        ops: Ops,
        **factory: Any,
    ):
        super().__init__()
        self.in_layers = nn.Sequential(
            ops.GroupNorm(groups, c_in, eps=1e-5, **factory), SiLU(), conv(c_in, c_out)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), ops.Linear(emb, c_out, **factory))
        self.out_layers = nn.Sequential(
            ops.GroupNorm(groups, c_out, eps=1e-5, **factory), SiLU(), nn.Identity(), conv(c_out, c_out)
        )

    def residual(self, x: Tensor, emb: Tensor) -> Tensor:
        """x and emb broadcastable after the first convolution -> the residual, before any skip is added."""
        return self.out_layers(self.in_layers(x).add_(emb))


class VideoResBlock(ResBlock):
    """A residual block over each frame, then one over time, blended."""

    def __init__(self, c_in: int, c_out: int, emb: int, *, groups: int, ops: Ops, **factory: Any):
        kw = dict(groups=groups, ops=ops, **factory)
        super().__init__(c_in, c_out, emb, conv=lambda i, o: ops.Conv2d(i, o, 3, padding=1, **factory), **kw)
        self.skip_connection = ops.Conv2d(c_in, c_out, 1, **factory) if c_in != c_out else None
        self.time_stack = ResBlock(c_out, c_out, emb, conv=lambda i, o: time_conv(ops, i, o, **factory), **kw)
        self.time_mixer = Mixer(**factory)

    def forward(self, x: Tensor, given: Pass) -> Tensor:
        """(b t) c_in h w -> (b t) c_out h w"""
        h = self.residual(x, self.emb_layers[1](given.emb)[:, :, None, None])
        skip = x if self.skip_connection is None else self.skip_connection(x)
        if given.image_only:
            return h.add_(skip)
        emb = rearrange(self.time_stack.emb_layers[1](given.emb), "(b t) c -> b c t 1", t=given.t)
        weight = given.mix[self.time_mixer]
        if plain() or h.is_contiguous(memory_format=torch.channels_last):
            v = h.add_(skip)
            r = self.time_stack.residual(to_time(v, given.t), emb)
            return mix(v, to_frames(r, v.shape[2]), weight)
        frames = h.unflatten(0, (-1, given.t))
        v, columns = add_in_time(frames, skip.unflatten(0, (-1, given.t)))
        r = self.time_stack.residual(columns, emb).view(columns.shape).unflatten(3, v.shape[3:])
        mix(v, r.transpose(1, 2), weight, out=frames)
        return h


class SpatialVideoTransformer(nn.Module):
    """Tokens of each frame through a `SpatialBlock`, then over time through a `TimeBlock`, blended."""

    def __init__(self, c: int, c_context: int, head_dim: int, *, groups: int, ops: Ops, **factory: Any):
        super().__init__()
        kw = dict(ops=ops, **factory)
        self.norm = ops.GroupNorm(groups, c, eps=1e-6, **factory)
        self.proj_in = ops.Linear(c, c, **factory)
        self.transformer_blocks = nn.ModuleList([SpatialBlock(c, c_context, head_dim, **kw)])
        self.proj_out = ops.Linear(c, c, **factory)
        self.time_stack = nn.ModuleList([TimeBlock(c, c_context, head_dim, **kw)])
        self.time_pos_embed = nn.Sequential(
            ops.Linear(c, 4 * c, **factory), nn.SiLU(), ops.Linear(4 * c, c, **factory)
        )
        self.time_mixer = Mixer(**factory)

    def forward(self, x: Tensor, given: Pass) -> Tensor:
        """(b t) c h w, which is overwritten unless gradients are recorded -> (b t) c h w"""
        c, h = x.shape[1:3]
        hooks = given.hooks
        hooks.enter_transformer(x.shape)
        v = self.proj_in(rearrange(self.norm(x), "n c h w -> n (h w) c"))
        v = self.transformer_blocks[0](v, given.context, hooks)
        if not given.image_only:
            frame = self.time_pos_embed(given.numbered(c))
            at = (v.unflatten(0, (-1, given.t)) + frame[:, None]).flatten(0, 1)
            m = self.time_stack[0](at, given.time_context, given.t, hooks)
            weight = given.mix[self.time_mixer]
            if m.device.type == "cpu" or plain():
                v = mix(v, m.sub_(v), weight)
            else:  # one kernel, with fewer roundings
                v = torch.lerp(v, m, weight, out=m)
        hooks.leave_transformer()
        return added(x, rearrange(self.proj_out(v), "n (h w) c -> n c h w", h=h))


class Downsample(nn.Module):
    def __init__(self, c: int, *, ops: Ops, **factory: Any):
        super().__init__()
        self.op = ops.Conv2d(c, c, 3, stride=2, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """n c h w -> n c ceil(h/2) ceil(w/2)"""
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, c: int, *, ops: Ops, **factory: Any):
        super().__init__()
        self.conv = ops.Conv2d(c, c, 3, padding=1, **factory)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """n c h w -> n c *size, nearest, where size is that of the skip to be joined"""
        return self.conv(F.interpolate(x, size=size, mode="nearest"))
