"""The callables that the stages hand to one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x (b t) c h w, sigma scalar) -> denoised (b t) c h w
OnStep = Callable[[int, int], None]  # (i, n) after step i of n; raising from it stops the run
Encode = Callable[[Tensor], Tensor]  # pictures n 3 H W -> embeddings n e, or latents n 4 h w


class Sampler(Protocol):
    """What every function in `sampling.samplers` is."""

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        sigmas: Tensor,
        *,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor: ...
