"""A photo to the two tensors that describe it, as sgm's sampling script makes them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models.image_encoder import preprocess
from ..signatures import Encode


def augment(image: Tensor, augmentation_level: float, generator: torch.Generator) -> Tensor:
    """Add N(0, level²) noise to b 3 H W in [-1, 1]; drawn on the CPU in float32, not clamped afterwards."""
    noise = torch.randn(image.shape, generator=generator, dtype=torch.float32)
    return image + augmentation_level * noise.to(image.device, image.dtype, non_blocking=image.is_cuda)


def encode(
    image_encoder: Encode,
    vae_encoder: Encode,
    image: Tensor,
    *,
    image_size: int = 224,
    augmentation_level: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """b 3 H W in [-1, 1] -> context b 1 e and concat b 4 h w, the latent that is not scaled.

    The image encoder sees the clean frame as `preprocess` makes it, b 3 image_size image_size;
    the VAE's encoder sees it with Gaussian noise of deviation `augmentation_level`.
    H and W are multiples of 8.
    """
    context = image_encoder(preprocess(image, image_size)).unsqueeze(1)
    concat = vae_encoder(augment(image, augmentation_level, generator))
    return context, concat
