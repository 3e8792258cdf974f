"""What the U-Net is conditioned on: the photo as a CLIP token and as a latent,
and three numbers as a vector.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..models.ops import sinusoid


@dataclass(frozen=True)
class Conditioning:
    """Of b videos; concat and vector may also have a row for each of the b·t frames."""

    context: Tensor  # b 1 e, projected CLIP embedding
    concat: Tensor  # b 4 h w, latent of the photo, not scaled
    vector: Tensor  # b a, sinusoids of the micro-conditions

    def uncond(self) -> Conditioning:
        """The unconditional counterpart: no photo, the same vector."""
        return Conditioning(torch.zeros_like(self.context), torch.zeros_like(self.concat), self.vector)

    def per_frame(self, t: int) -> Conditioning:
        """Every field with b·t rows, video by video."""
        n = len(self.context) * t
        rows = (getattr(self, field.name) for field in fields(self))
        return Conditioning(*(row.repeat_interleave(n // len(row), dim=0) for row in rows))

    @staticmethod
    def cat(items: list[Conditioning]) -> Conditioning:
        """Videos side by side along b."""
        names = [field.name for field in fields(Conditioning)]
        return Conditioning(*(torch.cat([getattr(item, name) for item in items]) for name in names))


def micro_conditions(b: int, *, fps: float, motion_bucket_id: float, augmentation_level: float) -> Tensor:
    """The vector of b videos: b 768, float32. The model was trained with fps_id = fps - 1."""
    numbers = torch.tensor([[fps - 1, motion_bucket_id, augmentation_level]], dtype=torch.float32)
    return embed(numbers).expand(b, -1)


def embed(values: Tensor, dim: int = 256) -> Tensor:
    """b k numbers -> b (k dim), the vector y: for SVD k = 3, (fps_id, motion_bucket_id, cond_aug)."""
    return sinusoid(values, dim).flatten(1)
