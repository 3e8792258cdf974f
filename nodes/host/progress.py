"""Progress and cancellation for loops of the core, and the private random streams."""

from __future__ import annotations

from collections.abc import Callable

import comfy.model_management
import comfy.utils
import torch

from .say import show


def on_step() -> Callable[[int, int], None]:
    """A callback (i, n), after step i of n, that moves the progress bar and stops when the user cancels."""
    bar = None

    def step(i: int, n: int) -> None:
        nonlocal bar
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar = bar or comfy.utils.ProgressBar(n)
        bar.update_absolute(i + 1, n)

    return step


def trying(k: int, n: int) -> None:
    """Write onto the node that runs which of several tries this is, and stop when the user cancels."""
    comfy.model_management.throw_exception_if_processing_interrupted()
    if n > 1:
        show(f"try {k + 1} of {n}")


def generator(seed: int, domain: int = 0) -> torch.Generator:
    """A private CPU stream; domain 0 draws what the host draws for this seed,
    other domains share nothing with it.
    """
    return torch.Generator().manual_seed((seed ^ domain) & 0xFFFF_FFFF_FFFF_FFFF)


def apart(seed: int, k: int) -> int:
    """The seed of the k-th of several runs under one seed; the first has the seed itself."""
    return (seed + k * 0x9E37_79B9_7F4A_7C15) & 0xFFFF_FFFF_FFFF_FFFF
