"""What the U-Net is told of a clip: the image as a CLIP token and as a latent, and three numbers as a vector."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..models.image_encoder import CLIPVision, preprocess
from ..models.unet_blocks import sinusoid
from ..models.vae import VAE


@dataclass(frozen=True)
class Conditioning:
    """Of b clips; concat and vector may also have a row for each of the b·t frames."""

    context: Tensor  # b 1 e, projected CLIP embedding
    concat: Tensor  # b 4 h w, latent of the condition image, not scaled
    vector: Tensor  # b a, sinusoids of the micro-conditions

    def uncond(self) -> Conditioning:
        """The unconditional twin: no image, the same vector."""
        return Conditioning(torch.zeros_like(self.context), torch.zeros_like(self.concat), self.vector)

    def per_frame(self, t: int) -> Conditioning:
        """Every field with b·t rows, video by video."""
        n = len(self.context) * t
        return Conditioning(
            *(
                getattr(self, f.name).repeat_interleave(n // len(getattr(self, f.name)), dim=0)
                for f in fields(self)
            )
        )

    @staticmethod
    def cat(items: list[Conditioning]) -> Conditioning:
        """Clips side by side along b."""
        return Conditioning(
            *(torch.cat([getattr(item, f.name) for item in items]) for f in fields(Conditioning))
        )


def embed(values: Tensor, dim: int = 256) -> Tensor:
    """b k numbers -> b (k dim), the vector y: for SVD k = 3, (fps_id, motion_bucket_id, cond_aug)."""
    return sinusoid(values, dim).flatten(1)


def augment(image: Tensor, augmentation_level: float, generator: torch.Generator) -> Tensor:
    """Add N(0, level²) noise to b 3 H W in [-1, 1]; drawn on the CPU in float32, not clamped afterwards."""
    noise = torch.randn(image.shape, generator=generator, dtype=torch.float32)
    return image + augmentation_level * noise.to(image)


@torch.no_grad()
def encode(
    clip: CLIPVision,
    vae: VAE,
    image: Tensor,
    *,
    fps: float,
    motion_bucket_id: float,
    augmentation_level: float,
    generator: torch.Generator,
) -> Conditioning:
    """Condition a clip on its first frame, as sgm's sampling script does.

    image b 3 H W in [-1, 1], H and W multiples of 64. CLIP sees the clean frame, the VAE the augmented one; the model
    was trained with fps_id = fps - 1. Trained values: fps 7, motion_bucket_id 127, augmentation_level 0.02.
    """
    H, W = image.shape[2:]
    for name, size in (("height", H), ("width", W)):
        if size % 64:
            raise ValueError(
                f"{name} {size} is not a multiple of 64; use {max(size // 64, 1) * 64} or {-(-size // 64) * 64}"
            )
    context = clip(preprocess(image, clip.config.image_size).to(_dtype(clip))).unsqueeze(1)
    concat = vae.encode(augment(image, augmentation_level, generator).to(_dtype(vae)))
    values = torch.tensor(
        [[fps - 1, motion_bucket_id, augmentation_level]], dtype=torch.float32, device=image.device
    )
    return Conditioning(context, concat, embed(values).expand(len(image), -1))


def _dtype(module: torch.nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype
