"""Clips of a checkpoint from pictures that were never trained on, to be measured by `measures`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .. import pipeline
from ..checkpoint.load import SVD
from ..conditioning.conditioning import Conditioning
from ..models.vae import SCALE
from ..sampling import guidance, noise_levels, samplers
from ..sampling.denoiser import denoiser
from . import library, photographs
from .diffusion import Stage, draw_batch
from .footage import Footage
from .library import to_tensor
from .measures import psnr

BUCKETS = (1, 64, 127, 191, 255)


@dataclass(frozen=True)
class Choice:
    """How one clip is sampled."""

    seed: int = 0
    motion_bucket_id: int = 127
    sigmas: Tensor | None = None  # 25 Karras levels
    sampler: str = "euler"
    cfg: tuple[float, float] = (1.0, 1.0)
    frames: int = 14


def photograph(name: str, *, size: int) -> Tensor:
    """A judging photograph's centre square: 1 3 H W in [-1, 1]."""
    return to_tensor(photographs.square(name, size=size))[None]


def held_out(*, size: int, count: int) -> Tensor:
    """Stills of the library that were never trained on, spread over their names: n 3 H W in [-1, 1]."""
    _, pictures = library.stills(size=size, judging=True)
    return to_tensor(pictures[np.linspace(0, len(pictures) - 1, count).astype(int)])


@torch.no_grad()
def reconstruction(svd: SVD, x: Tensor) -> float:
    """PSNR of encoding and decoding one picture, 1 3 H W."""
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


def decode_by_frame(svd: SVD, z: Tensor) -> Tensor:
    """The same decoder, each frame as a clip of its own."""
    return torch.cat([svd.vae.decode(frame[None], t=1) for frame in z])


@torch.no_grad()
def still_share(svd: SVD, footage: Footage, stage: Stage, *, sigma: float, films: int) -> Tensor:
    """Error of D at a noise level over that of the first frame repeated, of each frame after it: t-1.

    Films of `stage` over footage that was not trained on.
    """
    errors, copies = torch.zeros(stage.frames), torch.zeros(stage.frames)
    for seed in range(films):
        rng = np.random.default_rng(seed)
        batch = draw_batch(rng, footage, stage, svd.vae.encode, step=seed)
        cond = Conditioning(batch.token[:, None], batch.concat, batch.vector)
        noise = torch.from_numpy(rng.standard_normal(batch.z.shape, np.float32))
        denoise = denoiser(svd.unet, cond, t=stage.frames)
        z, found = (
            v.unflatten(0, (-1, stage.frames))
            for v in (batch.z, denoise(batch.z + sigma * noise, torch.tensor(sigma)))
        )
        errors += (found - z).square().mean((0, 2, 3, 4))
        copies += (z[:, :1] - z).square().mean((0, 2, 3, 4))
    return errors[1:] / copies[1:]
