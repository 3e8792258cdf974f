"""A guide clip held in D down to a noise level (Time-to-Move, Singer et al., 2025).

The paper overwrites the latent after each step, x <- m (z + sigma' noise) + (1 - m) x.
With the same noise throughout, holding D does the same under every deterministic one-step sampler,
also with a soft m: see `hold`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..signatures import Denoise, OnStep, Sampler


def held(denoised: Tensor, z: Tensor, mask: Tensor) -> Tensor:
    """m z + (1 - m) D: n 4 h w twice, mask n 1 h w in [0, 1] -> n 4 h w"""
    return denoised.lerp(z.to(denoised), mask.to(denoised))


def hold(denoise: Denoise, z: Tensor, mask: Tensor, *, strong_level: float) -> Denoise:
    """D -> m z + (1 - m) D at noise levels above `strong_level`, D at and below it.

    z n 4 h w is the guide clip's latent times 0.18215, mask n 1 h w in [0, 1] says where it is held.
    Start sampling from z + weak_level * noise; with strong_level at or above it nothing is held,
    with 0 and mask 1 the result is z. Multistep samplers carry z over the border as their last D:
    run them `in_parts`.
    """

    def held_denoise(x: Tensor, sigma: Tensor) -> Tensor:
        D = denoise(x, sigma)
        return held(D, z, mask) if float(sigma) > strong_level else D

    return held_denoise


def in_parts(
    sample: Sampler,
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    border: float,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """`sample` down to the first level at or below `border`, and anew from there: no history crosses it.

    One-step samplers give what they give in one go.
    """
    n = len(sigmas) - 1
    k = int((sigmas[:-1] > border).sum())
    if not 0 < k < n:
        return sample(denoise, x, sigmas, generator=generator, on_step=on_step)

    def report(first: int) -> OnStep | None:
        return None if on_step is None else lambda i, _: on_step(first + i, n)

    x = sample(denoise, x, sigmas[: k + 1], generator=generator, on_step=report(0))
    return sample(denoise, x, sigmas[k:], generator=generator, on_step=report(k))
