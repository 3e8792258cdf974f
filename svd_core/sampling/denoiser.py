"""The denoiser D(x; sigma) = c_skip x + c_out F(c_in x; c_noise) of EDM, with SVD's v-prediction scaling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..conditioning.conditioning import Conditioning
from ..models.hooks import NO_HOOKS, Hooks
from ..signatures import Denoise

if TYPE_CHECKING:
    from ..models.unet import VideoUNet
    from .reuse import Reuse


def scalings(sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in, c_noise of sigma > 0, float32 (sigma² overflows half precision); sigma_data 1."""
    sigma = sigma.float()
    c_skip = 1 / (sigma**2 + 1)
    c_out = -sigma / (sigma**2 + 1).sqrt()
    c_in = 1 / (sigma**2 + 1).sqrt()
    c_noise = 0.25 * sigma.log()
    return c_skip, c_out, c_in, c_noise


def denoiser(
    unet: VideoUNet,
    conditioning: Conditioning,
    *,
    t: int,
    hooks: Hooks = NO_HOOKS,
    reuse: Reuse | None = None,
) -> Denoise:
    """The function denoise(x, sigma) of b clips of t frames: x (b t) 4 h w,
    sigma a scalar tensor -> the same shape.

    Latents are the encoder's times 0.18215. The condition latent joins after c_in and is not scaled by it.
    """
    network = unet if reuse is None else reuse.of(unet)
    dtype = next(unet.parameters()).dtype
    rows = conditioning.per_frame(t)
    concat = rows.concat.to(dtype)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        c_skip, c_out, c_in, c_noise = (c.to(x.device, non_blocking=x.is_cuda) for c in scalings(sigma))
        x_in = torch.cat([(c_in * x).to(dtype), concat], dim=1)
        F_x = network(x_in, c_noise.expand(len(x)), rows.context, rows.vector, t=t, hooks=hooks)
        return c_skip * x + c_out * F_x.to(x.dtype)

    return denoise
