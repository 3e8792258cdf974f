"""Shots of a video: frames on an even grid of time, and every cut, dissolve and fade between them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..frames.cuts import CONTRAST_FLOOR, is_cut, is_flat, thumbnail
from ..quality import read

SIDE = 256  # pixels of the longer side on which cuts are looked for
MARGIN = 2  # frames left out on both sides of a cut, which a codec smears
GAPS = (0.5, 1.0, 2.0)  # seconds over which dissolves are looked for
BLENDED = 0.1  # share of the change to the middle of a dissolve that a mixture of its ends may leave
SLOW = 4  # of so many frames ContentDetector sees one, so that slow changes are large
Cut = tuple[int, int]  # last frame before, first frame after


def steady(path: Path, fps: float, side: int | None = None) -> Iterator[np.ndarray]:
    """Frames H W 3 uint8 at even times: at 0, 1 / fps, ... the newest one by then.

    A film of constant rate comes as it is; of a variable rate frames are repeated or left out.
    """
    begin, k, last = None, 0, None
    for i, (time, frame) in enumerate(read.upright(path, side)):
        time = i / fps if time is None else time
        begin = time if begin is None else begin
        while last is not None and begin + (k + 0.5) / fps < time:
            yield last
            k += 1
        last = frame
    if last is not None:
        yield last


def cuts(frames: Iterable[np.ndarray], fps: float) -> tuple[list[Cut], int]:
    """Every cut, and the number of frames; H W 3 uint8, reduced to about `SIDE`

    Those of `frames.cuts` and of dissolves, united with PySceneDetect's where that is installed:
    AdaptiveDetector on every frame, ContentDetector on every fourth, ThresholdDetector for fades.
    """
    other, found, coarse = Others(fps) if has_scenedetect() else None, [], []
    seen: deque[Tensor] = deque(maxlen=round(max(GAPS) * fps) + 2)
    before, i = None, -1
    for i, frame in enumerate(frames):
        x = torch.from_numpy(frame).movedim(-1, 0)[None].float() / 255
        seen.append(thumbnail(x)[0])
        if before is not None and is_cut(before, x):
            found.append((i - 1, i))
        found += dissolves(seen, i, fps)
        if other:
            found += other.add(i, frame)
            coarse += other.slowly(i, frame)
        before = x
    found += other.end(i + 1) if other else []
    found += [c for c in coarse if not any(within(d, c) for d in found)]
    return sorted(set(found)), i + 1


def within(a: Cut, b: Cut) -> bool:
    """Is a part of b, and not the same?"""
    return a != b and b[0] <= a[0] and a[1] <= b[1]


def dissolves(seen: Sequence[Tensor], last: int, fps: float) -> list[Cut]:
    """Gaps that end at the newest thumbnail 3 h w, of frame `last`, in whose middle two pictures are mixed"""
    found = []
    for gap in GAPS:
        n = max(4, round(gap * fps) // 2 * 2)
        if len(seen) <= n or last % max(1, n // 4):
            continue
        a, mid, b = (seen[k] for k in (-1 - n, -1 - n // 2, -1))
        if mixed(a, mid, b) and (is_cut(a[None], b[None]) or is_flat(a[None], b[None])):
            found.append((last - n, last))
    return found


def mixed(a: Tensor, mid: Tensor, b: Tensor) -> bool:
    """Is `mid` a mixture of the other two, in the middle third of the way?  c h w each"""
    way = b - a
    length = float(way.square().sum())
    if length < CONTRAST_FLOOR**2 * way.numel():
        return False
    share = float(((mid - a) * way).sum()) / length
    rest = float((mid - a - share * way).square().sum())
    return 1 / 3 <= share <= 2 / 3 and rest < BLENDED * share**2 * length


def has_scenedetect() -> bool:
    return find_spec("scenedetect") is not None


class Others:
    """The detectors of PySceneDetect, fed frame by frame."""

    def __init__(self, fps: float):
        import scenedetect

        self.fps, self.time = fps, scenedetect.FrameTimecode
        least = dict(min_scene_len=max(2, round(fps / 4)))
        self.adaptive = scenedetect.AdaptiveDetector(**least)
        self.fades = scenedetect.ThresholdDetector(**least)
        self.slow = scenedetect.ContentDetector(min_scene_len=2)

    def add(self, i: int, frame: np.ndarray) -> list[Cut]:
        """Cuts that become known with frame i, H W 3 uint8"""
        now, bgr = self.time(i, self.fps), _bgr(frame)
        return [hard(t) for detector in (self.adaptive, self.fades) for t in detector.process_frame(now, bgr)]

    def slowly(self, i: int, frame: np.ndarray) -> list[Cut]:
        """Changes within `SLOW` frames, likewise"""
        if i % SLOW:
            return []
        found = self.slow.process_frame(self.time(i // SLOW, self.fps / SLOW), _bgr(frame))
        return [((t.frame_num - 1) * SLOW, t.frame_num * SLOW) for t in found]

    def end(self, n: int) -> list[Cut]:
        """What only the end tells, after n frames"""
        return [hard(t) for t in self.fades.post_process(self.time(n, self.fps))] if n else []


def hard(time: Any) -> Cut:
    """The cut at a time code of PySceneDetect, which is that of the first frame after it"""
    return max(0, time.frame_num - 1), max(1, time.frame_num)


def _bgr(frame: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frame[..., ::-1])


def shots(found: list[Cut], n: int) -> list[tuple[int, int]]:
    """First frame and the one after the last of every shot of n frames, clear of cuts by `MARGIN`."""
    free = np.ones(n + 1, bool)
    free[n] = False
    for a, b in found:
        free[max(0, a + 1 - MARGIN) : b + MARGIN] = False
    edges = np.flatnonzero(np.diff(np.concatenate(([0], free.astype(int)))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2])]


def windows(start: int, end: int, *, frames: int, stride: int) -> list[int]:
    """First frames of the windows of a shot, one after the other: each sees `frames`, every `stride`-th."""
    span = (frames - 1) * stride + 1
    return list(range(start, end - span + 1, span))


def stride_of(fps: float, wanted: float) -> int:
    """Of so many frames one is taken, for about `wanted` frames a second"""
    return max(1, math.floor(fps / wanted + 0.5))
