"""The loss of the U-Net: EDM noise levels, v-prediction, films of a moving camera over stills as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from ..conditioning.conditioning import embed
from ..models.hooks import Hooks
from ..models.unet import VideoUNet
from ..sampling.denoiser import scalings
from .camera import CELL, MOVEMENTS, bucket_speed, film, motion_bucket, place, views
from .footage import Footage

Encode = Callable[[Tensor], Tensor]  # n 3 H W in [-1, 1] -> n z h w, unscaled means


class FloatAttention(Hooks):
    """Attention in float32 on a CPU, whose bfloat16 backward kernel is several times slower."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.device.type != "cpu":
            return super().attention(q, k, v)
        with torch.autocast("cpu", enabled=False):
            return super().attention(q.float(), k.float(), v.float()).to(q.dtype)


@dataclass(frozen=True)
class Stage:
    """What distinguishes the stages: sizes, noise levels, and what the camera does."""

    shapes: tuple[
        tuple[int, int], ...
    ]  # steps go round these: latent positions along a window, films in a batch
    P_mean: float
    P_std: float
    movements: tuple[str, ...] = ("right",)  # names of `camera.MOVEMENTS`, drawn alike
    still: float = 0.05  # share of films whose camera stands, at motion bucket 0
    drop_token: float = 0.5
    frames: int = 14


@dataclass
class Batch:
    z: Tensor  # (b t) 4 h w, scaled by 0.18215
    token: Tensor  # b c
    concat: Tensor  # b 4 h w, unscaled
    vector: Tensor  # b a


def draw_fps(rng: np.random.Generator) -> float:
    """Three of four films at 7 frames a second, the rest at 5 to 30."""
    return 7.0 if rng.random() < 0.75 else float(rng.integers(5, 31))


def draw_batch(
    rng: np.random.Generator, footage: Footage, stage: Stage, encode: Encode, *, step: int = 0
) -> Batch:
    """Films of all buckets; the condition is the first window itself, encoded with its noise."""
    size, count = stage.shapes[step % len(stage.shapes)]
    films, first, values, chosen = [], [], [], rng.integers(len(footage), size=count)
    for i in chosen:
        movement = MOVEMENTS[str(rng.choice(stage.movements))]
        fps, bucket, augmentation = draw_fps(rng), 255 * rng.random(), float(np.exp(rng.normal(-3.5, 0.6)))
        if rng.random() < stage.still:
            movement, bucket = MOVEMENTS["static"], 0.0
        speed = bucket_speed(bucket, fps=fps)
        seen = views(movement, speed=speed, frames=stage.frames, size=size)
        corner = place(rng, seen, size=size, within=tuple(footage.z.shape[-2:]))
        films.append(film(footage.z[i], seen, corner, size=size))
        pixels = footage.crop(i, corner, CELL * size)
        noise = torch.from_numpy(rng.standard_normal(pixels.shape, np.float32))
        first.append(pixels + augmentation * noise)
        values.append([fps - 1, motion_bucket(speed, fps=fps), augmentation])
    with torch.no_grad():
        concat = encode(torch.stack(first)).float()
    return Batch(torch.cat(films), footage.tokens[chosen], concat, embed(torch.tensor(values)))


def draw_noise_levels(rng: np.random.Generator, stage: Stage, count: int) -> Tensor:
    """ln sigma of each film, normal, at even quantiles with one random shift: less variance in a step."""
    quantiles = (rng.random() + np.arange(count) / count) % 1
    normal = NormalDist(stage.P_mean, stage.P_std)
    return torch.tensor([normal.inv_cdf(min(max(q, 1e-6), 1 - 1e-6)) for q in quantiles])


class DiffusionLoss:
    """E |F - target|²: the weight (1 + sigma²)/sigma² on D makes the error uniform in F (EDM, sigma_data 1).

    Serves whatever may be trained of a U-Net, all of it or an adapter:
    pass a network that is called like `VideoUNet`.
    """

    def __init__(self, footage: Footage, stage: Stage, encode: Encode):
        self.footage, self.stage, self.encode = footage, stage, encode

    def __call__(
        self, unet: VideoUNet, rng: np.random.Generator, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        batch, t = draw_batch(rng, self.footage, self.stage, self.encode, step=step), self.stage.frames
        count = len(batch.concat)
        ln_sigma = draw_noise_levels(rng, self.stage, count)
        keep_token = torch.from_numpy(rng.random(count) >= self.stage.drop_token).float()
        noise = torch.from_numpy(rng.standard_normal(batch.z.shape, np.float32))
        sigma = ln_sigma.exp().repeat_interleave(t).view(-1, 1, 1, 1)
        c_skip, c_out, c_in, c_noise = scalings(sigma)
        x = batch.z + sigma * noise
        token = batch.token * keep_token[:, None]
        F_x = unet(
            torch.cat([c_in * x, batch.concat.repeat_interleave(t, dim=0)], dim=1),
            c_noise.flatten(),
            token.repeat_interleave(t, dim=0)[:, None],
            batch.vector.repeat_interleave(t, dim=0),
            t=t,
            hooks=FloatAttention(),
        )
        target = (batch.z - c_skip * x) / c_out
        loss = (F_x.float() - target).square().mean()
        return loss, {}
