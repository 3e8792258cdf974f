"""The paper's three stages as one loss: EDM noise levels, v-prediction, an image's token and latent as conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..clip import CLIPVision, preprocess
from ..conditioning import embed
from ..hooks import Hooks
from ..precond import scalings
from ..unet import VideoUNet
from ..vae import SCALE
from .clips import ClipSet, to_tensor
from .scenes import FULL_SPEED, motion_bucket

Encode = Callable[[Tensor], Tensor]  # n 3 H W in [-1, 1] -> n z h w, unscaled means


class FloatAttention(Hooks):
    """Attention in float32 on a CPU, whose bfloat16 backward kernel is several times slower."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.device.type != "cpu":
            return super().attention(q, k, v)
        with torch.autocast("cpu", enabled=False):
            return super().attention(q.float(), k.float(), v.float()).to(q.dtype)


class Diffusion(nn.Module):
    """The networks that the three stages train together."""

    def __init__(self, unet: VideoUNet, clip: CLIPVision):
        super().__init__()
        self.unet, self.clip = unet, clip


@dataclass(frozen=True)
class Stage:
    """What distinguishes the stages: data shape, noise levels, and which conditions are there."""

    frames: int  # 1: spatial layers only
    size: int  # pixels of the random crop
    batch: int  # clips in one part of the batch
    P_mean: float
    P_std: float
    first_frame: bool  # the latent of the first frame is a condition
    drop_token: float = 0.15
    drop_latent: float = 0.15
    still: float = 0.0  # share of clips that repeat their first frame, at motion bucket 0


@dataclass
class Batch:
    z: Tensor  # (b t) 4 h w, scaled by 0.18215
    picture: Tensor  # b 3 H W in [-1, 1], for the token
    concat: Tensor  # b 4 h w, unscaled
    vector: Tensor  # b a


def initialise(unet: VideoUNet) -> None:
    """Residual branches and the output start at zero; temporal branches therefore change nothing at first."""
    zero = ("out_layers.3", "proj_out", "to_out.0", "ff.net.2", "ff_in.net.2", "out.2")
    for name, module in unet.named_modules():
        if name.endswith(zero):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)


COPY_ANCHOR = 3.0  # constant channels beside a copied one, which keep its group norm from hiding the contrast


@torch.no_grad()
def initialise_copy(unet: VideoUNet) -> None:
    """Let a fresh network start as F = -condition, the answer for a still at high noise.

    Each condition channel c travels as (c, -c, K, -K), one norm group, through the outermost skip, and leaves as
    silu(c) - silu(-c) = c. Everything else keeps its initial weights.
    """
    z, groups, width = unet.config.out_channels, unet.config.norm_groups, unet.config.model_channels
    size = width // groups
    if size < 4 or groups < 2 * z:
        raise ValueError(f"{width} channels in {groups} groups leave no room to copy {z} channels; use groups of 4 or more")
    first, last, out = unet.input_blocks[0][0], unet.output_blocks[-1][0].skip_connection, unet.out[2]
    own = last.in_channels - width  # where the outermost skip begins
    scale = (0.5 * (1 + COPY_ANCHOR**2)) ** 0.5
    for i in range(z):
        for k, (sign, constant) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
            channel = i * size + k
            first.weight[channel] = 0
            first.weight[channel, z + i, 1, 1] = sign * SCALE
            first.bias[channel] = constant * COPY_ANCHOR
            last.weight[channel] = 0
            last.weight[channel, own + channel] = 1
            last.bias[channel] = 0
            out.weight[i, channel, 1, 1] = -sign * scale


def draw_fps(rng: np.random.Generator) -> float:
    """Half of the clips at 7 frames a second, the rest at 5 to 30."""
    return 7.0 if rng.random() < 0.5 else float(rng.integers(5, 31))


def draw_batch(rng: np.random.Generator, clips: ClipSet, stage: Stage, encode: Encode) -> Batch:
    """Random windows of clips of any bucket, cropped, mirrored and reversed, with their motion and a frame rate."""
    usable = clips.slower_than(FULL_SPEED / 7)
    frames, pictures, values = [], [], []
    for _ in range(stage.batch):
        i = usable[rng.integers(len(usable))]
        start = int(rng.integers(clips.frames - stage.frames + 1))
        y, x = (8 * int(rng.integers((clips.size - stage.size) // 8 + 1)) for _ in range(2))
        turn, mirror = rng.choice((-1, 1), 2)
        clip = clips.clip(i)[start : start + stage.frames][::turn, :, ::mirror]
        speed = clips.speed(i)[start : start + stage.frames - 1]
        fps, ln_sigma = draw_fps(rng), rng.normal(-3.0, 0.5)
        if rng.random() < stage.still:
            clip, speed = clip[:1].repeat(stage.frames, axis=0), speed * 0
        mean = float(speed.mean()) if len(speed) else 0.0
        fps = fps if mean * fps <= FULL_SPEED else 7.0  # a bucket above 255 would not say how fast
        bucket = motion_bucket(mean, fps=fps)
        frames.append(to_tensor(clip[:, y : y + stage.size, x : x + stage.size]))
        pictures.append(to_tensor(clip[0]))
        values.append([fps - 1, bucket, float(np.exp(ln_sigma))])
    values = torch.tensor(values)
    x = torch.stack(frames)
    noise = torch.from_numpy(rng.standard_normal(x[:, 0].shape, np.float32))
    with torch.no_grad():
        z = encode(x.flatten(0, 1)).float() * SCALE
        concat = encode(x[:, 0] + values[:, 2].view(-1, 1, 1, 1) * noise).float()
    return Batch(z=z, picture=torch.stack(pictures), concat=concat, vector=embed(values))


class DiffusionLoss:
    """E |F - (target)|²: the weight (1 + sigma²)/sigma² on D makes the error uniform in F (EDM, sigma_data 1)."""

    def __init__(self, clips: ClipSet, stage: Stage, encode: Encode):
        self.clips, self.stage, self.encode = clips, stage, encode

    def __call__(self, model: Diffusion, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        batch, t = draw_batch(rng, self.clips, self.stage, self.encode), self.stage.frames
        ln_sigma = torch.from_numpy(rng.normal(self.stage.P_mean, self.stage.P_std, self.stage.batch)).float()
        keep_token, keep_latent = (
            torch.from_numpy(rng.random(self.stage.batch) >= p).float()
            for p in (self.stage.drop_token, self.stage.drop_latent if self.stage.first_frame else 1.0)
        )
        noise = torch.from_numpy(rng.standard_normal(batch.z.shape, np.float32))
        sigma = ln_sigma.exp().repeat_interleave(t).view(-1, 1, 1, 1)
        c_skip, c_out, c_in, c_noise = scalings(sigma)
        x = batch.z + sigma * noise
        token = model.clip(preprocess(batch.picture, model.clip.config.image_size)) * keep_token[:, None]
        concat = (batch.concat * keep_latent.view(-1, 1, 1, 1)).repeat_interleave(t, dim=0)
        F_x = model.unet(
            torch.cat([c_in * x, concat], dim=1), c_noise.flatten(), token.repeat_interleave(t, dim=0)[:, None],
            batch.vector.repeat_interleave(t, dim=0), t=t, image_only=t == 1, hooks=FloatAttention(),
        )  # fmt: skip
        target = (batch.z - c_skip * x) / c_out
        loss = (F_x.float() - target).square().mean()
        return loss, {}
