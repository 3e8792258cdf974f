"""Temporal ControlNet: the U-Net's way down once more, fed with a picture per frame,
added to the U-Net's skips.

The networks of CiaraRowles/temporal-controlnet-*-svd-v1; names are those of the files,
the encoder's are the U-Net's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import ops as core_ops
from .configs import UNetConfig
from .hooks import NO_HOOKS, Hooks
from .ops import Ops
from .unet import Encoder

HINT_WIDTHS = (16, 32, 96, 256)
ACCUMULATION = ("as trained", "once")


class HintEncoder(nn.Module):
    """A picture per frame to the size of the latents, as features of the U-Net's first width."""

    def __init__(self, widths: tuple[int, ...], c_out: int, *, ops: Ops, **factory: Any):
        super().__init__()

        def conv(c_in: int, c: int, stride: int = 1) -> nn.Module:
            return ops.Conv2d(c_in, c, 3, padding=1, stride=stride, **factory)

        self.conv_in = conv(3, widths[0])
        self.blocks = nn.ModuleList()
        for c, wider in zip(widths, widths[1:]):
            self.blocks += [conv(c, c), conv(c, wider, stride=2)]
        self.conv_out = conv(widths[-1], c_out)

    def forward(self, hint: Tensor) -> Tensor:
        """n 3 8h 8w -> n c h w"""
        h = F.silu(self.conv_in(hint))
        for block in self.blocks:
            h = F.silu(block(h))
        return self.conv_out(h)


class ControlNet(Encoder):
    """What is added to each skip and to the middle of the U-Net."""

    def __init__(
        self,
        config: UNetConfig,
        hint_widths: tuple[int, ...] = HINT_WIDTHS,
        *,
        ops: Ops = core_ops,
        dtype: torch.dtype | None = None,
        device: Any = None,
    ):
        super().__init__(config, ops=ops, dtype=dtype, device=device)
        factory = dict(dtype=dtype, device=device)
        widths = self.skip_widths
        self.controlnet_cond_embedding = HintEncoder(hint_widths, config.model_channels, ops=ops, **factory)
        self.controlnet_down_blocks = nn.ModuleList(ops.Conv2d(c, c, 1, **factory) for c in widths)
        self.controlnet_mid_block = ops.Conv2d(widths[-1], widths[-1], 1, **factory)

    def forward(
        self,
        x: Tensor,
        hint: Tensor,
        c_noise: Tensor,
        context: Tensor,
        y: Tensor,
        *,
        t: int,
        hooks: Hooks = NO_HOOKS,
    ) -> tuple[list[Tensor], Tensor]:
        """hint (b t) 3 8h 8w, the rest as the U-Net's -> residuals of the skips in order and of the middle"""
        features = self.controlnet_cond_embedding(hint.to(x.dtype))
        h, skips, _ = self.encode(x, c_noise, context, y, t=t, features=features, hooks=hooks)
        residuals = [conv(skip) for conv, skip in zip(self.controlnet_down_blocks, skips)]
        return residuals, self.controlnet_mid_block(h)


def factors(config: UNetConfig, accumulation: str) -> list[int]:
    """How often each skip's residual counts.

    As trained: the published network adds its whole list once after every level,
    so that a skip of the first of four levels gets its residual four times and one of the last level once.
    """
    levels = len(config.channel_mult)
    counts = [levels - (max(i - 1, 0) // (config.num_res_blocks + 1)) for i in range(_skips(config))]
    return counts if accumulation == "as trained" else [1] * len(counts)


def _skips(config: UNetConfig) -> int:
    return len(config.channel_mult) * (config.num_res_blocks + 1)
