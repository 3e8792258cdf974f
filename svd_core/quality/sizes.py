"""Frames and photos at another size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

SIDE = 256  # pixels of the longer side on which motion is followed


def reduced(frame: Tensor, side: int = SIDE) -> Tensor:
    """3 H W -> 1 3 h w float32 with h, w <= side, low-passed"""
    x = frame[None].float()
    H, W = x.shape[-2:]
    scale = side / max(H, W)
    if scale >= 1:
        return x
    size = (max(1, round(H * scale)), max(1, round(W * scale)))
    return F.interpolate(x, size=size, mode="bilinear", antialias=True)


def matched(photo: Tensor, H: int, W: int) -> Tensor:
    """The centre of a photo at the size of a clip: 3 H' W' in [0, 1] -> 3 H W"""
    h, w = photo.shape[-2:]
    scale = max(H / h, W / w)
    size = (max(H, round(h * scale)), max(W, round(w * scale)))
    x = photo[None].float()
    if size != (h, w):
        x = F.interpolate(x, size=size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (size[0] - H) // 2, (size[1] - W) // 2
    return x[0, :, top : top + H, left : left + W]
