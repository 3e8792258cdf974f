"""ControlNeXt-SVD v2: a light network whose features join the U-Net once, normalised to what they join.

They join after the first downsampling, once its skip has been stored.

Peng et al. 2408.06070 and dvlab-research/ControlNeXt; names are those of the files.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import ops as core_ops
from .ops import Ops
from .unet_blocks import sinusoid

SHARE = 0.2  # of the features at strength 1, as released
TIME, EMB = 128, 256  # sinusoid of c_noise, and its embedding


class _Residual(nn.Module):
    """GN, SiLU, conv, + embedding, GN, SiLU, conv, + shortcut."""

    def __init__(self, c_in: int, c_out: int, groups: int, *, ops: Ops, **factory: Any):
        super().__init__()
        self.norm1 = ops.GroupNorm(groups, c_in, eps=1e-6, **factory)
        self.conv1 = ops.Conv2d(c_in, c_out, 3, padding=1, **factory)
        self.time_emb_proj = ops.Linear(EMB, c_out, **factory)
        self.norm2 = ops.GroupNorm(groups, c_out, eps=1e-6, **factory)
        self.conv2 = ops.Conv2d(c_out, c_out, 3, padding=1, **factory)
        self.conv_shortcut = ops.Conv2d(c_in, c_out, 1, **factory) if c_in != c_out else None

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """n c h w, n e -> n c' h w"""
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(F.silu(emb))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class _Down(nn.Module):
    def __init__(self, c: int, *, ops: Ops, **factory: Any):
        super().__init__()
        self.conv = ops.Conv2d(c, c, 3, stride=2, padding=1, **factory)

    def forward(self, x: Tensor) -> Tensor:
        """n c h w -> n c ceil(h/2) ceil(w/2)"""
        return self.conv(x)


class _TimeEmbedding(nn.Module):
    def __init__(self, *, ops: Ops, **factory: Any):
        super().__init__()
        self.linear_1 = ops.Linear(TIME, EMB, **factory)
        self.linear_2 = ops.Linear(EMB, EMB, **factory)

    def forward(self, s: Tensor) -> Tensor:
        """n 128 -> n 256"""
        return self.linear_2(F.silu(self.linear_1(s)))


class ControlNeXt(nn.Module):
    """A picture per frame and the noise level to features of the U-Net's first width."""

    def __init__(
        self, c_out: int = 320, *, ops: Ops = core_ops, dtype: torch.dtype | None = None, device: Any = None
    ):
        super().__init__()
        kw: dict[str, Any] = dict(dtype=dtype, device=device)

        def conv(c_in: int, c: int, kernel: int = 3, **options: int) -> nn.Module:
            return ops.Conv2d(c_in, c, kernel, **options, **kw)

        def norm(groups: int, c: int) -> nn.Module:
            return ops.GroupNorm(groups, c, eps=1e-5, **kw)

        self.time_embedding = _TimeEmbedding(ops=ops, **kw)
        first = [
            conv(3, 64, stride=2, padding=1),
            norm(2, 64),
            nn.ReLU(),
            conv(64, 64),
            norm(2, 64),
            nn.ReLU(),
        ]
        self.embedding = nn.Sequential(*first, conv(64, 128), norm(2, 128), nn.ReLU())
        self.down_res = nn.ModuleList(
            [_Residual(128, 128, 4, ops=ops, **kw), _Residual(128, 256, 8, ops=ops, **kw)]
        )
        self.down_sample = nn.ModuleList(_Down(c, ops=ops, **kw) for c in (128, 256))
        same = dict(padding=1)
        middle = [conv(256, 256, **same), nn.ReLU(), norm(8, 256), conv(256, 256, **same), norm(8, 256)]
        self.mid_convs = nn.ModuleList([nn.Sequential(*middle), conv(256, c_out, 1)])

    def forward(self, hint: Tensor, c_noise: Tensor) -> Tensor:
        """hint n 3 H W, c_noise n -> n c about H/8 W/8"""
        emb = self.time_embedding(sinusoid(c_noise, TIME).to(hint.dtype))
        h = self.embedding(hint)
        for res, down in zip(self.down_res, self.down_sample):
            h = down(res(h, emb))
        return self.mid_convs[1](self.mid_convs[0](h) + h)


def inject(h: Tensor, features: Tensor, scale: Tensor | float) -> Tensor:
    """h n c h w plus features n c h' w' pooled to it, with its mean and deviation a frame; scale n or one"""
    axes = (1, 2, 3)
    wide, f = h.float(), features.float()
    mean, std = wide.mean(axes, keepdim=True), wide.std(axes, keepdim=True)
    f = (f - f.mean(axes, keepdim=True)) * std / (f.std(axes, keepdim=True) + 1e-5) + mean
    f = F.adaptive_avg_pool2d(f, (h.shape[2], h.shape[3]))
    if isinstance(scale, Tensor):
        scale = scale.reshape(-1, 1, 1, 1)
    return h + (scale * f).to(h.dtype)
