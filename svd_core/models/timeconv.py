"""Time as an image axis: convolution and norms over (T, H·W) without Conv3d and without copies.

A clip kept channels-last, (b t) c h w, is the same memory as the image b c t (h w),
so a (3,1,1) convolution is a (3,1) convolution on a view. The parameter stays five-dimensional,
as checkpoints, LoRA and merges expect it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from .ops import Ops


def to_time(x: Tensor, t: int) -> Tensor:
    """(b t) c h w -> b c t (h w), channels-last; a view when x is channels-last.

    Reshaped in the order of memory: otherwise the axis of one clip gets a stride for which convolutions copy
    their input.
    """
    rows = x.permute(0, 2, 3, 1)
    return rows.reshape(-1, t, rows.shape[1] * rows.shape[2], rows.shape[3]).permute(0, 3, 1, 2)


def to_frames(x: Tensor, h: int) -> Tensor:
    """b c t (h w) -> (b t) c h w; the inverse view of `to_time`."""
    rows = x.permute(0, 2, 3, 1)
    return rows.reshape(-1, h, rows.shape[2] // h, rows.shape[3]).permute(0, 3, 1, 2)


def add_in_time(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """x + y, b t c h w each, and the same memory as b c t (h w), which is contiguous: what `to_time` is to
    channels-last frames, for those whose channels come first.
    """
    b, t, c, h, w = x.shape
    columns = x.new_empty(b, c, t, h * w)
    frames = columns.view(b, c, t, h, w).transpose(1, 2)
    return torch.add(x, y, out=frames), columns


@cache
def _time_conv_class(conv3d: type[nn.Module]) -> type[nn.Module]:
    class TimeConv(conv3d):  # type: ignore[valid-type, misc]
        """Conv3d parameters c_out c_in 3 1 1 applied to b c_in t s -> b c_out t s, zero padded in time."""

        def _conv_forward(
            self, x: Tensor, weight: Tensor, bias: Tensor | None, *args: Any, **kwargs: Any
        ) -> Tensor:
            return F.conv2d(x, weight.squeeze(-1), bias, padding=(1, 0))

    return TimeConv


def time_conv(ops: Ops, c_in: int, c_out: int, **factory: Any) -> nn.Module:
    """A (3,1,1) temporal convolution built from `ops.Conv3d`, for b c t s inputs."""
    return _time_conv_class(ops.Conv3d)(c_in, c_out, (3, 1, 1), padding=(1, 0, 0), **factory)  # type: ignore[arg-type]
