"""Classical ways to make the frame in the middle of two: nothing but a mean, or a flow and plain warping."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from svd_core.frames.between import crossfade

Middle = Callable[[Tensor, Tensor], Tensor]
CLASSICAL = ("Lucas-Kanade", "Farneback", "DIS")  # flows, each with plain warping


def grey(x: Tensor) -> np.ndarray:
    """1 3 H W -> H W bytes"""
    return cv2.cvtColor((x[0].movedim(0, -1).contiguous() * 255).round().byte().numpy(), cv2.COLOR_RGB2GRAY)


def plain_warp(flow: Callable[[np.ndarray, np.ndarray], np.ndarray], a: Tensor, b: Tensor) -> Tensor:
    """The mean of both frames, each warped backwards by half its own flow"""
    bytes_a, bytes_b = grey(a), grey(b)
    height, width = bytes_a.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    halves = []
    for image, f in ((a, flow(bytes_a, bytes_b) / 2), (b, flow(bytes_b, bytes_a) / 2)):
        still = image[0].movedim(0, -1).contiguous().numpy()
        halves.append(
            cv2.remap(still, x - f[..., 0], y - f[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        )
    return torch.from_numpy(sum(halves) / 2).movedim(-1, 0)[None]


def farneback(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 5, 15, 3, 5, 1.2, 0)


def lucas_kanade(a: np.ndarray, b: np.ndarray, *, window: int = 15, steps: int = 3) -> np.ndarray:
    """Least squares over a window, coarse to fine"""
    scales = [torch.from_numpy(np.stack((a, b))).float()[:, None] / 255]
    while min(scales[-1].shape[-2:]) >= 32:
        scales.append(F.avg_pool2d(scales[-1], 2))
    v = torch.zeros(1, 2, *scales[-1].shape[-2:])
    for y in reversed(scales):
        size = y.shape[-2:]
        v = F.interpolate(v, size=size, mode="bilinear") * (size[0] / v.shape[-2])
        for _ in range(steps):
            v = v + least_squares(y[:1], shifted(y[1:], v), window)
    return v[0].movedim(0, -1).numpy()


def shifted(x: Tensor, v: Tensor) -> Tensor:
    H, W = x.shape[-2:]
    j, i = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    grid = torch.stack(((i + v[:, 0]) * 2 / (W - 1) - 1, (j + v[:, 1]) * 2 / (H - 1) - 1), -1)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=True)


def least_squares(a: Tensor, b: Tensor, window: int) -> Tensor:
    """The step that brings b onto a, the same over each window: 1 1 H W, 1 1 H W -> 1 2 H W"""
    dy, dx = torch.gradient((a + b) / 2, dim=(2, 3))
    r = b - a
    products = torch.cat((dx * dx, dx * dy, dy * dy, dx * r, dy * r), 1)
    xx, xy, yy, xr, yr = F.avg_pool2d(products, window, 1, window // 2).split(1, 1)
    xx, yy = xx + 1e-5, yy + 1e-5
    return torch.cat((xy * yr - yy * xr, xy * xr - xx * yr), 1) / (xx * yy - xy * xy)


def rivals() -> dict[str, Middle]:
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return {
        "repeat": lambda a, b: a,
        "cross-fade": lambda a, b: next(crossfade(a, b, [0.5])),
        "Lucas-Kanade": partial(plain_warp, lucas_kanade),
        "Farneback": partial(plain_warp, farneback),
        "DIS": partial(plain_warp, lambda a, b: dis.calc(a, b, None)),
    }
