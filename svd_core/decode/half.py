"""Layers in the precision of their input, repeated in float32 where half precision overflows."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .stages import Raise

log = logging.getLogger(__name__)


def finite(layers: list[nn.Module], x: Tensor, out: Tensor | None = None) -> Tensor:
    """Apply layers; where the result overflows in half precision, say so and apply them again in float32.

    The result is `out` itself where that spares memory: it may overlap x.
    """
    if x.dtype not in (torch.float16, torch.bfloat16):
        spares = isinstance(layers[-1], Raise) and out is not None and out.device == x.device
        x = _apply(layers[:-1], x)
        return call(layers[-1], x, **({"out": out} if spares else {}))
    y = _apply(layers, x)
    if y.sum(dtype=torch.float32).isfinite():
        return y
    names = " + ".join(type(m).__name__ for m in layers)
    log.warning("%s overflowed in %s at %s; repeated in float32", names, y.dtype, tuple(y.shape))
    exact = _apply(layers, x.float())
    half = exact.to(y.dtype)
    return half if half.sum(dtype=torch.float32).isfinite() else exact


def _apply(layers: list[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:  # each input is freed before the next layer runs
        x = call(layer, x)
    return x


def call(module: nn.Module, x: Tensor, **options: Any) -> Tensor:
    """Run a module in the dtype of x, also when its weights have another."""
    weight = next(module.parameters(), x)
    if weight.dtype == x.dtype or getattr(module, "comfy_cast_weights", False):
        return module(x, **options)
    return functional_call(module, {k: v.to(x.dtype) for k, v in module.named_parameters()}, (x,), options)
