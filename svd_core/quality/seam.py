"""The seam of a loop: does the first frame follow the last one as the others follow each other?"""

from __future__ import annotations

from torch import Tensor

from .course import median
from .sizes import reduced

THUMBNAIL = 48  # pixels of the longer side on which there and back are compared


class Seam:
    """Takes reduced frames one by one and keeps four of them, and a thumbnail of each."""

    def __init__(self) -> None:
        self.start: list[Tensor] = []
        self.end: list[Tensor] = []
        self.steps: list[float] = []
        self.bends: list[float] = []
        self.thumbnails: list[Tensor] = []

    def add(self, frame: Tensor) -> None:
        """1 3 h w in [0, 1]"""
        if len(self.start) < 2:
            self.start.append(frame)
        self.end.append(frame)
        if len(self.end) > 1:
            self.steps.append(distance(self.end[-2], self.end[-1]))
        if len(self.end) > 2:
            self.bends.append(bend(*self.end))
            self.end.pop(0)
        self.thumbnails.append((reduced(frame[0], THUMBNAIL) * 255).round().byte())

    def measures(self) -> dict[str, float | None]:
        """position: how far the seam jumps, 1 as any other pair; velocity: the same of the change of speed;
        there_and_back: 1 where the clip runs back the way it came, 0 where it does not.
        """
        if len(self.end) < 2:
            return {"position": None, "velocity": None, "there_and_back": None}
        position = ratio(distance(self.end[-1], self.start[0]), median(self.steps))
        before, last, first, second = *self.end, *self.start
        across = max(bend(before, last, first), bend(last, first, second))
        velocity = ratio(across, median(self.bends)) if self.bends else None
        return {"position": position, "velocity": velocity, "there_and_back": mirrored(self.thumbnails)}


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().mean())


def bend(a: Tensor, b: Tensor, c: Tensor) -> float:
    return float((a - 2 * b + c).abs().mean())


def ratio(value: float, usual: float) -> float | None:
    return value / usual if usual > 0 else None


def mirrored(thumbnails: list[Tensor]) -> float | None:
    """1 - mean |x_t - x_(n-t)|^2 over that of any two frames; circle 0, there and back 1, still None"""
    n = len(thumbnails)
    mean = sum(x.double() for x in thumbnails) / n
    apart = 2 * sum(float((x - mean).square().mean()) for x in thumbnails) / (n - 1)
    pairs = [(t, n - t) for t in range(1, n) if t != n - t]
    if not pairs or apart <= 0:
        return None
    found = sum(float((thumbnails[s].double() - thumbnails[t].double()).square().mean()) for s, t in pairs)
    return 1 - found / len(pairs) / apart
