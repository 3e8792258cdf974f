"""Pixels pushed along flow: forward splatting, and filling what nothing reached."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .filters import resize
from .warp import positions

TRUST = 0.05  # splatted weight from which a pixel believes itself rather than its surroundings


def splat(x: Tensor, flow: Tensor, weight: Tensor) -> Tensor:
    """Forward warp with bilinear footprints: n c H W, n 2 H W, n 1 H W -> n (c + 1) H W, weight last"""
    n, c, H, W = x.shape
    x_to, y_to = positions(flow)
    x0, y0 = x_to.floor(), y_to.floor()
    source = torch.cat((x * weight, weight), 1).flatten(2)
    out = source.new_zeros(n, c + 1, H * W)
    for dy in (0, 1):
        for dx in (0, 1):
            xi, yi = x0 + dx, y0 + dy
            share = (1 - (x_to - xi).abs()) * (1 - (y_to - yi).abs())
            share = share * ((xi >= 0) & (xi < W) & (yi >= 0) & (yi < H))
            index = (yi.clamp(0, H - 1) * W + xi.clamp(0, W - 1)).long().flatten(1)
            out.scatter_add_(2, index[:, None].expand(-1, c + 1, -1), source * share.flatten(1)[:, None])
    return out.view(n, c + 1, H, W)


def fill(splatted: Tensor) -> Tensor:
    """Divide by the weight and fill holes from coarser scales: n (c + 1) H W -> n c H W"""
    levels = [splatted]
    while min(levels[-1].shape[-2:]) > 4:
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True))
    top = levels.pop()
    x = top[:, :-1] / (top[:, -1:] + 1e-8)
    for level in reversed(levels):
        x = (level[:, :-1] + TRUST * resize(x, level.shape[-2:])) / (level[:, -1:] + TRUST)
    return x
