"""A picture of guidance: the scale of every frame at every noise level."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .guidance import Guidance

CELL_W, CELL_H, LEFT, TOP = 30, 16, 64, 44
COLD, HOT, SKIPPED = (38, 66, 110), (245, 166, 35), (58, 58, 58)
INK, GROUND = (230, 230, 230), (24, 24, 24)


def scales(guidance: Guidance, sigmas: Tensor) -> Tensor:
    """Scale of t frames at n levels, the last of the n + 1 left out: n t"""
    return torch.stack([guidance.scale_at(sigma) for sigma in sigmas[:-1]])


def passes(scale: Tensor) -> int:
    """Network passes of a run with one evaluation a level: n t -> one or two for each level."""
    return int((1 + (scale != 1).any(dim=1).int()).sum())


def draw(guidance: Guidance, sigmas: Tensor) -> Tensor:
    """1 H W 3 in [0, 1]: frames from left to right, levels from the first at the top; grey needs one pass."""
    scale = scales(guidance, sigmas)
    n, t = scale.shape
    width = max(CELL_W * t, 360)
    picture = Image.new("RGB", (LEFT + width + 8, TOP + CELL_H * n + 24), GROUND)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    low, high = float(scale.min()), float(scale.max())
    text = (
        f"guidance {low:.3g} to {high:.3g}, {t} frames, {n} levels: {passes(scale)} passes instead of {2 * n}"
    )
    draw.text((8, 8), text, INK, font=font)
    draw.text((8, 26), "level", INK, font=font)
    draw.text((LEFT, 26), "frame 1 to last; grey: the pass without the photo is not run", INK, font=font)
    for i, row in enumerate(scale):
        y, skipped = TOP + CELL_H * i, bool((row == 1).all())
        draw.text((8, y + 2), f"{float(sigmas[i]):.4g}", INK, font=font)
        for f, value in enumerate(row.tolist()):
            x = LEFT + width * f // t
            box = (x, y, LEFT + width * (f + 1) // t - 2, y + CELL_H - 2)
            draw.rectangle(box, SKIPPED if skipped else _colour(value, low, high))
            if not skipped and width // t >= CELL_W:
                draw.text((x + 4, y + 2), f"{value:.3g}", INK, font=font)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]


def _colour(value: float, low: float, high: float) -> tuple[int, int, int]:
    share = (value - low) / (high - low) if high > low else 0.0
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(COLD, HOT))
    return red, green, blue
