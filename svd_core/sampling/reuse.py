"""The deep half of the U-Net used again at the next noise levels, with an estimate of the error that makes.

DeepCache (2312.00858) refreshes at even intervals of steps. Here the network's own clock decides, c_noise:
the levels of a schedule lie closer together at its start. What a refresh would have been with the old
features is computed beside every other one; the difference is what a step in between is reckoned to cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from ..models.unet import Deep
from .denoiser import scalings

FIRST = LAST = 2  # evaluations that are always whole

Network = Callable[..., Tensor]  # called like `VideoUNet.forward`


@dataclass(frozen=True)
class Pace:
    """How far features are carried, and the error that is accepted."""

    tau: float = 0.15  # of c_noise = ln(sigma) / 4; 0 refreshes always
    branch: int = 0  # more of the blocks run anew: 0 a quarter of a pass, 1 and 2 about a half
    tolerance: float = 0.02  # estimated error of the result beside its size, root mean square
    uncond_every: int = 1  # of guided evaluations, the ones that run the unconditional pass

    def __post_init__(self) -> None:
        for name, low, high in (
            ("tau", 0, 4),
            ("tolerance", 0, 1),
            ("branch", 0, 10),
            ("uncond_every", 1, 100),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name):g}; use {low} to {high}")


@dataclass
class Kept:
    """What one kind of pass carries: that with the photo, or that without it."""

    deep: Deep | None = None
    at: float = math.inf  # c_noise of `deep`
    refreshes: int = 0
    error: float = math.inf  # of D beside D, with features as old as they get


@dataclass
class Reuse:
    """One run over the levels `sigmas`, n + 1: called in place of the network."""

    pace: Pace
    sigmas: Tensor
    borders: tuple[float, ...] = ()  # levels at which something else changes: refreshed below each
    whole: int = 0
    reused: int = 0
    probes: int = 0
    risk: float = 0.0  # sum over reused passes of their error times the share of x that the step replaces
    exact_from: float | None = None  # level below which the tolerance left room for no more
    refused: str = ""  # why all passes are whole, where a host saw a reason
    kept: dict[Hashable, Kept] = field(default_factory=dict)
    unguided: int = 0  # evaluations that took the unconditional pass from before
    guided: int = 0
    delta: Tensor | None = None  # D_c - D_u of the last guided evaluation
    delta_error: float = math.inf

    def of(self, unet: Network) -> Network:
        """The network as one more kind of pass."""
        return partial(self, unet, object())

    def __call__(
        self, unet: Network, kind: Hashable, x: Tensor, c_noise: Tensor, *args: Any, **kw: Any
    ) -> Tensor:
        """Arguments of the network after a name for the kind of pass -> F (b t) 4 h w"""
        kept, at = self.kept.setdefault(kind, Kept()), float(c_noise.flatten()[0])
        if self._fresh(kept, at, x):
            cost = self._share(math.exp(4 * at)) * kept.error
            if self.risk + cost <= self.pace.tolerance:
                self.reused, self.risk = self.reused + 1, self.risk + cost
                return unet(x, c_noise, *args, deep=kept.deep, **kw)
            self.exact_from = self.exact_from or math.exp(4 * at)
        new = Deep(self.pace.branch)
        F_x = unet(x, c_noise, *args, deep=new, **kw)
        self.whole += 1
        wanted = self.pace.tau > 0 and self.exact_from is None and kept.refreshes % 2
        if wanted and self._fitting(kept, x):
            stale = unet(x, c_noise, *args, deep=kept.deep, **kw)
            self.probes += 1
            kept.error = difference(x, c_noise, stale, F_x)
        kept.deep, kept.at, kept.refreshes = new, at, kept.refreshes + 1
        return F_x

    def pair(
        self, cond: Callable[[], Tensor], both: Callable[[], tuple[Tensor, Tensor]], s: float
    ) -> tuple[Tensor, Tensor]:
        """D_c and D_u at a level: the difference of an evaluation before stands in for D_u where the pace
        says so. Reckoned with a scale of guidance of 2.
        """
        cost, self.guided = self._share(s) * self.delta_error, self.guided + 1
        due = (self.guided - 1) % self.pace.uncond_every == 0
        free = self.exact_from is None and self.guided > FIRST and not self._last(s)
        if free and not due and self.delta is not None and self.risk + cost <= self.pace.tolerance:
            D = cond()
            if D.shape == self.delta.shape:
                self.unguided, self.risk = self.unguided + 1, self.risk + cost
                return D, D - self.delta
        D, D_u = both()
        if self.pace.uncond_every > 1:
            new = D - D_u
            if self.delta is not None and self.delta.shape == new.shape:
                self.delta_error = relative(new - self.delta, D)
            self.delta = new
        return D, D_u

    def report(self) -> str:
        """What was saved and what was risked, in a sentence or two."""
        if self.refused:
            return f"Nothing reused: {self.refused}."
        said = f"{self.reused} of {self.whole + self.reused} passes reused deep features"
        if self.unguided:
            said += f", {self.unguided} of {self.guided} steps the guidance of the one before"
        said += f"; estimated error {100 * self.risk:.2g} %, allowed {100 * self.pace.tolerance:.2g} %."
        if self.exact_from is not None:
            said += f" Exact from noise level {self.exact_from:.3g} on."
        return said

    def end(self) -> None:
        """Let go of what was carried."""
        self.delta = None
        self.kept.clear()

    def _last(self, s: float) -> bool:
        return s <= float(self.sigmas[:-1][-LAST:][0]) * 1.0001

    def _fitting(self, kept: Kept, x: Tensor) -> bool:
        return kept.deep is not None and kept.deep.h is not None and len(kept.deep.h) == len(x)

    def _fresh(self, kept: Kept, at: float, x: Tensor) -> bool:
        """Whether the features kept may serve at this level."""
        s = math.exp(4 * at)
        if self.pace.tau == 0 or self.exact_from is not None or not self._fitting(kept, x):
            return False
        if kept.refreshes < FIRST or self._last(s):
            return False
        if any(s <= border < math.exp(4 * kept.at) for border in self.borders):
            return False
        return abs(at - kept.at) <= self.pace.tau

    def _share(self, s: float) -> float:
        """The part of x that the step from this level replaces by D."""
        below = [float(v) for v in self.sigmas if float(v) < s * 0.9999]
        return 1 - below[0] / s if below else 1.0


def difference(x: Tensor, c_noise: Tensor, F_a: Tensor, F_b: Tensor) -> float:
    """Root mean square of D_a - D_b beside that of D_b; x (b t) 8 h w as the network takes it."""
    sigma = (4 * c_noise.float()).exp().view(-1, 1, 1, 1)
    c_skip, c_out, c_in, _ = scalings(sigma)
    D = c_skip * x[:, :4].float() / c_in + c_out * F_b.float()
    return relative(c_out * (F_a.float() - F_b.float()), D)


def relative(apart: Tensor, whole: Tensor) -> float:
    """Root mean square of a difference beside that of what it is a difference of."""
    a, b = (x.float().square().mean().sqrt() for x in (apart, whole))
    return float(a / b.clamp_min(1e-12))
