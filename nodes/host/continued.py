"""Going on from a latent: it becomes the picture that the model is told of, without a new encoding."""

from __future__ import annotations

import torch
from torch import Tensor

from ...svd_core.conditioning.encode import augment
from ...svd_core.models.image_encoder import preprocess
from ...svd_core.signatures import Encode
from .. import convert
from . import encoders, two_frames
from .progress import generator
from .vae import exact

CONTINUED_DOMAIN = 0x5045_5253_5644_434E  # noise on the frame that is gone on from


class Eyes:
    """Latents as pictures: the decoder and the image encoder of a checkpoint."""

    def __init__(self, clip_vision, vae):
        self.vae, self.embed = exact(vae), encoders.image_encoder(clip_vision)
        self.encode = encoders.vae_encoder(vae)  # the inverse of `frame`
        self.size = clip_vision.image_size

    def frame(self, z: Tensor) -> Tensor:
        """1 4 h w, unscaled -> 1 3 H W in [-1, 1]; the node's progress bar is left alone."""
        return convert.pixels(self.vae.decode_exact(z, quiet=True)).float()

    def token(self, x: Tensor) -> Tensor:
        """1 3 H W in [-1, 1] -> 1 1 e"""
        return self.embed(preprocess(x, self.size)).unsqueeze(1)


def noise_of_augmentation(encode: Encode, photo: Tensor, level: float) -> float:
    """Deviation that a level of noise makes in the latent, as measured on a photo 1 3 H W in [-1, 1].

    The U-Net is handed a latent, so that is where the noise is added.
    """
    if level == 0:
        return 0.0
    noisy = augment(photo, level, generator(0, CONTINUED_DOMAIN))
    return float((encode(noisy) - encode(photo)).std())


def picture(z: Tensor, token: Tensor, numbers: encoders.Numbers, noise: float, seed: int):
    """z 1 4 h w unscaled, token 1 1 e -> the Picture that a model goes on from"""
    drawn = torch.randn(z.shape, generator=generator(seed, CONTINUED_DOMAIN))
    positive, negative = encoders.pair(token, z + noise * drawn, numbers)
    return two_frames.Picture(positive, negative, z)
