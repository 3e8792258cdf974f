"""What one frame looks like, at its own size: light, colour, sharpness, noise, clipping."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..frames.filters import gaussian, smooth
from ..frames.flow import luma

BLACK, WHITE = 1 / 255, 254 / 255  # values from here on are lost
TILE = 16  # pixels of a tile in which noise is measured
CALM = gaussian(2.0)  # takes most of the noise away, so that flat tiles are told by the picture
FLATTEST = 0.2  # share of the tiles that is taken for flat
SIGMA = (
    1.4826 / 6
)  # standard deviation of the noise from the median of what the kernel leaves (Immerkaer 1996)


@dataclass(frozen=True)
class Look:
    brightness: float  # mean luma, 0..1
    contrast: float  # standard deviation of luma
    saturation: float  # mean of the largest minus the smallest channel
    warmth: tuple[float, float]  # mean red minus luma, mean blue minus luma
    detail: float  # variance of the Laplacian of luma
    noise: float  # standard deviation, 0..1
    clipped: float  # share of values at black or white


def look(frame: Tensor) -> Look:
    """3 H W in [0, 1] -> Look"""
    x = frame[None].float()
    y = luma(x)
    red, blue = float(x[:, 0].mean()), float(x[:, 2].mean())
    mean = float(y.mean())
    return Look(
        brightness=mean,
        contrast=float(y.std(correction=0)),
        saturation=float((x.amax(1) - x.amin(1)).mean()),
        warmth=(red - mean, blue - mean),
        detail=float(filtered(y, LAPLACIAN).var(correction=0)),
        noise=noise(y),
        clipped=float(((x <= BLACK) | (x >= WHITE)).float().mean()),
    )


LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))
IMMERKAER = ((1.0, -2.0, 1.0), (-2.0, 4.0, -2.0), (1.0, -2.0, 1.0))


def filtered(y: Tensor, kernel: tuple[tuple[float, ...], ...]) -> Tensor:
    """1 1 H W by a 3 x 3 kernel, the border repeated"""
    return F.conv2d(F.pad(y, (1, 1, 1, 1), mode="replicate"), y.new_tensor(kernel)[None, None])


def noise(y: Tensor) -> float:
    """Standard deviation of the noise in the flattest tiles that are neither black nor white: 1 1 H W"""
    side = min(TILE, *y.shape[-2:])
    rest = F.unfold(filtered(y, IMMERKAER).abs(), side, stride=side)[0]  # pixels, tiles
    shape = F.unfold(smooth(y, CALM), side, stride=side)[0]
    light = shape.mean(0)
    usable = (light > 0.03) & (light < 0.97)
    if not bool(usable.any()):
        usable = torch.ones_like(usable)
    flat = shape.var(0, correction=0).masked_fill(~usable, torch.inf)
    chosen = flat.topk(max(1, int(FLATTEST * int(usable.sum()))), largest=False).indices
    return SIGMA * float(rest[:, chosen].median())
