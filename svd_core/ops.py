"""The layers that networks are built from, with the fastest and most accurate route the device offers.

A network takes any namespace with these names (`Linear, Conv2d, Conv3d, GroupNorm, LayerNorm, Embedding`); this module is the
default, and `linear` and `group_norm` serve hosts that bring their own layer classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Conv2d, Conv3d, LayerNorm, Embedding = nn.Conv2d, nn.Conv3d, nn.LayerNorm, nn.Embedding

BLOCK = 256  # rows whose sums stay exact enough in float32, and stay in cache


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """... c_in -> ... c_out. In float32 on a CPU a 1x1 convolution: oneDNN beats the BLAS product about twofold."""
    rows = x.shape[:-1].numel()
    if x.device.type != "cpu" or x.dtype != torch.float32 or rows < BLOCK or torch.is_autocast_enabled("cpu"):
        return F.linear(x, weight, bias)
    batch = 16 if rows % 16 == 0 else 1  # from 16 on, oneDNN also serves a single thread
    image = x.reshape(batch, rows // batch, 1, x.shape[-1]).permute(0, 3, 1, 2)
    y = F.conv2d(image, weight[:, :, None, None], bias)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.shape[0])


def moments(x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each group, n c h w -> n g each, float32, over blocks merged by Chan's formula.

    A float32 sum over millions of rows loses digits; sums over short blocks, merged pairwise-like, do not.
    """
    n, c, h, w = x.shape
    rows = x.float().permute(0, 2, 3, 1).reshape(n, h * w, c)
    if x.device.type != "cpu":
        variance, mean = torch.var_mean(rows.unflatten(2, (groups, -1)), dim=(1, 3), correction=0)
        return mean, variance
    whole = h * w // BLOCK * BLOCK
    parts = [_block_moments(rows[:, :whole], n, groups, BLOCK)] if whole else []
    if whole < h * w:
        parts.append(_block_moments(rows[:, whole:], n, groups, h * w - whole))
    means, variances, counts = (torch.cat(p, dim=1) for p in zip(*parts))
    return merge_moments(means, variances, counts, dim=1)


def _block_moments(rows: Tensor, n: int, groups: int, block: int) -> tuple[Tensor, Tensor, Tensor]:
    """n (k block) c -> mean, variance, weight: n k g, n k g, 1 k 1"""
    k, c = rows.shape[1] // block, rows.shape[2]
    image = rows.reshape(n * k, block, 1, c).contiguous().permute(0, 3, 1, 2)
    _, mean, rstd = torch.native_group_norm(image, None, None, n * k, c, block, groups, 1e-12)
    variance = rstd.float().pow(-2)
    weight = torch.full((1, k, 1), float(block))
    return mean.float().view(n, k, groups), variance.view(n, k, groups), weight


def merge_moments(mean: Tensor, variance: Tensor, count: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of a union from those of its parts along `dim` (Chan, Golub and LeVeque, 1983)."""
    share = count / count.sum(dim, keepdim=True)
    total = (share * mean).sum(dim, keepdim=True)
    spread = (share * (variance + (mean - total) ** 2)).sum(dim)
    return total.squeeze(dim), spread


def normalize(x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Group-normalise n c h w with given statistics n g; the affine parameters have c values."""
    n, c = x.shape[:2]
    rstd = torch.rsqrt(variance + eps)
    mean, rstd = (v.repeat_interleave(c // v.shape[1], dim=1) for v in (mean, rstd))
    scale = rstd * weight.float()
    shift = bias.float() - mean * scale
    return torch.addcmul(shift.to(x.dtype)[:, :, None, None], x, scale.to(x.dtype)[:, :, None, None])


def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """n c h w -> n c h w. On a CPU, channels-last float32 statistics are merged from blocks: the stock kernel drifts."""
    long = x.shape[2:].numel() > 4 * BLOCK
    if x.device.type != "cpu" or x.dtype != torch.float32 or not long or x.is_contiguous() or torch.is_grad_enabled():
        return F.group_norm(x, groups, weight, bias, eps)
    return normalize(x, *moments(x, groups), weight, bias, eps)


class Linear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class GroupNorm(nn.GroupNorm):
    def forward(self, x: Tensor) -> Tensor:
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def normalize(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Normalise n c h w with statistics n g that were gathered elsewhere, over more than x."""
        return normalize(x, mean, variance, self.weight, self.bias, self.eps)


class SiLU(nn.Module):
    """SiLU of a tensor that nobody else holds: in place unless gradients are recorded."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x, inplace=not torch.is_grad_enabled())
