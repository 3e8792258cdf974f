"""The noise levels of a run: n + 1 values of sigma that fall from `SIGMA_MAX` and end in 0, float32."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 700.0, 7.0  # as trained; standard deviations in units of the data's
AYS_SVD = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)


def karras(n: int, *, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = RHO) -> Tensor:
    """n + 1 levels, warped by rho between sigma_max and sigma_min, then 0 (EDM, eq. 5): n + 1, float32."""
    ramp = torch.linspace(0, 1, n)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return append_zero((high + ramp * (low - high)) ** rho)


def ays(n: int, *, sigma_max: float = SIGMA_MAX) -> Tensor:
    """Align Your Steps for SVD, log-linear between the ten published steps (Sabour et al., 2024): n + 1.

    With a lower sigma_max, n levels of the same density from there on.
    """
    logs = torch.tensor(AYS_SVD, dtype=torch.float64).log()
    at = torch.linspace(_position(math.log(sigma_max), logs), len(AYS_SVD) - 1, n + 1, dtype=torch.float64)
    i = at.floor().long().clamp(max=len(AYS_SVD) - 2)
    return append_zero(torch.lerp(logs[i], logs[i + 1], at - i).exp().float()[:-1])


def exponential(n: int, *, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX) -> Tensor:
    """n levels evenly spaced in log sigma, then 0: n + 1, float32."""
    return append_zero(torch.linspace(math.log(sigma_max), math.log(sigma_min), n).exp())


def consistency(n: int, *, grid: int = 40, sigma_max: float = SIGMA_MAX) -> Tensor:
    """n + 1 levels of a model distilled on `grid` Karras levels: each (grid // n)th, then 0 (AnimateLCM-SVD).

    A lower sigma_max leaves the levels above it out, so that the first is the nearest one below.
    """
    levels = distilled_levels(grid=grid, sigma_max=sigma_max)
    if not 1 <= n <= len(levels):
        found = f"{n} steps do not fit the {len(levels)} levels of a consistency model"
        raise ValueError(
            f"{found} up to {sigma_max:g}; use 1 to {len(levels)}"
            if len(levels)
            else f"a consistency model has no level up to {sigma_max:g}; start higher"
        )
    return append_zero(levels[:: len(levels) // n][:n])


def distilled_levels(*, grid: int = 40, sigma_max: float = SIGMA_MAX) -> Tensor:
    """The Karras levels up to sigma_max that a consistency model was distilled on: at most `grid`."""
    levels = karras(grid)[:-1]
    return levels[levels <= sigma_max * (1 + 1e-4)]  # 700 itself comes back rounded


def _position(log_sigma: float, logs: Tensor) -> float:
    """Where a level lies among falling ones, from 0 at the first: the inverse of their interpolation."""
    i = int((logs > log_sigma).sum().clamp(1, len(logs) - 1)) - 1
    return max(0.0, float(i + (logs[i] - log_sigma) / (logs[i] - logs[i + 1])))


def karras_share(level: float) -> float:
    """The share of the trained Karras schedule that lies at and below a noise level,
    as KSampler's denoise counts.
    """
    low, high, at = (v ** (1 / RHO) for v in (SIGMA_MIN, SIGMA_MAX, max(level, SIGMA_MIN)))
    return (at - low) / (high - low)


def append_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


SCHEDULES: dict[str, Callable[..., Tensor]] = {
    "karras": karras,
    "ays": ays,
    "exponential": exponential,
    "consistency": consistency,
}
