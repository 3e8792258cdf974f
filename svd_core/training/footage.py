"""The stills that the camera moves over: pictures, their latents and their image tokens, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models.image_encoder import CLIPVision, preprocess
from ..models.vae import SCALE, VAE
from . import library, state
from .library import to_tensor
from .loop import OnTrained

SIZE = 352  # pixels: 44 latent positions, twelve more than a picture of 256


@dataclass(frozen=True)
class Footage:
    pictures: Tensor  # n 3 SIZE SIZE uint8
    z: Tensor  # n 4 h w, scaled by 0.18215
    tokens: Tensor  # n c

    def __len__(self) -> int:
        return len(self.pictures)

    def crop(self, i: int, corner: tuple[int, int], size: int) -> Tensor:
        """A square of picture i from `corner`, y x in pixels: 3 size size in [-1, 1]."""
        (y, x), picture = corner, self.pictures[i]
        return picture[:, y : y + size, x : x + size].float() / 127.5 - 1


@torch.no_grad()
def shoot(pictures: np.ndarray, vae: VAE, clip: CLIPVision, *, on_step: OnTrained | None = None) -> Footage:
    """Encode pictures n H W 3 uint8, whose sides are multiples of 8."""
    z, tokens = [], []
    for k, picture in enumerate(pictures):
        x = to_tensor(picture)[None]
        z.append(vae.encode(x).float() * SCALE)
        tokens.append(clip(preprocess(x, clip.config.image_size)).float())
        if on_step:
            on_step(k + 1, len(pictures), {})
    return Footage(torch.from_numpy(pictures).movedim(-1, 1).contiguous(), torch.cat(z), torch.cat(tokens))


def load(home: Path) -> Footage:
    """What `python -m svd_core.training footage` wrote."""
    path = home / "footage.safetensors"
    if not path.is_file():
        raise ValueError(f"{path} does not exist; run the command 'footage' first")
    tensors, _ = state.read(path)
    return Footage(tensors["pictures"], tensors["z"], tensors["tokens"])


def build(home: Path, vae: VAE, clip: CLIPVision, *, on_step: OnTrained | None = None) -> Footage:
    """Encode the training pictures of the library and keep them in `home`."""
    _, pictures = library.stills(size=SIZE, judging=False)
    found = shoot(pictures, vae, clip, on_step=on_step)
    state.save(home / "footage.safetensors", vars(found), {"count": len(found)})
    return found
