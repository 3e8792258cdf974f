"""A photo to CONDITIONING, by the core's `encode` or by the numbers of the host's own SVD node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import accumulate

import comfy.clip_vision
import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ...svd_core.conditioning.encode import encode
from ...svd_core.conditioning.orbit import Orbit
from ...svd_core.signatures import Encode
from .. import convert
from .clip_vision import PureClipVision
from .progress import generator
from .vae import PureVAE

# Keeps the photo's noise apart from the latent noise of the same seed.
AUGMENTATION_DOMAIN = 0x5045_5253_5644_4155


@dataclass(frozen=True)
class Numbers:
    """The micro-conditions, under the names that the host's models read from CONDITIONING."""

    motion_bucket_id: float
    fps: float
    augmentation_level: float


@dataclass(frozen=True)
class Frame:
    """How a photo becomes the first frame."""

    width: int
    height: int
    fit: str  # crop, pad or stretch


def frame(x: Tensor, width: int, height: int, fit: str) -> Frame:
    """The frame that pictures like x n 3 H W fill; `nearest` turns it to the aspect nearest to theirs."""
    if fit == "nearest":
        width, height = convert.nearest_size(x.shape[-1], x.shape[-2], width, height)
        fit = "crop"
    convert.check_size(width, height)
    if fit == "crop":
        convert.check_crop(x.shape[-1], x.shape[-2], width, height)
    return Frame(width, height, fit)


def image_encoder(clip_vision) -> Encode:
    """A CLIP_VISION as the core's image encoder: preprocessed pixels n 3 s s -> embeddings n e."""
    if isinstance(clip_vision, PureClipVision):
        return lambda x: clip_vision.embed(x).float()
    kind = getattr(clip_vision, "model_type", type(clip_vision).__name__)
    if not isinstance(clip_vision, comfy.clip_vision.ClipVisionModel) or kind != "clip_vision_model":
        raise ValueError(
            f"this CLIP_VISION ({kind}) is not a CLIP image encoder; use the one of the video checkpoint"
        )

    def embed(x: Tensor) -> Tensor:
        comfy.model_management.load_model_gpu(clip_vision.patcher)
        pixels = x.to(clip_vision.load_device, torch.float32)
        out = clip_vision.model(pixel_values=pixels, intermediate_output=-2)
        return out[2].to(comfy.model_management.intermediate_device(), torch.float32)

    return embed


def vae_encoder(vae) -> Encode:
    """A VAE as the core's encoder of photos: b 3 H W in [-1, 1] -> unscaled posterior mean b 4 h w."""
    channels, dims = getattr(vae, "latent_channels", None), getattr(vae, "latent_dim", None)
    if channels != 4 or dims != 2 or vae.spacial_compression_encode() != 8:
        raise ValueError(
            f"this VAE makes latents of {channels} channels; Stable Video Diffusion needs 4 at an eighth of "
            "the size: use the VAE of the video checkpoint"
        )
    if isinstance(vae, PureVAE):
        return vae.encode_reference
    return lambda x: vae.encode(x.movedim(1, -1).add(1).div(2)).float()


def reference(clip_vision, vae, x: Tensor, frame: Frame, numbers: Numbers, seed: int):
    """x 1 3 H W in [-1, 1] -> positive, negative, as the model was trained."""
    context, concat = encode(
        image_encoder(clip_vision),
        vae_encoder(vae),
        convert.fit(x, frame.width, frame.height, frame.fit),
        image_size=clip_vision.image_size,
        augmentation_level=numbers.augmentation_level,
        generator=generator(seed, AUGMENTATION_DOMAIN),
    )
    return pair(context, concat, numbers)


def native(clip_vision, vae, x: Tensor, frame: Frame, numbers: Numbers, seed: int):
    """The same by the host's node: its crop and rounding for the image encoder, its resize, its VAE encoder,
    its noise range.
    """
    vae_encoder(vae)  # refuses other latents
    if frame.fit != "crop":
        x = convert.fit(x, frame.width, frame.height, frame.fit)
    image = x.add(1).div(2)
    context = clip_vision.encode_image(image.movedim(1, -1)).image_embeds.unsqueeze(0)
    pixels = comfy.utils.common_upscale(image, frame.width, frame.height, "bilinear", "center")
    if numbers.augmentation_level > 0:
        noise = torch.randn(pixels.shape, generator=generator(seed, AUGMENTATION_DOMAIN))
        pixels = pixels + numbers.augmentation_level * noise.to(pixels)
    return pair(context, vae.encode(pixels.movedim(1, -1)), numbers)


def orbit(clip_vision, vae, x: Tensor, path: Orbit, augmentation_level: float, seed: int):
    """The object on white, x 1 3 H W in [-1, 1] -> positive, negative for SV3D, as it was trained."""
    context, concat = encode(
        image_encoder(clip_vision),
        vae_encoder(vae),
        x,
        image_size=clip_vision.image_size,
        augmentation_level=augmentation_level,
        generator=generator(seed, AUGMENTATION_DOMAIN),
    )
    angles = {"elevation": list(path.elevations), "azimuth": list(path.azimuths)}
    return _described(context, concat, {**angles, "augmentation_level": augmentation_level})


def native_orbit(clip_vision, vae, image: Tensor, size: int, frames: int, elevation: float):
    """IMAGE b H W 3 -> the same by the host's node: its crops, its VAE encoder, and the input view first
    and last.
    """
    vae_encoder(vae)  # refuses other latents
    context = clip_vision.encode_image(image).image_embeds.unsqueeze(0)
    pixels = comfy.utils.common_upscale(image.movedim(-1, 1), size, size, "bilinear", "center")
    step = 360 / (max(frames, 2) - 1)
    azimuths = list(accumulate([step] * (frames - 1), initial=0))
    angles = {"elevation": [elevation] * frames, "azimuth": azimuths}
    return _described(context, vae.encode(pixels.movedim(1, -1)), angles)


def _described(context: Tensor, concat: Tensor, known: dict):
    """context 1 1 e, concat 1 4 h w and what else is known -> CONDITIONING with the picture, and without"""
    positive = [[context, {**known, "concat_latent_image": concat}]]
    negative = [[torch.zeros_like(context), {**known, "concat_latent_image": torch.zeros_like(concat)}]]
    return positive, negative


COMPATIBILITY: dict[str, Callable] = {"reference": reference, "native": native}


def pair(context: Tensor, concat: Tensor, numbers: Numbers):
    """context 1 1 e, concat 1 4 h w -> CONDITIONING with the photo, and without"""
    return _described(context, concat, asdict(numbers))
