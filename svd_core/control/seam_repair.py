"""The seam of a loop sampled anew: frames around it are noised a little, and denoised with both ends held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

MOVED = 0.25  # most that the picture at the seam may change, relative


@dataclass(frozen=True)
class Mended:
    """A loop after its repair, or as it was where the repair made nothing better."""

    z: Tensor  # n c h w
    before: float | None  # change of speed at the seam over a usual one
    after: float | None
    moved: float  # relative change of the first frame
    kept: bool

    def sentence(self) -> str:
        if self.before is None or self.after is None:
            return "seam repair: left as it was, the loop is too short or does not move"
        told = (
            f"seam repair: turn {self.before:.2f} times a usual one before, {self.after:.2f} after; "
            f"the first picture moved by {100 * self.moved:.0f} %"
        )
        return told if self.kept else f"{told}: left as it was"

    def numbers(self) -> dict[str, float | bool | None]:
        return {"before": self.before, "after": self.after, "moved": self.moved, "kept": self.kept}


def window(n: int, t: int) -> Tensor:
    """Numbers of the frames around the seam of a loop of n frames, t of them at most: from half way back on.

    With t = n + 1 it is the whole loop, its ends one frame.
    """
    t = min(t, n + 1)
    return (torch.arange(t) - t // 2) % n


def levels(sigmas: Tensor, start: float) -> Tensor:
    """The noise levels of a run that begins at `start`."""
    below = sigmas[sigmas < start]
    return torch.cat([torch.tensor([start]).to(sigmas), below])


def mend(z: Tensor, *, t: int, remake: Callable[[Tensor], Tensor]) -> Mended:
    """A loop n c h w with its seam sampled anew by remake(window t c h w) -> the same frames, ends held.

    The picture that the loop begins with lies at the seam and may move: where it moves further than
    `MOVED`, or the seam does not bend less, the loop stays as it was.
    """
    where = window(len(z), t)
    made = remake(z[where])
    out = z.clone()
    out[where[1:-1]] = made[1:-1].to(z)
    before, after = bend(z), bend(out)
    moved = float((out[0] - z[0]).norm() / z[0].norm().clamp_min(1e-12))
    better = before is not None and after is not None and after < before
    kept = better and moved <= MOVED and bool(out.isfinite().all())
    return Mended(out if kept else z, before, after, moved, kept)


def bend(z: Tensor) -> float | None:
    """The largest change of step at the seam of a loop over the usual one: n c h w"""
    if len(z) < 5:
        return None
    bends = (z.roll(-1, 0) - 2 * z + z.roll(1, 0)).flatten(1).norm(dim=1)
    usual = float(bends[1:-1].median())
    return float(bends[[0, -1]].max()) / usual if usual > 0 else None
