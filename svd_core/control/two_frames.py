"""A clip between two pictures with a model trained on one; every method is built on denoise(x, sigma).

Frames run along the first axis, (b t) c h w, video by video. A pass sees one picture and its own time:
the backward pass is conditioned on the last picture and handed the flipped clip,
so guidance that grows over the frames grows away from its own picture. Methods: TRF (Feng et al., 2024),
ViBiDSampler (Yang et al., 2024), MPD (2026), and a forward pass alone with both ends given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling.samplers import draw
from ..signatures import Denoise, OnStep

Pass = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # x, sigma -> D, and the b of `step`


@dataclass(frozen=True)
class Ends:
    """Clean latents of the pictures at both ends, times 0.18215; None leaves that end to the model."""

    first: Tensor | None  # b c h w
    last: Tensor | None  # b c h w
    fade: float = 0.0  # noise level under which pins loosen; 0 pins exactly to the end


@dataclass(frozen=True)
class Prior:
    """MPD: at noise levels over `above`, the whole predicted clip moves by the error of its last frame."""

    above: float = math.inf
    repeats: int = 3  # times a level, each followed by a lift; ViBiD only
    strength: float = 1.0  # 0..1
    target: Tensor | None = None  # b c h w, where the last frame goes


NO_PRIOR = Prior()


def prior_for(
    share: float, sigmas: Tensor, *, target: Tensor | None, repeats: int = 3, strength: float = 1.0
) -> Prior:
    """The prior for the first `share` (0..1) of n steps, sigmas n + 1."""
    i = math.ceil(share * (len(sigmas) - 1))
    return Prior(float(sigmas[i]), repeats, strength, target)


# Steps


def flip(x: Tensor, t: int) -> Tensor:
    """Each video backwards in time: (b t) ... -> (b t) ..."""
    return x.unflatten(0, (-1, t)).flip(1).flatten(0, 1)


def step(x: Tensor, D: Tensor, b: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """From sigma to sigma_next: D + r (x - b), r = sigma_next / sigma. b = D is Euler, b = D_u is CFG++."""
    return D + (sigma_next / sigma).to(x) * (x - b)


def lift(
    x: Tensor, low: Tensor, high: Tensor, generator: torch.Generator | None, *, scale: float = 1.0
) -> Tensor:
    """Fresh noise from level `low` up to level `high`."""
    return x + scale * (high**2 - low**2).sqrt().to(x) * draw(x, generator)


def pin(D: Tensor, sigma: Tensor, ends: Ends, *, t: int) -> Tensor:
    """D with the frames of known ends replaced; below the level `ends.fade` in proportion to sigma."""
    keep = min(1.0, float(sigma) / ends.fade) if ends.fade > 0 else 1.0
    clip = D.unflatten(0, (-1, t)).clone()
    for at, z in ((0, ends.first), (t - 1, ends.last)):
        if z is not None:
            clip[:, at] = z.to(D) if keep == 1 else torch.lerp(clip[:, at], z.to(D), keep)
    return clip.flatten(0, 1)


def toward(D: Tensor, prior: Prior, *, t: int) -> Tensor:
    """MPD's estimate: every frame of D moved by strength times the error of the last: (b t) c h w.

    The published form accumulates frame differences backwards from the end; the sum telescopes to this.
    """
    if prior.target is None:
        raise ValueError("the motion prior needs the last picture; give prior.target")
    clip = D.unflatten(0, (-1, t))
    return (clip + prior.strength * (prior.target.to(D) - clip[:, -1]).unsqueeze(1)).flatten(0, 1)


# Passes


def plain(denoise: Denoise) -> Pass:
    """The pass of an Euler step: b = D."""

    def run(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        D = denoise(x, sigma)
        return D, D

    return run


def cfg_pp(pair: Pass, w: float) -> Pass:
    """CFG++ (Chung et al., 2024) from pair(x, sigma) -> D_c, D_u: D = D_u + w (D_c - D_u), b = D_u.

    It is plain guidance of scale w / (1 - sigma_next / sigma), which grows with the number of steps.
    """

    def run(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        D_c, D_u = pair(x, sigma)
        return torch.lerp(D_u, D_c, w), D_u

    return run


# Methods


def blend(forward: Tensor, backward: Tensor, *, t: int) -> Tensor:
    """TRF's weights, linear from the forward estimate at the first frame to the other: (b t) c h w."""
    w = torch.linspace(1, 0, t).to(forward).repeat(len(forward) // t).view(-1, 1, 1, 1)
    return torch.lerp(backward, forward, w)


def fuse(forward: Denoise, backward: Denoise, *, t: int) -> Denoise:
    """TRF as one denoise, for any sampler."""
    return lambda x, sigma: blend(forward(x, sigma), flip(backward(flip(x, t), sigma), t), t=t)


def pinned(denoise: Denoise, ends: Ends, *, t: int) -> Denoise:
    """A denoise whose first and last frames are known."""
    return lambda x, sigma: pin(denoise(x, sigma), sigma, ends, t=t)


def bounded(
    forward: Pass,
    x: Tensor,
    sigmas: Tensor,
    *,
    ends: Ends,
    t: int,
    prior: Prior = NO_PRIOR,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """The forward pass alone, its ends pinned at every step and its early estimates moved by the prior."""
    n = len(sigmas) - 1
    for i in range(n):
        D, b = forward(x, sigmas[i])
        if sigmas[i] > prior.above:
            D = toward(D, prior, t=t)
        x = step(x, pin(D, sigmas[i], ends, t=t), b, sigmas[i], sigmas[i + 1])
        if on_step is not None:
            on_step(i, n)
    return x


def vibid(
    forward: Pass,
    backward: Pass,
    x: Tensor,
    sigmas: Tensor,
    *,
    ends: Ends,
    t: int,
    prior: Prior = NO_PRIOR,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """ViBiDSampler: each level a forward half-step, a lift back up, and a backward half-step.

    Each half pins the far end of its own pass; the last one pins both. Levels over `prior.above` begin with
    `prior.repeats` times MPD's estimate, a step and a lift. Draws one noise a level and one for each repeat.
    """
    n = len(sigmas) - 1
    first, last = Ends(ends.first, None, ends.fade), Ends(None, ends.last, ends.fade)
    for i in range(n):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        for _ in range(prior.repeats if sigma > prior.above else 0):
            D, b = forward(x, sigma)
            D = pin(toward(D, prior, t=t), sigma, first, t=t)
            x = lift(step(x, D, b, sigma, sigma_next), sigma_next, sigma, generator)
        D, b = forward(x, sigma)
        x = step(x, pin(D, sigma, last, t=t), b, sigma, sigma_next)
        x = lift(x, sigma_next, sigma, generator)
        D, b = (flip(y, t) for y in backward(flip(x, t), sigma))
        x = step(x, pin(D, sigma, first if i < n - 1 else ends, t=t), b, sigma, sigma_next)
        if on_step is not None:
            on_step(i, n)
    return x


# Noise re-injection


def climbs(n: int, *, until: float, length: int, times: int) -> list[tuple[int, int]]:
    """Where n steps are interrupted: after i of them the clip is lifted from level i to j = i - length.

    Stops lie `length` apart; the last has a share of about `until` (0..1) of all steps still to go,
    the first at least `length` behind it. Each is climbed `times` over. TRF: until 0.8,
    a length of a tenth of n.
    """
    if length < 1 or times < 1:
        return []
    stops = range(math.floor(n * until), n - length, length)
    return [(n - j, n - j - length) for j in reversed(stops) for _ in range(times)]


def reinject(
    sampler: Callable[..., Tensor], stops: list[tuple[int, int]], *, scale: float = 1.0
) -> Callable[..., Tensor]:
    """A sampler that climbs back at `stops` and goes down again: RePaint's resampling (Lugmayr et al., 2022).

    Of denoise or of a pass, as the sampler itself. `scale` multiplies the noise of a climb (TRF's
    noise_scale). Draws one noise a climb.
    """

    def run(
        denoise: Denoise | Pass,
        x: Tensor,
        sigmas: Tensor,
        *,
        generator: torch.Generator | None = None,
        on_step: OnStep | None = None,
    ) -> Tensor:
        last = len(sigmas) - 1
        n, done, start = last + sum(i - j for i, j in stops), 0, 0
        for i, j in [*stops, (last, last)]:
            count = shifted(on_step, done, n)
            x = sampler(denoise, x, sigmas[start : i + 1], generator=generator, on_step=count)
            done, start = done + i - start, j
            if j < i:
                x = lift(x, sigmas[i], sigmas[j], generator, scale=scale)
        return x

    return run


def shifted(on_step: OnStep | None, done: int, n: int) -> OnStep | None:
    """Reports of a part as steps `done` and following of n."""
    return None if on_step is None else lambda i, _: on_step(done + i, n)
