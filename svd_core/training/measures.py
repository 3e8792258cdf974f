"""What a clip's frames show: movement, wholeness, detail and colour; needs OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..quality import photo
from .autoencoder import CHROMA, gradient_error


def psnr(a: Tensor, b: Tensor) -> float:
    """Of pictures in [-1, 1], clamped as a viewer sees them."""
    return photo.psnr(*((x.clamp(-1, 1) + 1) / 2 for x in (a, b)))


def grey(frames: Tensor) -> np.ndarray:
    """t 3 H W in [-1, 1] -> t H W uint8"""
    return ((frames.clamp(-1, 1).mean(1) + 1) * 127.5).byte().numpy()


def optical_flow(frames: Tensor) -> np.ndarray:
    """DIS flow of each step in pixels: t 3 H W in [-1, 1] -> t-1 H W 2"""
    light = grey(frames)
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # its type denies the None
    return np.stack([dis.calc(a, b, None) for a, b in zip(light, light[1:])])


def speed(frames: Tensor) -> float:
    """Mean length of the flow in pixels a frame."""
    return float(np.linalg.norm(optical_flow(frames), axis=-1).mean())


def flicker(frames: Tensor, flow: np.ndarray) -> float:
    """Mean absolute difference of each frame and the next one, warped back along the given flow t-1 H W 2."""
    H, W = frames.shape[-2:]
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    where = torch.stack([x, y], -1) + torch.from_numpy(flow)
    grid = (where * 2 + 1) / torch.tensor([W, H]) - 1
    warped = F.grid_sample(frames[1:], grid, padding_mode="border", align_corners=False)
    inside = (grid.abs() <= 1).all(-1)[:, None]
    return float(((warped - frames[:-1]).abs() * inside).sum() / (3 * inside.sum()))


def explained(frames: Tensor, flow: np.ndarray) -> float:
    """Share of the change from frame to frame that goes when the next one is warped back along the flow."""
    return 1 - flicker(frames, flow) / flicker(frames, np.zeros_like(flow))


def camera_share(flow: np.ndarray) -> float:
    """Share of the flow's energy that one affine movement a step explains: pan or zoom 1, break-up near 0.

    flow t-1 H W 2; each step's movement is a least-squares fit over all pixels.
    """
    H, W = flow.shape[1:3]
    y, x = np.mgrid[-1 : 1 : H * 1j, -1 : 1 : W * 1j]
    known = np.stack([np.ones_like(x), x, y], -1).reshape(-1, 3)
    wanted = flow.astype(np.float64).reshape(len(flow), -1, 2)
    fitted = known @ (np.linalg.pinv(known) @ wanted)
    return float((fitted**2).sum() / (wanted**2).sum())


def best_affine(frames: Tensor) -> np.ndarray | None:
    """The affine movement that best lays the last frame onto the first (ECC): 2 3, in pixels, or None."""
    first, last = grey(frames[:1])[0], grey(frames[-1:])[0]
    best, found, everywhere = -1.0, None, np.ones_like(last)
    for start in range(0, first.shape[1] // 5, 4):  # the fit finds only what it starts near to
        guess = np.array([[1, 0, -start], [0, 1, 0]], np.float32)
        stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
        try:
            agreement, warp = cv2.findTransformECC(first, last, guess, cv2.MOTION_AFFINE, stop, everywhere, 5)
        except cv2.error:  # it did not converge
            continue
        if agreement > best:
            best, found = agreement, warp
    return found


def wholeness(frames: Tensor) -> float:
    """PSNR of the last frame laid onto the first by the best affine movement, where they overlap.

    Sees crumbling: grain and patches that go their own ways follow no single movement. 0 where nothing fits.
    """
    found = best_affine(frames)
    if found is None:
        return 0.0
    H, W = frames.shape[-2:]
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    picture = frames[-1].clamp(-1, 1).movedim(0, -1).contiguous().numpy()
    moved = torch.from_numpy(cv2.warpAffine(picture, found, (W, H), flags=how)).movedim(-1, 0)
    inside = torch.from_numpy(cv2.warpAffine(np.ones((H, W), np.float32), found, (W, H), flags=how)) > 0.999
    return psnr(moved[:, inside], frames[0].clamp(-1, 1)[:, inside])


def travel(frames: Tensor) -> float:
    """Pixels a frame by which that movement carries the picture's centre: unlike flow,
    also right where all is flat.
    """
    found = best_affine(frames)
    if found is None:
        return 0.0
    H, W = frames.shape[-2:]
    centre = np.array([(W - 1) / 2, (H - 1) / 2])
    return float(np.linalg.norm(found @ [*centre, 1] - centre) / (len(frames) - 1))


def detail(frames: Tensor) -> float:
    """Contrast of neighbouring pixels in the last frame over the first's: below 1 blur, above 1 grain."""
    nothing = torch.zeros_like(frames[-1])
    return float(gradient_error(frames[-1], nothing) / gradient_error(frames[0], nothing))


def chroma(frame: Tensor, reference: Tensor) -> Tensor:
    """Share of a picture's colour that another one has, orange to blue and green to purple: 2; both 3 H W."""
    found, wanted = (torch.einsum("chw,kc->khw", F.avg_pool2d(x, 8), CHROMA) for x in (frame, reference))
    return found.square().mean((1, 2)).sqrt() / wanted.square().mean((1, 2)).sqrt()


def chroma_slope(frames: Tensor, reference: Tensor) -> Tensor:
    """Least squares of reconstructed on true colour, n 3 H W each: 2. Noise does not count as colour kept."""
    found, wanted = (torch.einsum("nchw,kc->nkhw", F.avg_pool2d(x, 8), CHROMA) for x in (frames, reference))
    return (found * wanted).sum((0, 2, 3)) / wanted.square().sum((0, 2, 3))


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation of two short sequences; 0 where one is constant."""
    x, y = (np.argsort(np.argsort(v)).astype(float) for v in (a, b))
    return float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 and y.std() > 0 else 0.0
