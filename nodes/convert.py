"""Host layouts to core layouts and back: IMAGE b H W c in [0, 1], LATENT {"samples": t 4 h w}."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

GRID = 8  # pixels a latent position covers
NARROWEST = 64  # times: how much narrower or wider than the video a photo may be
ASPECT = 0.03  # of the logarithm: how far a mask may differ from its picture by rounding sizes
BRIGHTEST = 1e4  # times white: room for high dynamic range, and for squares in float32


def check_image(image: Tensor, *, lowest: float = -BRIGHTEST, highest: float = BRIGHTEST) -> Tensor:
    """IMAGE b H W c: real numbers, none of them missing."""
    if not isinstance(image, Tensor) or image.ndim != 4 or 0 in image.shape or image.is_complex():
        found = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(
            f"the image has shape {found}; wire in an IMAGE of shape (images, height, width, channels)"
        )
    low, high = check_numbers("image", image)
    if low < lowest or high > highest:
        raise ValueError(
            f"image values reach from {low:g} to {high:g}; an IMAGE lies in 0..1, so divide by its white "
            "level"
        )
    return image


def check_numbers(name: str, x: Tensor) -> tuple[float, float]:
    """Lowest and highest value, all of them numbers; row by row, because a clip can be large."""
    lows, highs = zip(*(torch.aminmax(row.float()) for row in x))
    low, high = float(torch.stack(lows).min()), float(torch.stack(highs).max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"the {name} holds NaN or infinite values; check the node that made it")
    return low, high


def pixels(image: Tensor) -> Tensor:
    """IMAGE b H W c, c of 1 to 4 -> b 3 H W in [-1, 1], float32; alpha is dropped, as in the reference."""
    check_image(image, lowest=-1, highest=2)  # resampling overshoots a little; 255 or 65535 is another scale
    c = image.shape[-1]
    if c > 4:
        raise ValueError(f"the image has {c} channels; use 1 (grey), 2 (grey + alpha), 3 (RGB) or 4 (RGBA)")
    return rgb(image).float().movedim(-1, 1) * 2 - 1


def rgb(image: Tensor) -> Tensor:
    """IMAGE b H W c -> b H W 3; grey is repeated, alpha dropped"""
    return image[..., :3] if image.shape[-1] >= 3 else image[..., :1].expand(*image.shape[:-1], 3)


def one_photo(image: Tensor) -> Tensor:
    """IMAGE of one picture -> 1 3 H W in [0, 1], float32, on the CPU"""
    check_image(image, lowest=-1, highest=2)
    count, _, _, c = image.shape
    if count != 1 or c > 4:
        found = f"{count} pictures" if count != 1 else f"{c} channels"
        raise ValueError(f"the image has {found}; use one photo, grey, RGB or RGBA")
    return rgb(image).float().cpu().movedim(-1, 1).clamp(0, 1)


def mask(mask: Tensor, t: int, height: int, width: int, *, of: str, name: str = "mask") -> Tensor:
    """MASK H W, or 1 or t of them, of the picture's aspect -> t 1 height width in [0, 1]; all black may
    have any shape: Load Image gives a small one for a picture without alpha.
    """
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3) or 0 in mask.shape:
        found = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"the {name} has shape {found}; wire in a MASK of shape (frames, height, width)")
    x = mask.float().cpu().reshape(-1, 1, *mask.shape[-2:])
    check_numbers(name, x)
    if len(x) not in (1, t):
        raise ValueError(f"the {name} has {len(x)} frames, the {of} {t}; use one mask, or one for each frame")
    H, W = x.shape[-2:]
    if not x.any():
        return torch.zeros(t, 1, height, width)
    if abs(math.log(W * height / (H * width))) > ASPECT:
        raise ValueError(
            f"the {name} is {W}x{H}, the {of} {width}x{height}; make it from the same picture, in its shape"
        )
    if (H, W) != (height, width):
        x = F.interpolate(x, size=(height, width), mode="bilinear", antialias=True)
    return x.clamp(0, 1).expand(t, -1, -1, -1)


def image(frames: Tensor) -> Tensor:
    """n 3 H W about [-1, 1] -> IMAGE n H W 3 in [0, 1]"""
    return frames.movedim(1, -1).add(1).div(2).clamp(0, 1)


def drawn(picture: Any) -> Tensor:
    """A PIL picture -> IMAGE 1 H W 3"""
    return torch.from_numpy(np.array(picture)).float()[None] / 255


def check_finite(**values: float) -> None:
    """The host's range check lets NaN through."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}; use a finite number")


def check_size(width: int, height: int) -> None:
    for name, value in (("width", width), ("height", height)):
        if value < 16 or value % GRID:
            low = max(16, value // GRID * GRID)
            raise ValueError(
                f"{name} {value} is not a multiple of {GRID} from 16 on; use {low} or {low + GRID}"
            )


def kept(image_width: int, image_height: int, width: int, height: int) -> tuple[float, float]:
    """Width and height that cropping the centre to another aspect leaves of a picture."""
    return min(image_width, image_height * width / height), min(image_height, image_width * height / width)


def check_crop(image_width: int, image_height: int, width: int, height: int) -> None:
    """Refuse a photo whose shape leaves next to nothing of it, and asks for endless memory in between."""
    w, h = kept(image_width, image_height, width, height)
    whole = (w, h) == (image_width, image_height)
    if min(w / image_width, h / image_height) * NARROWEST < 1 or (not whole and min(w, h) < 2):
        raise ValueError(
            f"a photo of {image_width}x{image_height} has next to nothing left when it is cropped to "
            f"{width}x{height}; set fit to pad or stretch, or use a photo of another shape"
        )


def nearest_size(image_width: int, image_height: int, width: int, height: int) -> tuple[int, int]:
    """The nearest in aspect of the trained size, its portrait counterpart and a square of their area."""
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
    if not _is_filled(z, 4) or z.shape[1] != 4:
        found = f"{tuple(z.shape)}, {z.dtype}" if isinstance(z, Tensor) else type(z).__name__
        raise ValueError(
            f"the latent has shape {found}; a Stable Video Diffusion latent is (frames, 4, "
            "height / 8, width / 8) in float32: use the one from Image to Video"
        )
    check_numbers("latent", z)
    return z


def is_usual(x: Tensor) -> bool:
    """A floating-point format that torch computes with."""
    return x.is_floating_point() and x.element_size() > 1


def conditioning(name: str, value: list) -> list:
    """CONDITIONING, one or more of [context n l e, details] with an encoded photo b 4 h w, if any"""
    good = isinstance(value, list) and value and all(_is_described(*entry) for entry in value)
    if not good:
        raise ValueError(
            f"{name} is not conditioning for a video model; wire in {name} of Image to Video, or of ComfyUI's"
            " own SVD_img2vid_Conditioning"
        )
    for context, details in value:
        check_numbers(f"embedding in {name}", context)
        if details.get("concat_latent_image") is not None:
            check_numbers(f"photo in {name}", details["concat_latent_image"])
    return value


def _is_described(context: Tensor, details: dict) -> bool:
    photo = details.get("concat_latent_image")
    return _is_filled(context, 3) and (photo is None or (_is_filled(photo, 4) and photo.shape[1] == 4))


def _is_filled(x, axes: int) -> bool:
    """A usual tensor of so many axes, none of them empty."""
    plain = isinstance(x, Tensor) and not x.is_nested
    return plain and x.ndim == axes and 0 not in x.shape and is_usual(x)


def empty_latent(frames: int, width: int, height: int) -> dict:
    return {"samples": torch.zeros(frames, 4, height // GRID, width // GRID)}


def curve(name: str, value: Any) -> Callable[[Tensor], Tensor]:
    """CURVE -> the function it draws, at positions n in [0, 1] -> n.

    The host hands over an object with `interp`, or the points its editor stores: a list of x, y in [0, 1],
    joined by straight lines here.
    """
    if value is None:
        raise ValueError(f"{name} is empty; wire a Curve Editor into it, or choose another curve")
    points: Any = value.get("points") if isinstance(value, dict) else getattr(value, "points", value)
    good = isinstance(points, list | tuple) and points and all(_is_point(point) for point in points)
    if not good:
        raise ValueError(
            f"{name} has points {str(points)[:60]}; a curve has pairs of finite x and y: wire in a Curve "
            "Editor"
        )
    interp = getattr(value, "interp", None)
    if callable(interp):
        return lambda x: torch.tensor([float(interp(float(at))) for at in x])
    xs, ys = torch.tensor(sorted(map(tuple, points)), dtype=torch.float64).unbind(1)
    return lambda x: _straight(x.double(), xs, ys).float()


def _is_point(point: Any) -> bool:
    pair = isinstance(point, list | tuple) and len(point) == 2
    return pair and all(isinstance(v, int | float) and math.isfinite(v) for v in point)


def _straight(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Straight lines between points of rising x, level beyond them: n"""
    if len(xs) == 1:
        return ys.expand(len(x))
    i = torch.searchsorted(xs, x.contiguous()).clamp(1, len(xs) - 1)
    width = (xs[i] - xs[i - 1]).clamp_min(1e-12)
    return torch.lerp(ys[i - 1], ys[i], ((x - xs[i - 1]) / width).clamp(0, 1))
