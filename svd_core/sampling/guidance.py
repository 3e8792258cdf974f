"""Classifier-free guidance whose scale changes over frames and noise levels: D = D_c + (g - 1) G(D_c - D_u).

G is the identity, or what APG makes of the difference. Whatever G does,
a frame with g = 1 gets D_c untouched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..conditioning.conditioning import Conditioning
from ..models.hooks import NO_HOOKS, Hooks
from ..models.unet import VideoUNet
from ..signatures import Denoise
from .denoiser import denoiser

if TYPE_CHECKING:
    from .reuse import Reuse

# Scales over the frames


def constant(min_cfg: float, max_cfg: float, t: int) -> Tensor:
    """max_cfg at every frame: t"""
    return torch.full((t,), float(max_cfg))


def linear(min_cfg: float, max_cfg: float, t: int) -> Tensor:
    """From min_cfg at the condition frame to max_cfg at the last, as SVD samples: t.
    A single frame gets min_cfg.
    """
    return torch.linspace(min_cfg, max_cfg, t)


def triangle(min_cfg: float, max_cfg: float, t: int) -> Tensor:
    """min_cfg at both ends, max_cfg in the middle, as SV3D samples: t. A single frame gets min_cfg."""
    v = torch.linspace(0, 1, t)
    return min_cfg + 2 * (v - (v + 0.5).floor()).abs() * (max_cfg - min_cfg)


def trapezoid(min_cfg: float, max_cfg: float, t: int, *, edge: float = 0.1) -> Tensor:
    """min_cfg at both ends, max_cfg on the plateau between; each flank takes floor(edge t) frames: t.

    Flanks of no frame leave `constant`. (sgm's class of this name has a plateau of ones.)
    """
    flank = int(edge * t)
    if flank == 0:
        return constant(min_cfg, max_cfg, t)
    to_end = torch.minimum(torch.arange(t), torch.arange(t - 1, -1, -1))
    return torch.lerp(
        torch.tensor(float(min_cfg)), torch.tensor(float(max_cfg)), (to_end / flank).clamp(max=1)
    )


CURVES = {"linear": linear, "triangle": triangle, "constant": constant, "trapezoid": trapezoid}


# Scales over the noise levels


def even(sigmas: Tensor) -> Tensor:
    """The same at every level: n + 1 levels -> n weights."""
    return torch.ones(len(sigmas) - 1)


def growing(sigmas: Tensor) -> Tensor:
    """The weights that CFG++ amounts to under Euler, 1 / (1 - s' / s), with mean 1:
    n + 1 levels -> n (2406.08070).
    """
    kappa = 1 / (1 - (sigmas[1:] / sigmas[:-1]).double())
    return (kappa / kappa.mean()).float()


OVER_LEVELS = {"even": even, "as CFG++": growing}


@dataclass(frozen=True)
class Shape:
    """How guidance acts besides its scale over frames; the defaults are plain classifier-free guidance."""

    from_level: float = (
        math.inf
    )  # guided where to_level < sigma <= from_level (2404.07724), elsewhere D_c alone
    to_level: float = 0.0
    over_levels: str = "even"  # a name in OVER_LEVELS: weight of g - 1 at each level
    eta: float = 1.0  # share of the difference's part along D_c that stays; APG 0 (2410.02416)
    limit: float = 0.0  # largest root mean square of the difference; 0 = none
    limit_over: str = "clip"  # one factor for the whole clip, or one a `frame`
    momentum: float = 0.0  # weight of the differences before, of either sign

    def __post_init__(self) -> None:
        if not 0 <= self.to_level <= self.from_level:
            raise ValueError(
                f"guidance from level {self.from_level:g} down to {self.to_level:g} is upside down or not a "
                "number; use to_level below from_level"
            )
        for name, low, high in (("eta", 0, 1), ("limit", 0, math.inf), ("momentum", -1, 1)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name):g}; use {low} to {high:g}")
        for name, names in (("over_levels", tuple(OVER_LEVELS)), ("limit_over", ("clip", "frame"))):
            if getattr(self, name) not in names:
                raise ValueError(f"{name} is {getattr(self, name)}; use {' or '.join(names)}")

    @property
    def linear(self) -> bool:
        """The difference acts as it is, at every level by itself."""
        return self.eta == 1 and self.limit == 0 and self.momentum == 0


PLAIN = Shape()


class Guidance:
    """Guidance of one run: b clips of len(scale) frames over the levels `sigmas`,
    n + 1 (only `over_levels` needs them).

    Momentum is state; it starts afresh where the noise level rises, as at the start of another run.
    """

    def __init__(self, scale: Tensor, shape: Shape = PLAIN, sigmas: Tensor | None = None):
        self.scale, self.shape, self.sigmas = scale, shape, sigmas
        if shape.over_levels != "even" and sigmas is None:
            raise ValueError(
                f"guidance {shape.over_levels} over the levels needs the levels; use even without them"
            )
        self.sum: Tensor | None = None
        self.last = math.inf

    def scale_at(self, sigma: Tensor | float) -> Tensor:
        """The scale of each frame at a noise level: t. All ones mean that D_c is all that is needed."""
        if self.shape == PLAIN:
            return self.scale
        s = float(sigma)
        if not self.shape.to_level < s <= self.shape.from_level:
            return torch.ones_like(self.scale)
        if self.shape.over_levels == "even":
            return self.scale
        return 1 + (self.scale - 1) * self._weight(s)

    def __call__(self, denoised: Tensor, denoised_uncond: Tensor, sigma: Tensor | float) -> Tensor:
        """D_c and D_u, (b t) c h w, at one level -> the guided D, (b t) c h w."""
        scale, shape = self.scale_at(sigma), self.shape
        if shape.linear:
            return guide(denoised, denoised_uncond, scale)
        delta = self._remember(denoised - denoised_uncond, float(sigma))
        if shape.limit > 0:
            delta = limited(delta, shape.limit, rows=len(scale) if shape.limit_over == "clip" else 1)
        if shape.eta < 1:
            delta = delta - (1 - shape.eta) * along(delta, denoised)
        return denoised + (_rows(scale, denoised) - 1) * delta

    def _weight(self, s: float) -> float:
        """The weight of a level, between two of the run's linear in log sigma."""
        assert self.sigmas is not None  # as __init__ made sure
        sigmas = self.sigmas[:-1].flip(0).double().log()  # rising
        weights = OVER_LEVELS[self.shape.over_levels](self.sigmas).flip(0)
        at = min(max(math.log(s), float(sigmas[0])), float(sigmas[-1]))
        if len(sigmas) == 1:
            return float(weights[0])
        i = int((sigmas[1:-1] <= at).sum())
        share = (at - float(sigmas[i])) / float(sigmas[i + 1] - sigmas[i])
        return float(weights[i] + share * (weights[i + 1] - weights[i]))

    def _remember(self, delta: Tensor, s: float) -> Tensor:
        if self.shape.momentum == 0:
            return delta
        if s == self.last:
            raise ValueError(
                f"momentum {self.shape.momentum:g} needs a sampler that asks once at each level, such as "
                "euler or dpmpp_2m; use momentum 0 with this one"
            )
        if self.sum is not None and s < self.last:
            delta = delta + self.shape.momentum * self.sum
        self.sum, self.last = delta, s
        return delta


def guide(denoised: Tensor, denoised_uncond: Tensor, scale: Tensor) -> Tensor:
    """D_c + (g - 1) (D_c - D_u): (b t) c h w twice, scale t -> (b t) c h w; exactly D_c where g = 1"""
    return torch.lerp(denoised_uncond, denoised, _rows(scale, denoised))


def limited(delta: Tensor, limit: float, *, rows: int) -> Tensor:
    """(b t) c h w, shrunk where the root mean square of `rows` rows together is above the limit."""
    groups = delta.float().unflatten(0, (-1, rows)).flatten(1)
    rms = groups.square().mean(dim=1).sqrt()
    factor = (limit / rms.clamp_min(torch.finfo(rms.dtype).tiny)).clamp(max=1)
    return delta * factor.repeat_interleave(rows).view(-1, 1, 1, 1).to(delta)


def along(delta: Tensor, denoised: Tensor) -> Tensor:
    """The part of each frame's difference that points along its D_c: (b t) c h w twice -> (b t) c h w"""
    unit = torch.nn.functional.normalize(denoised.float().flatten(1), dim=1)
    part = (delta.float().flatten(1) * unit).sum(dim=1, keepdim=True) * unit
    return part.view_as(delta).to(delta)


def _rows(scale: Tensor, x: Tensor) -> Tensor:
    """t -> (b t) 1 1 1 beside x, (b t) c h w"""
    rows = scale.to(x.device, x.dtype, non_blocking=x.is_cuda)
    return rows.repeat(len(x) // len(scale)).view(-1, 1, 1, 1)


def guided(
    unet: VideoUNet,
    conditioning: Conditioning,
    guidance: Tensor | Guidance,
    *,
    batched: bool = True,
    hooks: Hooks = NO_HOOKS,
    reuse: Reuse | None = None,
) -> Denoise:
    """The guided denoise(x, sigma) of b clips of t frames: x (b t) 4 h w, sigma scalar -> denoised.

    `guidance` is the scale of each frame, t, or all of it. Where every scale is 1 the unconditional pass is
    not run. `batched` runs both passes as one batch; without it they run one after the other in half the
    memory. Equal but for rounding. `reuse` runs less of both.
    """
    run = guidance if isinstance(guidance, Guidance) else Guidance(guidance)
    t = len(run.scale)
    one = partial(denoiser, unet, t=t, hooks=hooks, reuse=reuse)
    D_c, D_u = one(conditioning), one(conditioning.uncond())
    if batched:
        both = one(Conditioning.cat([conditioning.uncond(), conditioning]))

    def pair(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        if not batched:
            return D_c(x, sigma), D_u(x, sigma)
        uncond, cond = both(torch.cat([x, x]), sigma).chunk(2)
        return cond, uncond

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        if bool((run.scale_at(sigma) == 1).all()):
            return D_c(x, sigma)
        if reuse is None:
            return run(*pair(x, sigma), sigma)
        return run(*reuse.pair(partial(D_c, x, sigma), partial(pair, x, sigma), float(sigma)), sigma)

    return denoise
