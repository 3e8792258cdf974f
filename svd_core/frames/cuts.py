"""Scene cuts: two frames that no shift makes alike, seen at the size of a thumbnail."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

THRESHOLD = 0.5  # likeness under which two frames are taken for two scenes
WIDTH = 32  # pixels of a thumbnail's longer side
OVERLAP = 0.45  # part of the picture that must be common to both frames of a pan
STILL = 1.5 / 255  # a pair whose largest difference is below this is not worth following


def is_cut(a: Tensor, b: Tensor, *, threshold: float = THRESHOLD) -> bool:
    """1 c H W, 1 c H W"""
    return likeness(a, b) < threshold


def is_still(a: Tensor, b: Tensor) -> bool:
    """1 c H W, 1 c H W"""
    return bool((a - b).abs().max() <= STILL)


def thumbnail(x: Tensor) -> Tensor:
    """1 c H W -> 1 c h w with h, w <= WIDTH"""
    H, W = x.shape[-2:]
    scale = min(1.0, WIDTH / max(H, W))
    return F.adaptive_avg_pool2d(x, (max(1, round(H * scale)), max(1, round(W * scale))))


def likeness(a: Tensor, b: Tensor) -> float:
    """Best concordance (Lin 1989: correlation that also pays for mean and gain) over all shifts: at most 1.

    1 c H W, 1 c H W. Only shifts that keep `OVERLAP` of the picture in both count; flat equal frames are alike.
    """
    a, b = thumbnail(a[:, :3].float()), thumbnail(b[:, :3].float())
    c, h, w = a.shape[1:]
    padding = (int(h * (1 - OVERLAP)), int(w * (1 - OVERLAP)))
    ones = a.new_ones(1, 1, h, w)
    n = F.conv2d(ones, ones, padding=padding)
    sum_a = F.conv2d(a, ones.expand(c, 1, h, w), padding=padding, groups=c)
    sum_b = F.conv2d(ones, b.view(c, 1, h, w), padding=padding)
    covariance = F.conv2d(a, b, padding=padding) - (sum_a * sum_b).sum(1) / n
    variance_a = F.conv2d((a * a).sum(1, keepdim=True), ones, padding=padding) - (sum_a**2).sum(1) / n
    variance_b = F.conv2d(ones, (b * b).sum(1, keepdim=True), padding=padding) - (sum_b**2).sum(1) / n
    noise = c * n * STILL**2
    mean = ((sum_a - sum_b) ** 2).sum(1) / n
    score = (2 * covariance + noise) / (variance_a + variance_b + mean + noise)
    return float(score[n >= OVERLAP * h * w].max())
