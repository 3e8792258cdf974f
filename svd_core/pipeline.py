"""From a photo to frames without a host: load, open_photo, encode, sample, decode, save.

Whatever is not said is taken from the checkpoint's preset.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, BinaryIO

import torch
from PIL import Image, ImageOps
from torch import Tensor

from .checkpoint.load import SVD
from .checkpoint.load import load as load_networks
from .checkpoint.presets import Preset
from .checkpoint.read import read
from .conditioning.conditioning import Conditioning, micro_conditions
from .conditioning.encode import encode as encode_photo
from .control import motion
from .control.motion import Start
from .decode.exact import decode as decode_latents
from .models.vae import SCALE
from .sampling import guidance
from .sampling.guidance import PLAIN, Guidance, Shape
from .sampling.noise_levels import SCHEDULES
from .sampling.reuse import Pace, Reuse
from .sampling.samplers import SAMPLERS, initial
from .signatures import OnStep

Path = str | os.PathLike[str]


def load(path: Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu", **preset: Any) -> SVD:
    """The networks of a checkpoint; keywords replace values of its `Preset`, such as steps=10."""
    svd = load_networks(read(path), dtype=dtype, device=device)
    return replace(svd, preset=replace(svd.preset, **preset))


def open_photo(path: Path | BinaryIO, preset: Preset) -> Tensor:
    """A picture file, upright, its centre cropped to the preset's size: 1 3 H W in [-1, 1]."""
    with Image.open(path) as file:
        picture = ImageOps.exif_transpose(file).convert("RGB")
    W, H = preset.width, preset.height
    w, h = min(picture.width, picture.height * W / H), min(picture.height, picture.width * H / W)
    left, top = (picture.width - w) / 2, (picture.height - h) / 2
    cropped = picture.resize((W, H), Image.Resampling.BICUBIC, box=(left, top, left + w, top + h))
    x = torch.frombuffer(bytearray(cropped.tobytes()), dtype=torch.uint8).view(1, H, W, 3)
    return x.movedim(-1, 1).float() / 127.5 - 1


@torch.no_grad()
def encode(svd: SVD, image: Tensor, *, seed: int = 0) -> Conditioning:
    """b 3 H W in [-1, 1] -> what the U-Net is conditioned on; the seed decides the noise on the photo."""
    weight = next(svd.unet.parameters())
    context, concat = encode_photo(
        lambda x: svd.clip(x.to(weight)),
        lambda x: svd.vae.encode(x.to(weight)),
        image,
        image_size=svd.clip.config.image_size,
        augmentation_level=svd.preset.augmentation_level,
        generator=torch.Generator().manual_seed(seed),
    )
    numbers = {name: getattr(svd.preset, name) for name in ("fps", "motion_bucket_id", "augmentation_level")}
    return Conditioning(context, concat, micro_conditions(len(image), **numbers).to(context.device))


@torch.no_grad()
def sample(
    svd: SVD,
    condition: Conditioning,
    *,
    seed: int = 0,
    shape: Shape = PLAIN,
    start: tuple[float, Start] | None = None,
    pace: Pace | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Denoise a video for each of b photos: (b t) 4 h w, not scaled. `on_step(i, n)` follows every step.

    `start` is a noise level below the trained 700 and what the first latent is drawn around. With a `pace`
    parts of the network's passes are used again (`sampling.reuse`).
    """
    preset, t = svd.preset, svd.preset.frames
    level = {} if start is None else {"sigma_max": start[0]}
    sigmas = SCHEDULES[preset.schedule](preset.steps, **level)
    scale = guidance.CURVES[preset.curve](preset.min_cfg, preset.max_cfg, t)
    reuse = None if pace is None else Reuse(pace, sigmas)
    denoise = guidance.guided(svd.unet, condition, Guidance(scale, shape, sigmas), reuse=reuse)
    generator = torch.Generator().manual_seed(seed)
    b = len(condition.context)
    noise = torch.randn((b * t, *condition.concat.shape[1:]), generator=generator).to(condition.concat.device)
    if start is None:
        x = initial(noise, sigmas[0])
    else:
        around = Start(start[1].mean.repeat(b, 1, 1, 1), start[1].variance)
        x = motion.first(noise, float(sigmas[0]), around)
    run = SAMPLERS[preset.sampler]
    return run(denoise, x, sigmas, generator=generator, on_step=on_step) / SCALE


def decode(svd: SVD, z: Tensor, *, memory: int | None = None, on_step: OnStep | None = None) -> Tensor:
    """(b t) 4 h w latents -> frames (b t) 3 H W in [-1, 1], within `memory` bytes of activations."""
    z = z.to(next(svd.vae.parameters()))
    return (
        decode_latents(svd.vae, z, t=svd.preset.frames, memory=memory, on_step=on_step).float().clamp(-1, 1)
    )


def save(frames: Tensor, path: Path, *, fps: float) -> None:
    """One video, t 3 H W in [-1, 1], as an animated picture; the ending decides: .webp, .gif or .png."""
    rows = frames.add(1).mul(127.5).round().byte().movedim(1, -1).contiguous().cpu()
    pictures = [Image.fromarray(row.numpy()) for row in rows]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=1000 / fps, loop=0)
