"""Numbers over time: robust slopes, medians, runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def slope(values: Sequence[float]) -> float:
    """Median of the slopes between all pairs, a frame (Theil 1950, Sen 1968); 0 for fewer than two"""
    y = torch.tensor(values, dtype=torch.float64)
    if len(y) < 2:
        return 0.0
    i, j = torch.triu_indices(len(y), len(y), 1) if len(y) <= 256 else spread_pairs(len(y))
    return float(((y[j] - y[i]) / (j - i)).median())


def spread_pairs(n: int) -> tuple[Tensor, Tensor]:
    """The pairs half a long clip apart, whose number grows with its length and not with its square"""
    i = torch.arange(n - n // 2)
    return i, i + n // 2


def median(values: Sequence[float]) -> float:
    """The mean of the middle two of an even number; 0 for none"""
    ordered = sorted(values)
    n = len(ordered)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2 if n else 0.0


def longest(flags: Sequence[bool]) -> int:
    best = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        best = max(best, run)
    return best
