"""A camera that moves through a photo with a depth map: dolly and orbit, by forward splatting."""

from __future__ import annotations

import torch
from torch import Tensor

from ..frames.splat import fill, splat
from ..frames.warp import warp
from .camera import ERODED, dilate, erode, intrinsics, rotation

FARTHEST = 4.0  # times as far as the nearest, as a relative depth map leaves open
NEARER_WINS = 50.0  # exponent that weighs near against far where both land (NVS-Solver)
SEEN = 0.05  # of a pixel's area, from which it counts as seen (ViewExtrapolator)


def distance(near: Tensor) -> Tensor:
    """A relative map 1 1 H W, near is large, as disparity is -> distance from 1 to FARTHEST, same shape."""
    low, high = near.amin(), near.amax()
    share = (near - low) / (high - low).clamp(min=1e-12)
    return 1 / (share + (1 - share) / FARTHEST)


def poses(kind: str, by: Tensor, *, at: float) -> tuple[Tensor, Tensor]:
    """R t 3 3 and T t 3 of X' = R X + T, float64, for a camera that looks along +z.

    dolly goes `by` shares of the way to the depth `at`; orbit goes `by` degrees to the right around the point
    there.
    """
    by = by.double()
    centre = torch.tensor([0.0, 0, at], dtype=torch.float64)
    if kind == "dolly":
        return torch.eye(3, dtype=torch.float64).repeat(len(by), 1, 1), -by[:, None] * centre
    if kind == "orbit":
        R = rotation(-by.deg2rad(), "y")
        return R, centre - R @ centre
    raise ValueError(f"a {kind} does not go through space; use dolly or orbit")


def forward(depth: Tensor, R: Tensor, T: Tensor, K: Tensor) -> Tensor:
    """Where each pixel goes, u' - u: depth 1 1 H W, R 3 3, T 3, K 3 3 -> 1 2 H W, x then y, float32."""
    height, width = depth.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    rays = torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    X = R @ (K.inverse() @ rays * depth.double().flatten()) + T[:, None]
    u = K @ X
    u = u[:2] / u[2].clamp(min=1e-3)
    return (u - rays[:2]).view(1, 2, height, width).float()


def film(
    photo: Tensor, depth: Tensor, R: Tensor, T: Tensor, *, fov: float, border: str = "generate"
) -> tuple[Tensor, Tensor]:
    """Photo 1 c H W, depth 1 1 H W (distances), R t 3 3, T t 3 -> frames t c H W and mask t 1 H W.

    Flow is splatted forward, nearer pixels before farther ones, and the photo read back along it.
    What nothing reaches is filled smoothly from around and is out of the mask;
    `overscan` and `replicate` do as `camera.film` with what lies beyond the photo's border,
    but what was hidden stays out of the mask.
    """
    height, width = photo.shape[-2:]
    K = intrinsics(width, height, fov)
    flows = [forward(depth, r, s, K) for r, s in zip(R, T)]
    crop = window(flows) if border == "overscan" else (1.0, 0.0, 0.0)
    frames, masks = zip(*(_look(photo, depth, crop_flow(v, crop), border) for v in flows))
    return torch.cat(frames), torch.cat(masks)


def window(flows: list[Tensor]) -> tuple[float, float, float]:
    """Scale and left upper corner of the largest crop of the frames that the photo's border never enters."""
    height, width = flows[0].shape[-2:]
    left = max(float(v[0, 0, :, 0].amax()) for v in flows)
    right = min(float(v[0, 0, :, -1].amin()) for v in flows) + width - 1
    top = max(float(v[0, 1, 0].amax()) for v in flows)
    bottom = min(float(v[0, 1, -1].amin()) for v in flows) + height - 1
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width - 1), min(bottom, height - 1)
    s = max(min((right - left) / (width - 1), (bottom - top) / (height - 1)), 0.1)
    return s, (left + right - s * (width - 1)) / 2, (top + bottom - s * (height - 1)) / 2


def crop_flow(v: Tensor, crop: tuple[float, float, float]) -> Tensor:
    """The forward flow 1 2 H W into a crop of the frame that is enlarged to the whole."""
    s, left, top = crop
    if (s, left, top) == (1.0, 0.0, 0.0):
        return v
    height, width = v.shape[-2:]
    x, y = torch.arange(width), torch.arange(height)[:, None]
    return torch.stack([(x + v[:, 0] - left) / s - x, (y + v[:, 1] - top) / s - y], 1)


def _look(photo: Tensor, depth: Tensor, v: Tensor, border: str) -> tuple[Tensor, Tensor]:
    """One frame by its forward flow 1 2 H W: 1 c H W and its mask 1 1 H W; no flow is the photo itself."""
    if float(v.abs().amax()) < 1e-4:  # pixels
        return photo, torch.ones_like(depth)
    near = 1 / depth
    weight = ((near / near.amax() - 1) * NEARER_WINS).exp()
    landed = splat(v, v, weight)
    seen = splat(v, v, torch.ones_like(weight))[:, -1:] > SEEN
    back = landed[:, :2] / landed[:, 2:].clamp(min=1e-30)
    holes = fill(splat(photo, v, (1 - near / near.amax()) + 0.01))  # by what lies farther
    frame = torch.where(seen, warp(photo, -back), holes)
    mask = dilate(erode(seen.to(photo), 2), 2)  # an opening, 5 x 5
    mask = erode(mask, ERODED)
    return frame, torch.ones_like(mask) if border == "replicate" else mask
