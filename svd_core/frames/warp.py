"""Pixels pulled along flow: backward warping."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def positions(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Where each pixel goes: flow n 2 H W -> x and y, each n H W, in pixels"""
    H, W = flow.shape[-2:]
    x = torch.arange(W, device=flow.device, dtype=flow.dtype)
    y = torch.arange(H, device=flow.device, dtype=flow.dtype)[:, None]
    return x + flow[:, 0], y + flow[:, 1]


def warp(image: Tensor, flow: Tensor, mode: str = "bilinear") -> Tensor:
    """image[x + flow(x)]: n c H W, n 2 H W (x then y, in pixels) -> n c H W"""
    H, W = image.shape[-2:]
    x, y = positions(flow)
    grid = torch.stack((x * (2 / max(W - 1, 1)) - 1, y * (2 / max(H - 1, 1)) - 1), -1)
    return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=True)
