"""Half precision that is left where it overflows, and layers that run in the precision of their input."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

HALF = (torch.float16, torch.bfloat16)
log = logging.getLogger(__name__)


def finite(apply: Callable[[Tensor], Tensor], x: Tensor, what: str) -> Tensor:
    """apply(x); where that overflows in half precision, say so and apply it again to x in float32.

    The second result is float32 where it does not fit into half precision either.
    """
    y = apply(x)
    if y.dtype not in HALF or math.isfinite(y.sum(dtype=torch.float32)):
        return y
    log.warning("%s overflowed in %s at %s; repeated in float32", what, y.dtype, tuple(y.shape))
    exact = apply(x.float())
    half = exact.to(y.dtype)
    return half if math.isfinite(half.sum(dtype=torch.float32)) else exact


def call(module: nn.Module, x: Tensor, **options: Any) -> Tensor:
    """Run a module in the dtype of x, also when its weights have another.

    A layer class of the injected `ops` that casts its weights itself says so by `casts_weights`.
    """
    weight = next(module.parameters(), x)
    if weight.dtype == x.dtype or getattr(module, "casts_weights", False):
        return module(x, **options)
    return functional_call(module, {k: v.to(x.dtype) for k, v in module.named_parameters()}, (x,), options)
