"""The layers that networks are built from, with the fastest and most accurate route the device offers.

A network takes any namespace with these names (`Linear, Conv2d, Conv3d, GroupNorm, LayerNorm, Embedding`);
this module is the default, and `linear` and `group_norm` serve hosts that bring their own layer classes.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Ops(Protocol):
    """The layer classes that networks are built from: this module, or a namespace that a host brings.

    Their arguments are those of torch.nn. `GroupNorm` also has `normalize`, and its call takes `inplace`;
    a class whose layers cast their weights to the dtype of the input says so by a property `casts_weights`.
    """

    Linear: type[Any]
    Conv2d: type[Any]
    Conv3d: type[Any]
    GroupNorm: type[Any]
    LayerNorm: type[Any]
    Embedding: type[Any]


Conv2d, Conv3d, LayerNorm, Embedding = nn.Conv2d, nn.Conv3d, nn.LayerNorm, nn.Embedding

ROWS = 256  # a product with fewer rows is quicker in BLAS
PRECISE = 512  # positions up to which the stock group norm is precise enough


def runs_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX),
    about three times faster than float32.
    """
    found = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(supported() for supported in found if supported)


def layout(device: torch.device) -> torch.memory_format:
    """How images lie in memory: channels last on a CPU, where frames, tokens and time columns are then views
    of it; elsewhere channels first, since CUDA's group norm copies all else.
    """
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """... c_in -> ... c_out; on a CPU a 1x1 convolution: oneDNN is 2 (bfloat16: 1.2) times faster."""
    rows = x.shape[:-1].numel()
    quick = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and rows >= ROWS
    if not quick or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    batch = 16 if rows % 16 == 0 else 1  # from 16 on, oneDNN also serves a single thread
    image = x.reshape(batch, rows // batch, 1, x.shape[-1]).permute(0, 3, 1, 2)
    y = F.conv2d(image, weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.shape[0])


def moments(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each group, n c h w -> n g each, float32.

    On a CPU the stock group norm sums millions of channels-last rows one by one in float32 and loses digits.
    Here rows are split into `lanes` side by side, batch norm's kernel takes two passes over each,
    Chan's formula merges them.
    """
    n, c, h, w = x.shape
    if x.device.type != "cpu":
        return device_moments(x, groups)
    rows = x.float().permute(0, 2, 3, 1).reshape(n, h * w, c)
    lanes = 1
    while h * w % (2 * lanes) == 0 and h * w > 1024 * lanes and c * lanes < 65536:
        lanes *= 2
    columns = rows.reshape(n, h * w // lanes, 1, lanes * c).permute(0, 3, 1, 2)
    sums = [torch.batch_norm_update_stats(sample, None, None, 0.0) for sample in columns.split(1)]
    means, variances = (
        torch.stack(s).view(n, lanes, groups, -1).transpose(1, 2).flatten(2) for s in zip(*sums)
    )
    return merge_moments(means, variances, torch.ones_like(means), dim=2)


def device_moments(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """`moments` of a tensor in any layout, read where it is. Half precision is summed in float32, whose
    digits are enough for the difference of squares of such values.
    """
    grouped = x.unflatten(1, (groups, -1))
    if x.dtype == torch.float32:
        variance, mean = torch.var_mean(grouped, dim=(2, 3, 4), correction=0)
        return mean, variance
    n = grouped[0, 0].numel()
    mean = grouped.sum(dim=(2, 3, 4), dtype=torch.float32) / n
    norm = torch.linalg.vector_norm(grouped, dim=(2, 3, 4), dtype=torch.float32)
    return mean, (norm**2 / n - mean**2).clamp_min_(0)


def whole_moments(parts: list[tuple[Tensor, Tensor]], counts: list[int]) -> tuple[Tensor, Tensor]:
    """Mean and variance 1 g of a whole whose p parts, of the given relative sizes, have p g between them."""
    mean, variance = (torch.cat(s)[:, None] for s in zip(*parts))
    if len(set(counts)) > 1:
        count = torch.tensor(counts, dtype=torch.float32).view(-1, 1, 1)
        return merge_moments(mean, variance, count.to(mean.device, non_blocking=mean.is_cuda), dim=0)
    return merge_moments(mean, variance, torch.ones_like(mean[:, :, :1]), dim=0)


def merge_moments(mean: Tensor, variance: Tensor, count: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of a union from those of its parts along `dim` (Chan, Golub and LeVeque, 1983)."""
    share = count / count.sum(dim, keepdim=True)
    total = (share * mean).sum(dim, keepdim=True)
    spread = (share * (variance + (mean - total) ** 2)).sum(dim)
    return total.squeeze(dim), spread


def normalize(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    *,
    out: Tensor | None = None,
) -> Tensor:
    """Group-normalise n c h w with given statistics n g, or 1 g; the affine parameters have c values."""
    c = x.shape[1]
    rstd = torch.rsqrt(variance + eps)
    mean, rstd = (v.repeat_interleave(c // v.shape[1], dim=1) for v in (mean, rstd))
    scale = rstd * weight.float()
    shift = bias.float() - mean * scale
    shift, scale = (v.to(x.dtype)[:, :, None, None] for v in (shift, scale))
    return torch.addcmul(shift, x, scale, out=out)


def group_norm(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, *, inplace: bool = False
) -> Tensor:
    """n c h w -> n c h w. On a CPU, channels-last float32 statistics are our own:
    the stock kernel loses precision.

    `inplace` allows, and does not promise, that the result takes the place of x.
    """
    short = x.shape[2:].numel() < PRECISE
    if torch.is_grad_enabled():  # the stock channels-last gradient crashes where x itself needs none
        return torch.group_norm(x if x.requires_grad else x.contiguous(), groups, weight, bias, eps)
    if x.device.type != "cpu" or x.dtype != torch.float32 or short or x.is_contiguous():
        return torch.group_norm(x, groups, weight, bias, eps)
    return normalize(x, *moments(x, groups), weight, bias, eps, out=x if inplace else None)


class Linear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class GroupNorm(nn.GroupNorm):
    def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps, inplace=inplace)

    def normalize(self, x: Tensor, mean: Tensor, variance: Tensor, out: Tensor | None = None) -> Tensor:
        """Normalise n c h w with statistics n g that were gathered elsewhere, over more than x."""
        return normalize(x, mean, variance, self.weight, self.bias, self.eps, out=out)


class SiLU(nn.Module):
    """SiLU of a tensor that nobody else holds: in place unless gradients are recorded."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x, inplace=not torch.is_grad_enabled())


def sinusoid(v: Tensor, dim: int) -> Tensor:
    """... -> ... dim: cosines, then sines, of v · 10000^(-i / (dim/2)), float32;
    v may be fractional or negative.
    """
    freqs = torch.exp(
        -math.log(10000.0) / (dim // 2) * torch.arange(dim // 2, dtype=torch.float32, device=v.device)
    )
    angles = v.float().unsqueeze(-1) * freqs
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
