"""Loss curves and sample sheets as PNG."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ..checkpoint.whole import replace_file

WIDTH, HEIGHT, MARGIN = 640, 240, 40


def save(path: Path, image: Image.Image) -> None:
    """Write a PNG whole or not at all."""
    replace_file(path, partial(image.save, format="PNG"))


def sheet(rows: list[Tensor]) -> Image.Image:
    """Rows of pictures, each t 3 H W in [-1, 1]."""
    strips = [
        np.concatenate(list(((r.float().clamp(-1, 1) + 1) * 127.5).movedim(1, -1).byte().numpy()), axis=1)
        for r in rows
    ]
    width = max(strip.shape[1] for strip in strips)
    padded = [np.pad(s, ((0, 4), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips]
    return Image.fromarray(np.concatenate(padded))


def curves(history: list[dict[str, float]], *, title: str) -> Image.Image:
    """One panel for each quantity over the steps; faint points are means of 20 steps,
    the line their running mean.
    """
    names = [name for name in history[0] if name != "step"] if history else []
    image = Image.new("RGB", (WIDTH, HEIGHT * max(1, len(names))), "white")
    draw = ImageDraw.Draw(image)
    for panel, name in enumerate(names):
        points = [(h["step"], h[name]) for h in history]
        draw_panel(draw, points, top=panel * HEIGHT, label=f"{title}: {name}")
    return image


def draw_panel(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], *, top: int, label: str) -> None:
    """Axes with their ends named, points, and a running mean of ten."""
    steps, values = (np.array(v, float) for v in zip(*points))
    low, high = np.percentile(values, 1), np.percentile(values, 99)
    span = (high - low) or 1.0
    x = MARGIN + (WIDTH - 2 * MARGIN) * steps / steps.max()
    y = top + HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (np.clip(values, low, high) - low) / span
    draw.rectangle((MARGIN, top + MARGIN, WIDTH - MARGIN, top + HEIGHT - MARGIN), outline="lightgrey")
    for a, b in zip(x, y):
        draw.ellipse((a - 1, b - 1, a + 1, b + 1), fill="lightblue")
    k = min(10, len(y))
    smooth = np.convolve(y, np.ones(k) / k, mode="valid")
    draw.line(list(zip(x[k - 1 :], smooth)), fill="navy", width=2)
    draw.text((MARGIN, top + 12), label, fill="black")
    draw.text((2, top + MARGIN), f"{high:.3g}", fill="black")
    draw.text((2, top + HEIGHT - MARGIN - 10), f"{low:.3g}", fill="black")
    draw.text((WIDTH - 2 * MARGIN, top + HEIGHT - MARGIN + 8), f"step {int(steps.max())}", fill="black")
