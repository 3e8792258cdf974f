"""What takes the drift out of a video made in chunks: (chunk t c h w, first frame c h w) -> chunk.

A chunk is corrected in proportion to the time since its first frame, which is untouched: joins have no step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..frames.color_lock import statistics, transport

Hold = Callable[[Tensor, Tensor], tuple[Tensor, bool]]  # also: was more to be corrected than is allowed
# Most that a chunk is corrected, by what it is held to: gain, and offset in deviations of the first frame.
HELD_TO = {"chunk": 0.1, "start": 1 / 3}


def since_start(z: Tensor) -> Tensor:
    """0 at the first frame to 1 at the last: t"""
    return torch.linspace(0, 1, len(z), dtype=torch.float64)


def trend(z: Tensor) -> tuple[Tensor, Tensor]:
    """ln gain and offset of each channel over a chunk t c h w, along the line that fits best: c, c"""
    spread = z.double().std((2, 3)).clamp_min(1e-6).cpu()
    return slope(spread.log()), slope(z.double().mean((2, 3)).cpu())


def slope(y: Tensor) -> Tensor:
    """Least-squares slope of y t c over the whole time: c"""
    u = since_start(y)
    v = (u - u.mean())[:, None]
    return (v * (y - y.mean(0))).sum(0) / v.square().sum()


def to_chunk(z: Tensor, first: Tensor, *, strength: float) -> tuple[Tensor, bool]:
    """Take back a share, 0..1, of the chunk's own trend in each channel's mean and deviation."""
    most, (gain, offset) = HELD_TO["chunk"], trend(z)
    held_gain = gain.clamp(math.log(1 - most), math.log(1 + most))
    held_offset = limited(offset, most * first.std((1, 2)).double().cpu())
    share = strength * since_start(z)[:, None]
    factor, shift = (x[..., None, None].to(z) for x in ((-share * held_gain).exp(), share * held_offset))
    mean = z.double().mean((2, 3)).cpu()[..., None, None].to(z)
    clamped = bool((held_gain != gain).any() or (held_offset != offset).any())
    return torch.cat([z[:1], ((z - mean) * factor + mean - shift)[1:]]) if strength else z, clamped


def limited(x: Tensor, furthest: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x, -furthest), furthest)


@dataclass
class ToStart:
    """Take back a share, 0..1, of all that the last frame's colours differ by from the first frame's.

    Seen in pictures, done in latents. Of x, the decoded last frame, the map M to the first one's mean and
    covariance is found; E(Mx) - E(x), in which the autoencoder's own errors cancel, is fitted by one affine
    map of the latent's channels, and that is applied to all frames.
    """

    strength: float
    decode: Callable[[Tensor], Tensor]  # 1 c h w -> 1 3 H W in [-1, 1]
    encode: Callable[[Tensor], Tensor]  # and back
    goal: tuple[Tensor, Tensor] | None = None  # of the first frame: mean 3, covariance 3 3

    def __call__(self, z: Tensor, first: Tensor) -> tuple[Tensor, bool]:
        if not self.strength:
            return z, False
        if self.goal is None:
            self.goal = statistics(self.decode(first[None]), 3)
        x = self.decode(z[-1:])
        wanted, clamped = recoloured(x, self.goal, HELD_TO["start"])
        A, b = affine(z[-1], (self.encode(wanted) - self.encode(x))[0].to(z))
        change = torch.einsum("ij,tjhw->tihw", A, z) + b[:, None, None]
        return z + (self.strength * since_start(z))[:, None, None, None].to(z) * change, clamped


def recoloured(x: Tensor, goal: tuple[Tensor, Tensor], most: float) -> tuple[Tensor, bool]:
    """1 3 H W with the mean and covariance of `goal` as far as gains of 1 - most to 1 + most, and offsets of
    `most` deviations, allow; and whether they did not.
    """
    mean, covariance = statistics(x, 3)
    gains, axes = torch.linalg.eigh(transport(covariance, goal[1]))
    held = gains.clamp(1 - most, 1 + most)
    offset = goal[0] - mean
    held_offset = limited(offset, most * goal[1].diagonal().sqrt())
    M, centred = axes @ held.diag() @ axes.T, x - mean.to(x)[:, None, None]
    out = torch.einsum("ij,njhw->nihw", M.to(x), centred) + (mean + held_offset).to(x)[:, None, None]
    return out, bool((held != gains).any() or (held_offset != offset).any())


def affine(z: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """A c c and b c with A z + b nearest to the change, c h w both, over all positions"""
    known = torch.cat([z, torch.ones_like(z[:1])]).flatten(1).T.double().cpu()
    theta = torch.linalg.lstsq(known, change.flatten(1).T.double().cpu(), driver="gelsd").solution.to(z)
    return theta[:-1].T, theta[-1]
