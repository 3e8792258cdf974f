"""A guide clip held in D down to a noise level (Time-to-Move, Singer et al., 2025).

The paper overwrites the latent after each step, x <- m (z + sigma' noise) + (1 - m) x. With the same noise throughout,
holding D does the same under every deterministic one-step sampler, also with a soft m: see `hold`.
"""

from __future__ import annotations

from torch import Tensor

from ..sampling.denoiser import Denoise


def held(denoised: Tensor, z: Tensor, mask: Tensor) -> Tensor:
    """m z + (1 - m) D: n 4 h w twice, mask n 1 h w in [0, 1] -> n 4 h w"""
    return denoised.lerp(z.to(denoised), mask.to(denoised))


def hold(denoise: Denoise, z: Tensor, mask: Tensor, *, strong_level: float) -> Denoise:
    """D -> m z + (1 - m) D at noise levels above `strong_level`, D at and below it.

    z n 4 h w is the guide clip's latent times 0.18215, mask n 1 h w in [0, 1] says where it is held. Start sampling from
    z + weak_level * noise; with strong_level at or above it nothing is held, with 0 and mask 1 the result is z.
    Multistep samplers carry z over the border as their last D: let them start anew there (`dpmpp_2m(jumps=...)`).
    """

    def held_denoise(x: Tensor, sigma: Tensor) -> Tensor:
        D = denoise(x, sigma)
        return held(D, z, mask) if float(sigma) > strong_level else D

    return held_denoise
