"""Host layouts to core layouts and back: IMAGE b H W c in [0, 1], LATENT {"samples": t 4 h w}."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

GRID = 8  # pixels a latent position covers


def check_image(image: Tensor) -> None:
    """IMAGE b H W c: numbers, none of them missing."""
    if not isinstance(image, Tensor) or image.ndim != 4 or 0 in image.shape:
        found = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(
            f"the image has shape {found}; wire in an IMAGE of shape (images, height, width, channels)"
        )
    if not all(torch.isfinite(row).all() for row in image):  # row by row: a clip can be large
        raise ValueError("the image holds NaN or infinite values; check the node that made it")


def pixels(image: Tensor) -> Tensor:
    """IMAGE b H W c, any c of 1 to 4 -> b 3 H W in [-1, 1], float32; alpha is dropped as the reference does."""
    check_image(image)
    c = image.shape[-1]
    if c > 4:
        raise ValueError(f"the image has {c} channels; 1 (grey), 2 (grey + alpha), 3 (RGB) or 4 (RGBA) work")
    x = image.float()
    low, high = float(x.min()), float(x.max())
    if low < -1 or high > 2:  # resampling overshoots a little; 255 or 65535 is another scale
        raise ValueError(
            f"image values reach from {low:g} to {high:g}; an IMAGE lies in 0..1, so divide by its white "
            f"level"
        )
    rgb = x[..., :3] if c >= 3 else x[..., :1].expand(*x.shape[:-1], 3)
    return rgb.movedim(-1, 1) * 2 - 1


def image(frames: Tensor) -> Tensor:
    """n 3 H W about [-1, 1] -> IMAGE n H W 3 in [0, 1]"""
    return frames.movedim(1, -1).add(1).div(2).clamp(0, 1)


def check_finite(**values: float) -> None:
    """The host's range check lets NaN through."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}; it must be a finite number")


def check_size(width: int, height: int) -> None:
    for name, value in (("width", width), ("height", height)):
        if value < 16 or value % GRID:
            low = max(16, value // GRID * GRID)
            raise ValueError(
                f"{name} {value} is not a multiple of {GRID} from 16 on; use {low} or {low + GRID}"
            )


def nearest_size(image_width: int, image_height: int, width: int, height: int) -> tuple[int, int]:
    """Of the trained size, its portrait twin and the square of the same area, the one nearest in aspect."""
    side = max(64, round(math.sqrt(width * height) / 64) * 64)
    wanted = math.log(image_width / image_height)
    sizes = [(width, height), (height, width), (side, side)]
    return min(sizes, key=lambda size: abs(math.log(size[0] / size[1]) - wanted))


def fit(x: Tensor, width: int, height: int, how: str) -> Tensor:
    """b 3 H W -> b 3 height width: `crop` the centre, `pad` with black, or `stretch`."""
    H, W = x.shape[-2:]
    if (H, W) == (height, width):
        return x
    if how == "stretch":
        return _resize(x, width, height)
    if how not in ("crop", "pad"):
        raise ValueError(f"fit {how!r} is unknown; use crop, pad or stretch")
    scale = (max if how == "crop" else min)(width / W, height / H)
    w, h = max(1, round(W * scale)), max(1, round(H * scale))
    if how == "crop":
        w, h = max(w, width), max(h, height)
        left, top = (w - width) // 2, (h - height) // 2
        return _resize(x, w, h)[..., top : top + height, left : left + width]
    w, h = min(w, width), min(h, height)
    left, top = (width - w) // 2, (height - h) // 2
    return F.pad(_resize(x, w, h), (left, width - w - left, top, height - h - top), value=-1.0)


def _resize(x: Tensor, width: int, height: int) -> Tensor:
    """Antialiased bicubic; its overshoot is cut off where the picture itself has none."""
    low, high = x.amin(), x.amax()
    return F.interpolate(x, size=(height, width), mode="bicubic", antialias=True).clamp(low, high)


def latent(samples: dict) -> Tensor:
    """LATENT -> t c h w, one clip"""
    z = samples["samples"]
    if (
        not isinstance(z, Tensor)
        or getattr(z, "is_nested", False)
        or z.ndim != 4
        or z.shape[1] != 4
        or 0 in z.shape
    ):
        raise ValueError(
            f"the latent has shape {tuple(z.shape)}; a Stable Video Diffusion latent is (frames, 4, height "
            f"/ 8, width / 8)"
        )
    if not torch.isfinite(z).all():
        raise ValueError("the latent holds NaN or infinite values; check the node that made it")
    return z


def empty_latent(frames: int, width: int, height: int) -> dict:
    return {"samples": torch.zeros(frames, 4, height // GRID, width // GRID)}
