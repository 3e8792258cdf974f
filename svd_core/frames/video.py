"""A clip at another frame rate: frames are read, made and written pair by pair."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import Tensor

from ..signatures import OnStep
from .between import Around, Between, by_flow, crossfade
from .cuts import THRESHOLD, is_cut, is_end_of_fade, is_flat, is_still
from .grid import Rate, count, intervals, rate
from .layout import check


@torch.no_grad()
def interpolate(
    frames: Tensor,
    *,
    source_fps: Rate,
    target_fps: Rate,
    slow_motion: Rate = 1,
    between: Between | None = None,
    cut_threshold: float | None = THRESHOLD,
    device: torch.device | str | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Frames at `target_fps`: t c H W in [0, 1] -> t' c H W with t' = floor((t - 1) target / source) + 1.

    With `slow_motion` s the same target rate plays s times as long, on a grid s times as fine.
    Frames on the source grid are passed through bit for bit; `between` makes the others (default:
    along the motion, balanced quality); at a cut a frame is repeated unless `cut_threshold` is None.
    `on_step(j, t')` follows output frame j.
    """
    source = rate("source_fps", source_fps)
    target = rate("target_fps", target_fps) * rate("slow_motion", slow_motion)
    check(frames)
    clip = Clip(frames, device=device, cut_threshold=cut_threshold, dense=target >= source)
    between = between or by_flow()
    n = count(len(frames), source_fps=source, target_fps=target)
    t, c, H, W = frames.shape
    out = torch.empty(n, H, W, c, dtype=frames.dtype, device=frames.device).movedim(-1, 1)
    j = 0
    for i, fractions in intervals(t, source_fps=source, target_fps=target):
        inner = [float(x) for x in fractions if x]
        made = iter(pair(clip, i, inner, between) if inner else ())
        for fraction in fractions:
            out[j] = next(made)[0] if fraction else frames[i]
            if on_step:
                on_step(j, n)
            j += 1
    return out


class Clip:
    """Frames 1 c H W in float32 where the work is done, each read once, and the scenes they belong to."""

    def __init__(
        self, frames: Tensor, *, device: torch.device | str | None, cut_threshold: float | None, dense: bool
    ):
        self.frames, self.device, self.cut_threshold, self.dense = frames, device, cut_threshold, dense
        self.frame = lru_cache(maxsize=5)(self.read)  # those of a pair, one before it and two after
        self.joined = lru_cache(maxsize=3)(self.compare)

    def read(self, i: int) -> Tensor:
        return self.frames[i : i + 1].to(device=self.device, dtype=torch.float32)

    def compare(self, i: int) -> bool:
        """Do frame i and the next exist and show one scene, or the end of a fade?"""
        if not 0 <= i < len(self.frames) - 1:
            return False
        threshold = self.cut_threshold
        return (
            threshold is None
            or not is_cut(self.frame(i), self.frame(i + 1), threshold=threshold)
            or self.fades(i)
        )

    def fades(self, i: int) -> bool:
        """Does the light go on from before frame i, or from after the next,
        to one of the two that is flat?
        """
        a, b = self.frame(i), self.frame(i + 1)
        out = i > 0 and is_end_of_fade(a, b, self.frame(i - 1))
        return out or (i + 2 < len(self.frames) and is_end_of_fade(b, a, self.frame(i + 2)))

    def around(self, i: int) -> Around:
        """The frames before and after the pair i, i + 1; not worth reading where frames are left out"""
        before = self.frame(i - 1) if self.dense and self.joined(i - 1) else None
        after = self.frame(i + 2) if self.dense and self.joined(i + 1) else None
        return before, after


def pair(clip: Clip, i: int, times: list[float], between: Between) -> Iterable[Tensor]:
    """Frames between frame i and the next: one 1 c H W for each of `times`, of the dtype of the clip"""
    if not clip.joined(i):
        return [clip.frames[i if x < 0.5 else i + 1][None] for x in times]
    a, b = clip.frame(i), clip.frame(i + 1)
    if is_still(a, b) or is_flat(a, b):
        between = crossfade
    low, high = torch.minimum(a.amin(), b.amin()), torch.maximum(a.amax(), b.amax())
    return (x.clamp(low, high).to(clip.frames) for x in between(a, b, times, clip.around(i)))
