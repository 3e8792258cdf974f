"""Clips to train an adapter on, encoded once, and EDM's loss over them with SVD's conditioning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..conditioning.conditioning import embed
from ..frames.flow import QUALITIES, bidirectional
from ..models.image_encoder import preprocess
from ..models.unet import VideoUNet
from ..models.vae import SCALE
from ..sampling.denoiser import scalings
from .camera import WIDTH
from .diffusion import Batch, FloatAttention

Encode = Callable[[Tensor], Tensor]
SIGMAS = (0.1, 0.5, 2.0, 10.0, 50.0, 200.0)  # where runs are compared


@dataclass(frozen=True)
class Clip:
    z: Tensor  # t 4 h w, the posterior's means scaled by 0.18215
    token: Tensor  # e, of the first frame
    first: Tensor  # 3 H W in [-1, 1]: its noise is drawn anew in every step
    fps: float
    bucket: float


@dataclass(frozen=True)
class Draw:
    """How a step is drawn; the values are those of the released image-to-video stage."""

    P_mean: float = 1.0  # 0.7 below 400 lines
    P_std: float = 1.6
    noise_mean: float = -3.0  # ln of the condition's noise level
    noise_std: float = 0.5
    dropout: float = 0.1  # for each of: no token, neither, no latent; guidance needs it


def crop(frames: Tensor, *, height: int, width: int) -> Tensor:
    """t 3 H W -> t 3 height width: the largest middle part of that aspect, resized; never squashed."""
    H, W = frames.shape[-2:]
    high, wide = min(H, W * height // width), min(W, H * width // height)
    y, x = (H - high) // 2, (W - wide) // 2
    part = frames[..., y : y + high, x : x + wide]
    resized = torch.nn.functional.interpolate(
        part.float(), (height, width), mode="bicubic", antialias=True, align_corners=False
    )
    return resized.clamp(-1, 1)


@torch.no_grad()
def speed(frames: Tensor) -> float:
    """Mean length of the flow from frame to frame, t 3 H W in [-1, 1], in pixels of a picture 256 wide."""
    small = crop(frames, height=round(WIDTH * frames.shape[-2] / frames.shape[-1]), width=WIDTH) / 2 + 0.5
    pairs = zip(small[:-1, None], small[1:, None])
    lengths = [bidirectional(a, b, quality=QUALITIES["fast"])[0].norm(dim=0).mean() for a, b in pairs]
    return float(torch.stack(lengths).mean()) if lengths else 0.0


@torch.no_grad()
def encode(
    frames: Tensor, *, fps: float, bucket: float, image_size: int, vae_encoder: Encode, image_encoder: Encode
) -> Clip:
    """Frames t 3 H W in [-1, 1] -> what every step needs of them; frame by frame, in the memory of one."""
    z = latents(frames, vae_encoder)
    token = image_encoder(preprocess(frames[:1], image_size))[0].float()
    return Clip(z, token, frames[0], fps, bucket)


def latents(frames: Tensor, vae_encoder: Encode) -> Tensor:
    """t 3 H W in [-1, 1] -> t 4 h w, scaled; frame by frame, in the memory of one."""
    return torch.cat([vae_encoder(frame[None]).float() for frame in frames]) * SCALE


class FilmLoss:
    """One clip a step: one noise level for all of its frames, and a condition with noise on its pixels."""

    def __init__(self, clips: Sequence[Clip], draw: Draw, vae_encoder: Encode):
        if not clips:
            raise ValueError(
                "there are no clips to train on; put videos or folders of pictures into the folder"
            )
        self.clips, self.draw, self.encode = list(clips), draw, vae_encoder

    def batch(self, rng: np.random.Generator) -> Batch:
        """A clip and its condition: unscaled latent of the noisy photo, token, (fps - 1, bucket, level)."""
        clip, d = self.clips[int(rng.integers(len(self.clips)))], self.draw
        level = float(np.exp(rng.normal(d.noise_mean, d.noise_std)))
        noise = torch.from_numpy(rng.standard_normal(tuple(clip.first.shape), np.float32)).to(clip.first)
        with torch.no_grad():
            concat = self.encode((clip.first + level * noise)[None]).float()
        token, u = clip.token[None], rng.random()
        if u < 2 * d.dropout:
            token = torch.zeros_like(token)
        if d.dropout <= u < 3 * d.dropout:
            concat = torch.zeros_like(concat)
        vector = embed(torch.tensor([[clip.fps - 1, clip.bucket, level]])).to(concat)
        return Batch(clip.z, token, concat, vector)

    def __call__(
        self, unet: VideoUNet, rng: np.random.Generator, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        batch = self.batch(rng)
        sigma = float(np.exp(rng.normal(self.draw.P_mean, self.draw.P_std)))
        noise = torch.from_numpy(rng.standard_normal(tuple(batch.z.shape), np.float32)).to(batch.z)
        return error(unet, batch, sigma, noise), {}


def error(unet: VideoUNet, batch: Batch, sigma: float, noise: Tensor) -> Tensor:
    """Mean |F - target|² of a clip at one level: the weight (1 + sigma²)/sigma² on D makes it even in F."""
    t = len(batch.z)
    c_skip, c_out, c_in, c_noise = scalings(torch.tensor(sigma, device=batch.z.device))
    x = batch.z + sigma * noise
    F_x = unet(
        torch.cat([c_in * x, batch.concat.expand(t, -1, -1, -1)], dim=1),
        c_noise.expand(t),
        batch.token.expand(t, -1)[:, None],
        batch.vector.expand(t, -1),
        t=t,
        hooks=FloatAttention(),
    )
    return (F_x.float() - (batch.z - c_skip * x) / c_out).square().mean()


@torch.no_grad()
def watch(unet: VideoUNet, loss: FilmLoss, *, seed: int = 0) -> dict[str, float]:
    """The error at fixed noise levels, noise and clip: what tells two states apart,
    as the drawn level rules the loss.
    """
    found = {}
    for sigma in SIGMAS:
        rng = np.random.default_rng(seed)
        batch = FilmLoss(loss.clips, Draw(dropout=0.0), loss.encode).batch(rng)
        noise = torch.from_numpy(rng.standard_normal(tuple(batch.z.shape), np.float32)).to(batch.z)
        found[f"{sigma:g}"] = float(error(unet, batch, sigma, noise))
    return found
