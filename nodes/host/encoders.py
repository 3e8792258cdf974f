"""A photo to CONDITIONING, by the core's road or by the numbers of the host's own SVD node."""

from __future__ import annotations

import comfy.clip_vision
import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ...svd_core.checkpoint.presets import PRESETS, Preset
from ...svd_core.conditioning import conditioning
from ...svd_core.models.image_encoder import preprocess
from .. import convert
from .clip_vision import PureClipVision
from .progress import generator
from .vae import PureVAE

AUGMENTATION_DOMAIN = 0x5045_5253_5644_4155  # keeps image noise apart from the latent noise of the same seed


class Tower:
    """A CLIP_VISION as the core's image tower: preprocessed pixels n 3 s s -> embedding n e."""

    def __init__(self, clip_vision):
        native = isinstance(clip_vision, comfy.clip_vision.ClipVisionModel)
        if not isinstance(clip_vision, PureClipVision) and not (
            native and clip_vision.model_type == "clip_vision_model"
        ):
            raise ValueError(
                f"this CLIP_VISION ({getattr(clip_vision, 'model_type', type(clip_vision).__name__)}) is no "
                f"CLIP image "
                "tower; use the one of the video checkpoint"
            )
        self.clip_vision, self.native, self.size = clip_vision, native, clip_vision.image_size

    def __call__(self, x: Tensor) -> Tensor:
        tower = self.clip_vision
        if not self.native:
            return tower.embed(x).float()
        comfy.model_management.load_model_gpu(tower.patcher)
        out = tower.model(pixel_values=x.to(tower.load_device, torch.float32), intermediate_output=-2)
        return out[2].to(comfy.model_management.intermediate_device(), torch.float32)


class ImageEncoder:
    """A VAE as the core's condition encoder: b 3 H W in [-1, 1] -> unscaled posterior mean b 4 h w."""

    def __init__(self, vae):
        channels, dims = getattr(vae, "latent_channels", None), getattr(vae, "latent_dim", None)
        if channels != 4 or dims != 2 or vae.spacial_compression_encode() != 8:
            raise ValueError(
                f"this VAE makes latents of {channels} channels; Stable Video Diffusion needs 4 at an "
                f"eighth of the size: "
                "use the VAE of the video checkpoint"
            )
        self.vae = vae

    def encode(self, x: Tensor) -> Tensor:
        if isinstance(self.vae, PureVAE):
            return self.vae.encode_reference(x)
        return self.vae.encode(x.movedim(1, -1).add(1).div(2)).float()


def preset(vae) -> Preset:
    """What the checkpoint was trained on; a native VAE does not know and gets the base model's."""
    return vae.preset if isinstance(vae, PureVAE) else PRESETS["svd"]


def reference(clip_vision, vae, x: Tensor, size: tuple[int, int], fit: str, scalars: dict, seed: int):
    """x 1 3 H W in [-1, 1] -> positive, negative, as the model was trained."""
    tower, encoder = Tower(clip_vision), ImageEncoder(vae)
    frame = convert.fit(x, *size, fit)
    noisy = conditioning.augment(frame, scalars["augmentation_level"], generator(seed, AUGMENTATION_DOMAIN))
    context = tower(preprocess(frame, tower.size)).unsqueeze(1)
    return _pair(context, encoder.encode(noisy), scalars)


def native(clip_vision, vae, x: Tensor, size: tuple[int, int], fit: str, scalars: dict, seed: int):
    """The same by the host's node: its crop and rounding for the tower, its resize, its encoder, its noise range."""
    ImageEncoder(vae)  # refuses other latents
    if fit != "crop":
        x = convert.fit(x, *size, fit)
    image = x.add(1).div(2)
    context = clip_vision.encode_image(image.movedim(1, -1)).image_embeds.unsqueeze(0)
    frame = comfy.utils.common_upscale(image, *size, "bilinear", "center")
    level = scalars["augmentation_level"]
    if level > 0:
        noise = torch.randn(frame.shape, generator=generator(seed, AUGMENTATION_DOMAIN))
        frame = frame + level * noise.to(frame)
    return _pair(context, vae.encode(frame.movedim(1, -1)), scalars)


def _pair(context: Tensor, concat: Tensor, scalars: dict):
    """context 1 1 e, concat 1 4 h w -> CONDITIONING with the photo, and without"""
    positive = [[context, {**scalars, "concat_latent_image": concat}]]
    negative = [[torch.zeros_like(context), {**scalars, "concat_latent_image": torch.zeros_like(concat)}]]
    return positive, negative
