"""Classifier-free guidance whose scale changes from frame to frame."""

from __future__ import annotations

import torch
from torch import Tensor

from ..conditioning.conditioning import Conditioning
from ..models.hooks import NO_HOOKS, Hooks
from ..models.unet import VideoUNet
from ..signatures import Denoise
from .denoiser import denoiser


def constant(min_cfg: float, max_cfg: float, t: int) -> Tensor:
    """max_cfg at every frame: t"""
    return torch.full((t,), float(max_cfg))


def linear(min_cfg: float, max_cfg: float, t: int) -> Tensor:
    """From min_cfg at the condition frame to max_cfg at the last, as SVD samples: t. A single frame gets min_cfg."""
    return torch.linspace(min_cfg, max_cfg, t)


def triangle(min_cfg: float, max_cfg: float, t: int) -> Tensor:
    """min_cfg at both ends, max_cfg in the middle, as SV3D samples: t. A single frame gets min_cfg."""
    v = torch.linspace(0, 1, t)
    return min_cfg + 2 * (v - (v + 0.5).floor()).abs() * (max_cfg - min_cfg)


CURVES = {"linear": linear, "triangle": triangle, "constant": constant}


def guide(denoised: Tensor, denoised_uncond: Tensor, scale: Tensor) -> Tensor:
    """D_u + g (D_c - D_u): (b t) c h w twice, scale t -> (b t) c h w"""
    g = scale.to(denoised).repeat(len(denoised) // len(scale)).view(-1, 1, 1, 1)
    return torch.lerp(denoised_uncond, denoised, g)


def guided(
    unet: VideoUNet,
    conditioning: Conditioning,
    scale: Tensor,
    *,
    batched: bool = True,
    hooks: Hooks = NO_HOOKS,
) -> Denoise:
    """The guided denoise(x, sigma) of b clips of len(scale) frames: x (b t) 4 h w, sigma scalar -> denoised.

    `batched` runs both passes as one batch; without it they run one after the other in half the memory. Equal but
    for rounding.
    """
    t = len(scale)
    if batched:
        both = denoiser(unet, Conditioning.cat([conditioning.uncond(), conditioning]), t=t, hooks=hooks)

        def guided_in_one(x: Tensor, sigma: Tensor) -> Tensor:
            uncond, cond = both(torch.cat([x, x]), sigma).chunk(2)
            return guide(cond, uncond, scale)

        return guided_in_one
    D_c, D_u = (denoiser(unet, c, t=t, hooks=hooks) for c in (conditioning, conditioning.uncond()))
    return lambda x, sigma: guide(D_c(x, sigma), D_u(x, sigma), scale)
