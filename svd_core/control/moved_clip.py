"""Parts of a photo moved along paths: the clip, and where its pixels lie (Time-to-Move, cut and drag).

A region is cut out, carried along its path at constant speed, turned and scaled about its middle,
and laid over the photo, whose hole is filled smoothly from around. The hole is not part of the mask:
the model fills it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..frames.splat import fill
from .paths import Drawing

SAMPLES = 32  # straight pieces a curve is made of, between two points


@dataclass(frozen=True)
class Layer:
    """One region of the photo and where it is in each of t frames."""

    region: Tensor  # 1 1 H W of 0 and 1
    shift: Tensor  # t 2, x then y, in pixels
    turn: Tensor  # t, radians clockwise
    scale: Tensor  # t, times
    shown: Tensor  # t, bool


# Regions


def polygon(points: Tensor, *, height: int, width: int) -> Tensor:
    """Corners k 2 in pixels -> 1 1 H W, 1 for pixels whose middle lies inside, by the even-odd rule."""
    x, y = torch.arange(width, dtype=torch.float64), torch.arange(height, dtype=torch.float64)[:, None]
    odd = torch.zeros(height, width, dtype=torch.bool)
    for (x0, y0), (x1, y1) in zip(points.double().tolist(), points.double().roll(-1, 0).tolist()):
        if y0 != y1:
            crosses = (y >= min(y0, y1)) & (y < max(y0, y1))
            odd ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return odd[None, None].float()


def disc(centre: Tensor, radius: float, *, height: int, width: int) -> Tensor:
    """Pixels within `radius` of a point (x, y): 1 1 H W"""
    x, y = torch.arange(width), torch.arange(height)[:, None]
    return ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2)[None, None].float()


def nearest(region: Tensor, starts: Tensor) -> list[Tensor]:
    """A region 1 1 H W shared out among k points (x, y): each gets the pixels nearest to it."""
    height, width = region.shape[-2:]
    x, y = torch.arange(width), torch.arange(height)[:, None]
    owner = torch.stack([(x - a) ** 2 + (y - b) ** 2 for a, b in starts.tolist()]).argmin(0)
    return [region * (owner == i) for i in range(len(starts))]


# Paths


def curve(points: Tensor) -> Tensor:
    """A smooth line through k points (uniform Catmull-Rom; two: straight): k 2 -> (k - 1) * SAMPLES + 1, 2"""
    p = torch.cat([points[:1] * 2 - points[1:2], points, points[-1:] * 2 - points[-2:-1]])
    u = (torch.arange(SAMPLES) / SAMPLES).to(p)[:, None, None]
    a, b, c, d = p[:-3], p[1:-2], p[2:-1], p[3:]
    line = b + u / 2 * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)))
    return torch.cat([line.transpose(0, 1).reshape(-1, 2), points[-1:]])


def along(points: Tensor, progress: Tensor) -> Tensor:
    """Places at shares `progress` (t) of the length of the curve through points k 2 -> t 2"""
    line = curve(points.double())
    length = torch.cat([torch.zeros(1, dtype=torch.float64), line.diff(dim=0).norm(dim=1).cumsum(0)])
    at = progress.double().clamp(0, 1) * length[-1]
    i = torch.searchsorted(length, at, right=True).clamp(1, len(line) - 1) - 1
    step = (length[i + 1] - length[i]).clamp(min=1e-12)
    return torch.lerp(line[i], line[i + 1], ((at - length[i]) / step)[:, None]).float()


def layers(
    drawing: Drawing, progress: Tensor, *, height: int, width: int, radius: float, mask: Tensor | None = None
) -> list[Layer]:
    """The drawing's paths in pixels, a layer each; without a polygon they share `mask` 1 1 H W or are discs.

    `radius` of discs in shares of the shorter side; progress t in 0..1.
    """
    to_pixels = torch.tensor([width - 1.0, height - 1.0])
    starts = [path.points[0] for path in drawing.paths if not path.polygon]
    shared = iter(nearest(mask, torch.tensor(starts) * to_pixels) if mask is not None and starts else ())
    found = []
    for path in drawing.paths:
        points = torch.tensor(path.points) * to_pixels
        if path.polygon:
            region = polygon(torch.tensor(path.polygon) * to_pixels, height=height, width=width)
        elif mask is not None:
            region = next(shared)
        else:
            r = (path.radius or radius) * min(height, width)
            region = disc(points[0], r, height=height, width=width)
        place = along(points, progress)
        found.append(
            Layer(
                region,
                place - points[0],
                progress * math.radians(path.turn),
                (progress * math.log(path.scale)).exp(),
                torch.ones(len(progress), dtype=torch.bool),
            )
        )
    return found


def tracked(place: Tensor, shown: Tensor, *, height: int, width: int, radius: float) -> Layer:
    """A disc carried through places t 2 in pixels, drawn in the frames where `shown` (t) is true."""
    region = disc(place[0], radius * min(height, width), height=height, width=width)
    still = torch.zeros(len(place))
    return Layer(region, place - place[0], still, still + 1, shown)


def tracks(drawing: Drawing, progress: Tensor, *, height: int, width: int) -> list[Tensor]:
    """Where each path, then each pin, is in each frame, in pixels: t 2 each"""
    to_pixels = torch.tensor([width - 1.0, height - 1.0])
    moved = [along(torch.tensor(path.points) * to_pixels, progress) for path in drawing.paths]
    return moved + [(torch.tensor(pin) * to_pixels).expand(len(progress), -1) for pin in drawing.pins]


def pins(drawing: Drawing, *, height: int, width: int, radius: float) -> Tensor:
    """Discs around the points that stay: 1 1 H W"""
    held = torch.zeros(1, 1, height, width)
    for x, y in drawing.pins:
        centre = torch.tensor([x * (width - 1), y * (height - 1)])
        held = torch.maximum(held, disc(centre, radius * min(height, width), height=height, width=width))
    return held


# Clip


def compose(photo: Tensor, moved: Sequence[Layer], held: Tensor, *, t: int) -> tuple[Tensor, Tensor]:
    """Photo 1 3 H W, layers from back to front, held 1 1 H W -> frames t 3 H W and mask t 1 H W in [0, 1].

    The mask is where a layer lies in that frame, and what is held. With all layers in place a frame is the
    photo.
    """
    hole = torch.zeros_like(held)
    for layer in moved:
        hole = torch.maximum(hole, layer.region)
    hole = hole * (1 - held)
    known = torch.cat([photo * (1 - hole), 1 - hole], 1)
    ground = torch.where(hole > 0, fill(known), photo)
    frames, masks = ground.repeat(t, 1, 1, 1), held.repeat(t, 1, 1, 1)
    for layer in moved:
        if layer.region.any():
            for f in range(t):
                if layer.shown[f]:
                    _lay(frames[f], masks[f], photo, layer, f)
    return frames, masks


def _lay(frame: Tensor, mask: Tensor, photo: Tensor, layer: Layer, f: int) -> None:
    """Draw a layer of frame f over frame 3 H W and mask 1 H W, in place."""
    height, width = photo.shape[-2:]
    rows, columns = (layer.region[0, 0] > 0).nonzero(as_tuple=True)
    low, high = torch.stack([columns.min(), rows.min()]), torch.stack([columns.max(), rows.max()])
    middle, reach = (low + high) / 2, float((high - low).float().norm()) / 2 + 2
    angle, scale = float(layer.turn[f]), float(layer.scale[f])
    to = middle + layer.shift[f]
    x0, x1 = _span(float(to[0]), reach * scale, width)
    y0, y1 = _span(float(to[1]), reach * scale, height)
    if x0 >= x1 or y0 >= y1:
        return
    dx, dy = torch.arange(x0, x1) - to[0], (torch.arange(y0, y1) - to[1])[:, None]
    c, s = math.cos(angle) / scale, math.sin(angle) / scale
    x, y = c * dx + s * dy + middle[0], c * dy - s * dx + middle[1]
    if angle == 0 and scale == 1:
        x, y = x.expand(y1 - y0, -1), y.expand(-1, x1 - x0)
    grid = torch.stack([x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], -1)[None]
    alpha = F.grid_sample(layer.region, grid, mode="bilinear", padding_mode="zeros", align_corners=True)[0]
    part = F.grid_sample(photo, grid, mode="bilinear", padding_mode="border", align_corners=True)[0]
    if not layer.shift[f].any() and angle == 0 and scale == 1:
        alpha, part = layer.region[0, :, y0:y1, x0:x1], photo[0, :, y0:y1, x0:x1]
    frame[:, y0:y1, x0:x1] = frame[:, y0:y1, x0:x1].lerp(part, alpha)
    mask[:, y0:y1, x0:x1] = torch.maximum(mask[:, y0:y1, x0:x1], alpha)


def _span(middle: float, reach: float, size: int) -> tuple[int, int]:
    return max(math.floor(middle - reach), 0), min(math.ceil(middle + reach) + 1, size)
