"""Measurements of a checkpoint on photographs that were never trained on; needs OpenCV for optical flow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import pipeline
from ..checkpoint.load import SVD
from ..models.vae import SCALE
from ..sampling import guidance, noise_levels, samplers
from ..sampling.denoiser import denoiser
from . import photographs
from .clips import to_tensor

BUCKETS = (1, 64, 127, 191, 255)


@dataclass(frozen=True)
class Choice:
    """How one clip is sampled."""

    seed: int = 0
    motion_bucket_id: float = 127
    sigmas: Tensor | None = None  # 25 Karras levels
    sampler: str = "euler"
    cfg: tuple[float, float] = (1.0, 1.0)
    frames: int = 14


def photograph(name: str, *, size: int) -> Tensor:
    """A judging photograph's centre square: 1 3 H W in [-1, 1]."""
    return to_tensor(photographs.square(name, size=size))[None]


def psnr(a: Tensor, b: Tensor) -> float:
    """Of pictures in [-1, 1], clamped as a viewer sees them."""
    return float(-10 * torch.log10((a.clamp(-1, 1) - b.clamp(-1, 1)).square().mean() / 4))


@torch.no_grad()
def reconstruction(svd: SVD, name: str, *, size: int) -> float:
    """PSNR of encoding and decoding one photograph."""
    x = photograph(name, size=size)
    return psnr(svd.vae.decode(svd.vae.encode(x), t=1), x)


@torch.no_grad()
def sample(svd: SVD, image: Tensor, choice: Choice, *, token_from: Tensor | None = None) -> Tensor:
    """A clip's scaled latents, t 4 h w; `token_from` swaps the picture that the CLIP token is made of."""
    asked = replace(svd.preset, motion_bucket_id=choice.motion_bucket_id, augmentation_level=0.02)
    asked_svd = replace(svd, preset=asked)
    cond = pipeline.encode(asked_svd, image, seed=choice.seed)
    if token_from is not None:
        cond = replace(cond, context=pipeline.encode(asked_svd, token_from, seed=choice.seed).context)
    sigmas = noise_levels.karras(25) if choice.sigmas is None else choice.sigmas
    if choice.cfg == (1.0, 1.0):  # guidance 1 is the conditional pass alone
        denoise = denoiser(svd.unet, cond, t=choice.frames)
    else:
        denoise = guidance.guided(svd.unet, cond, guidance.linear(*choice.cfg, choice.frames))
    generator = torch.Generator().manual_seed(choice.seed + 1)
    noise = torch.randn(choice.frames, *cond.concat.shape[1:], generator=generator)
    run = samplers.SAMPLERS[choice.sampler]
    return run(denoise, samplers.initial(noise, sigmas[0]), sigmas, generator=generator)


@torch.no_grad()
def generate(svd: SVD, image: Tensor, choice: Choice) -> Tensor:
    """A clip: t 3 H W about [-1, 1]."""
    return svd.vae.decode(sample(svd, image, choice) / SCALE, t=choice.frames)


def optical_flow(frames: Tensor) -> np.ndarray:
    """DIS flow of each step in pixels: t 3 H W in [-1, 1] -> t-1 H W 2"""
    grey = ((frames.clamp(-1, 1).mean(1) + 1) * 127.5).byte().numpy()
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.stack([dis.calc(a, b, None) for a, b in zip(grey, grey[1:])])


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
    """Share of the change from frame to frame that goes away when the next frame is warped back along the flow."""
    return 1 - flicker(frames, flow) / flicker(frames, np.zeros_like(flow))


def camera_share(flow: np.ndarray) -> float:
    """Share of the flow's energy that one affine movement a step explains: 1 for a pan or zoom, near 0 for break-up.

    flow t-1 H W 2; each step's movement is a least-squares fit over all pixels.
    """
    H, W = flow.shape[1:3]
    y, x = np.mgrid[-1 : 1 : H * 1j, -1 : 1 : W * 1j]
    known = np.stack([np.ones_like(x), x, y], -1).reshape(-1, 3)
    wanted = flow.astype(np.float64).reshape(len(flow), -1, 2)
    fitted = known @ (np.linalg.pinv(known) @ wanted)
    return float((fitted**2).sum() / (wanted**2).sum())


def decode_by_frame(svd: SVD, z: Tensor) -> Tensor:
    """The same decoder, each frame as a clip of its own."""
    return torch.cat([svd.vae.decode(frame[None], t=1) for frame in z])


def spearman(a, b) -> float:
    """Rank correlation of two short sequences; 0 where one is constant."""
    ranks = [np.argsort(np.argsort(v)).astype(float) for v in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1]) if all(r.std() > 0 for r in ranks) else 0.0
