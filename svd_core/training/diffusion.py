"""The paper's three stages as one loss: EDM noise levels, v-prediction, an image's token and latent as conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor, nn

from ..conditioning.conditioning import embed
from ..models.hooks import Hooks
from ..models.image_encoder import CLIPVision, preprocess
from ..models.unet import VideoUNet
from ..models.vae import SCALE
from ..sampling.denoiser import scalings
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
    shapes: tuple[
        tuple[int, int], ...
    ]  # steps go round these: pixels of the random crop, clips in one part of the batch
    P_mean: float
    P_std: float
    first_frame: bool  # the latent of the first frame is a condition
    drop_token: float = 0.15
    drop_latent: float = 0.15
    still: float = 0.0  # share of clips that repeat their first frame, at motion bucket 0
    pans: float = 0.0  # share of the others that are plain camera pans over a single frame
    one_way: bool = False  # all pans go to the right: speed and frame number then say what each frame shows


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
        raise ValueError(
            f"{width} channels in {groups} groups leave no room to copy {z} channels; use groups of 4 or more"
        )
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


def draw_clip(
    rng: np.random.Generator, clips: ClipSet, stage: Stage, size: int
) -> tuple[Tensor, Tensor, float]:
    """One clip of the stage: its frames t 3 size size, the picture for the token 3 H W, the mean speed in widths a frame."""
    if rng.random() < stage.pans:
        still = clips.clip(int(rng.integers(clips.count)))[rng.integers(clips.frames)]
        fastest = FULL_SPEED / 7 * clips.size
        frames, speed = draw_pan(
            rng, still, frames=stage.frames, size=size, fastest=fastest, one_way=stage.one_way
        )
        return frames, to_tensor(still), speed / clips.size
    usable = clips.slower_than(FULL_SPEED / 7)
    i = usable[rng.integers(len(usable))]
    start = int(rng.integers(clips.frames - stage.frames + 1))
    y, x = (8 * int(rng.integers((clips.size - size) // 8 + 1)) for _ in range(2))
    turn, mirror = rng.choice((-1, 1), 2)
    clip = clips.clip(i)[start : start + stage.frames][::turn, :, ::mirror]
    speed = clips.speed(i)[start : start + stage.frames - 1]
    mean = float(speed.mean()) if len(speed) else 0.0
    return to_tensor(clip[:, y : y + size, x : x + size]), to_tensor(clip[0]), mean


def draw_pan(
    rng: np.random.Generator,
    still: np.ndarray,
    *,
    frames: int,
    size: int,
    fastest: float,
    one_way: bool = False,
) -> tuple[Tensor, float]:
    """A window that glides over a still, H W 3 uint8, mostly sideways: frames t 3 size size, pixels a frame."""
    speed, angle = fastest * rng.random(), 0.0 if one_way else rng.normal(0, 0.15) + np.pi * rng.integers(2)
    path = speed * np.arange(frames)[:, None] * np.array([np.sin(angle), np.cos(angle)])
    path -= path.min(0)
    scale = min(1.0, (len(still) - size - 1) / max(path.max(), 1e-6)) if len(still) > size + 1 else 0.0
    path = path * scale
    path += rng.random(2) * (len(still) - size - 1 - path.max(0)).clip(min=0)
    pixels = to_tensor(still[:, :: rng.choice((-1, 1))])
    windows = []
    for y, x in path:
        i, j = int(y), int(x)
        patch = pixels[:, i : i + size + 1, j : j + size + 1]
        rows = torch.lerp(patch[:, :size], patch[:, -size:], y - i)
        windows.append(torch.lerp(rows[..., :size], rows[..., -size:], x - j))
    return torch.stack(windows), speed * scale


def draw_batch(
    rng: np.random.Generator, clips: ClipSet, stage: Stage, encode: Encode, *, step: int = 0
) -> Batch:
    """Clips of any bucket with their motion and a frame rate, each with its condition's noise."""
    size, count = stage.shapes[step % len(stage.shapes)]
    frames, pictures, values = [], [], []
    for _ in range(count):
        clip, picture, speed = draw_clip(rng, clips, stage, size)
        fps, ln_sigma = draw_fps(rng), rng.normal(-3.0, 0.5)
        if rng.random() < stage.still:
            clip, speed = clip[:1].expand_as(clip), 0.0
        fps = fps if speed * fps <= FULL_SPEED else 7.0  # a bucket above 255 would not say how fast
        frames.append(clip)
        pictures.append(picture)
        values.append([fps - 1, motion_bucket(speed, fps=fps), float(np.exp(ln_sigma))])
    values = torch.tensor(values)
    x = torch.stack(frames)
    noise = torch.from_numpy(rng.standard_normal(x[:, 0].shape, np.float32))
    with torch.no_grad():
        z = encode(x.flatten(0, 1)).float() * SCALE
        concat = encode(x[:, 0] + values[:, 2].view(-1, 1, 1, 1) * noise).float()
    return Batch(z=z, picture=torch.stack(pictures), concat=concat, vector=embed(values))


def draw_noise_levels(rng: np.random.Generator, stage: Stage, count: int) -> Tensor:
    """ln sigma of each clip, normal, at evenly spaced quantiles with a common random shift: less variance in a step."""
    quantiles = (rng.random() + np.arange(count) / count) % 1
    normal = NormalDist(stage.P_mean, stage.P_std)
    return torch.tensor([normal.inv_cdf(min(max(q, 1e-6), 1 - 1e-6)) for q in quantiles])


class DiffusionLoss:
    """E |F - (target)|²: the weight (1 + sigma²)/sigma² on D makes the error uniform in F (EDM, sigma_data 1)."""

    def __init__(self, clips: ClipSet, stage: Stage, encode: Encode):
        self.clips, self.stage, self.encode = clips, stage, encode

    def __call__(
        self, model: Diffusion, rng: np.random.Generator, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        batch, t = draw_batch(rng, self.clips, self.stage, self.encode, step=step), self.stage.frames
        count = len(batch.concat)
        ln_sigma = draw_noise_levels(rng, self.stage, count)
        keep_token, keep_latent = (
            torch.from_numpy(rng.random(count) >= p).float()
            for p in (self.stage.drop_token, self.stage.drop_latent if self.stage.first_frame else 1.0)
        )
        noise = torch.from_numpy(rng.standard_normal(batch.z.shape, np.float32))
        sigma = ln_sigma.exp().repeat_interleave(t).view(-1, 1, 1, 1)
        c_skip, c_out, c_in, c_noise = scalings(sigma)
        x = batch.z + sigma * noise
        token = model.clip(preprocess(batch.picture, model.clip.config.image_size)) * keep_token[:, None]
        concat = (batch.concat * keep_latent.view(-1, 1, 1, 1)).repeat_interleave(t, dim=0)
        F_x = model.unet(
            torch.cat([c_in * x, concat], dim=1),
            c_noise.flatten(),
            token.repeat_interleave(t, dim=0)[:, None],
            batch.vector.repeat_interleave(t, dim=0),
            t=t,
            image_only=t == 1,
            hooks=FloatAttention(),
        )
        target = (batch.z - c_skip * x) / c_out
        loss = (F_x.float() - target).square().mean()
        return loss, {}
