"""The blocks of the autoencoder: residual blocks, some also over time, attention,
and changes of resolution.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from . import ops as core_ops
from .ops import Ops
from .timeconv import time_conv, to_frames, to_time
from .upconv import up_conv


class ResBlock(nn.Module):
    """GroupNorm, SiLU, conv3x3, twice, plus the identity or a 1x1 convolution."""

    def __init__(self, c_in: int, c_out: int, *, groups: int, ops: Ops, **factory: Any):
        super().__init__()
        self.c_out = c_out
        self.norm1 = ops.GroupNorm(groups, c_in, eps=1e-6, **factory)
        self.conv1 = ops.Conv2d(c_in, c_out, 3, padding=1, **factory)
        self.norm2 = ops.GroupNorm(groups, c_out, eps=1e-6, **factory)
        self.conv2 = ops.Conv2d(c_out, c_out, 3, padding=1, **factory)
        self.nin_shortcut = ops.Conv2d(c_in, c_out, 1, **factory) if c_in != c_out else None
        self.silu = core_ops.SiLU()

    def spatial(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """n c_in h w -> n c_out h w, in `out` if there is one; it may be x, where that has c_out channels"""
        skip = x if self.nin_shortcut is None else self.nin_shortcut(x)
        h = self.conv1(self.silu(self.norm1(x)))
        h = self.silu(self.norm2(h, inplace=True))  # one name, so that nothing outlives its use
        h = self.conv2(h)
        return h.add_(skip) if out is None else torch.add(h, skip, out=out)

    def forward(self, x: Tensor) -> Tensor:
        """n c_in h w -> n c_out h w"""
        return self.spatial(x)


class TimeStack(nn.Module):
    """The temporal residual r of `VideoResBlock`; its norms take statistics over the whole clip."""

    def __init__(self, c: int, *, groups: int, ops: Ops, **factory: Any):
        super().__init__()
        self.groups = groups
        self.in_layers = nn.Sequential(
            ops.GroupNorm(groups, c, eps=1e-5, **factory), core_ops.SiLU(), time_conv(ops, c, c, **factory)
        )
        self.out_layers = nn.Sequential(
            ops.GroupNorm(groups, c, eps=1e-5, **factory),
            core_ops.SiLU(),
            nn.Identity(),
            time_conv(ops, c, c, **factory),
        )

    def forward(self, x: Tensor) -> Tensor:
        """b c t s -> b c t s"""
        return self.out_layers(self.in_layers(x))


class VideoResBlock(ResBlock):
    """A spatial block, then v + a r(v), a = sigmoid(mix_factor): here a weighs *time*, in the U-Net space."""

    def __init__(self, c_in: int, c_out: int, *, groups: int, ops: Ops, **factory: Any):
        super().__init__(c_in, c_out, groups=groups, ops=ops, **factory)
        self.time_stack = TimeStack(c_out, groups=groups, ops=ops, **factory)
        self.mix_factor = nn.Parameter(torch.zeros(1, **factory))

    def alpha(self, like: Tensor) -> Tensor:
        """The temporal weight, computed in float32, in the dtype and on the device of `like`."""
        return torch.sigmoid(self.mix_factor.float()).to(like)

    def temporal(self, v: Tensor, t: int) -> Tensor:
        """(b t) c h w -> the same, each frame mixed with its neighbours."""
        r = to_frames(self.time_stack(to_time(v, t)), v.shape[2])
        return torch.addcmul(v, r, self.alpha(v))

    def forward(self, x: Tensor, t: int) -> Tensor:
        """(b t) c_in h w -> (b t) c_out h w"""
        return self.temporal(self.spatial(x), t)


class AttnBlock(nn.Module):
    """Single-head attention over the positions of a frame."""

    def __init__(self, c: int, *, groups: int, ops: Ops, **factory: Any):
        super().__init__()
        self.norm = ops.GroupNorm(groups, c, eps=1e-6, **factory)
        self.q, self.k, self.v, self.proj_out = (ops.Conv2d(c, c, 1, **factory) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """n c h w -> n c h w"""
        y = self.norm(x)
        # a view on a CPU; fused kernels take no strided channels
        q, k, v = (rearrange(f(y), "n c h w -> n 1 (h w) c").contiguous() for f in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(rearrange(y, "n 1 (h w) c -> n c h w", h=x.shape[2]))


class Downsample(nn.Module):
    def __init__(self, c: int, *, ops: Ops, **factory: Any):
        super().__init__()
        self.conv = ops.Conv2d(c, c, 3, stride=2, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """n c h w -> n c h/2 w/2, padded right and bottom only"""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, c: int, *, ops: Ops, **factory: Any):
        super().__init__()
        self.conv = up_conv(ops, c, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """n c h w -> n c 2h 2w"""
        return self.conv(x)


class Level(nn.Module):
    """One resolution: residual blocks, then `downsample` or `upsample` where there is a next one."""

    def __init__(
        self,
        blocks: list[ResBlock],
        *,
        downsample: Downsample | None = None,
        upsample: Upsample | None = None,
    ):
        super().__init__()
        self.block = nn.ModuleList(blocks)
        self.downsample, self.upsample = downsample, upsample

    def layers(self) -> list[nn.Module]:
        """The modules in the order in which they are applied."""
        change = [module for module in (self.downsample, self.upsample) if module is not None]
        return [*self.block.children(), *change]

    def forward(self, x: Tensor) -> Tensor:
        """n c h w -> n c' h' w', each frame by itself"""
        for layer in self.layers():
            x = layer(x)
        return x


class Middle(nn.Module):
    def __init__(self, c: int, block: type[ResBlock], **kw: Any):
        super().__init__()
        self.block_1, self.attn_1, self.block_2 = block(c, c, **kw), AttnBlock(c, **kw), block(c, c, **kw)
