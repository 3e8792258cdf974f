"""Try after try until a clip moves as asked: nothing is drawn here and no clock is read,
so equal tries find equal clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .report import LEAST_EXPLAINED, Report, only_cuts

OF = {"all": "speed", "camera": "camera", "objects": "object"}
GOALS = ("at least", "at most")
LEVELS = (
    math.inf,
    300.0,
    100.0,
    70.0,
    50.0,
)  # noise levels to start from, each with more motion than the one before
MOST_BUCKET, LEAST_BUCKET = 255.0, 1.0

T = TypeVar("T")


@dataclass(frozen=True)
class Goal:
    """`target` in widths a second of all motion, the camera's or the objects', "at least" or "at most"."""

    target: float
    of: str = "all"
    side: str = "at least"

    def __post_init__(self) -> None:
        if self.of not in OF or self.side not in GOALS:
            raise ValueError(
                f"the goal is {self.side} of {self.of}; use one of {', '.join(GOALS)} of {', '.join(OF)}"
            )
        if not 0 <= self.target < math.inf:
            raise ValueError(f"target is {self.target}; use a speed in picture widths a second, 0 or more")

    def score(self, report: Report) -> float | None:
        """The speed asked for; None where what changes is not motion"""
        motion = report["motion"]
        if only_cuts(report) or (motion["explained"] is not None and motion["explained"] < LEAST_EXPLAINED):
            return None
        return float(motion[OF[self.of]])

    def met(self, score: float | None) -> bool:
        if score is None:
            return False
        return score >= self.target if self.side == "at least" else score <= self.target

    def missed_by(self, score: float | None) -> float:
        return math.inf if score is None else abs(score - self.target)


@dataclass
class Search(Generic[T]):
    """The best try so far, and the scores of all; only the best result is kept."""

    goal: Goal
    scores: list[float | None] = field(default_factory=list)
    best: int = -1
    found: T | None = None

    @property
    def met(self) -> bool:
        return self.best >= 0 and self.goal.met(self.scores[self.best])

    def offer(self, result: T, report: Report) -> None:
        score = self.goal.score(report)
        self.scores.append(score)
        missed = self.goal.missed_by(score)
        first = self.best < 0
        if first or self.goal.met(score) or missed < self.goal.missed_by(self.scores[self.best]):
            self.best, self.found = len(self.scores) - 1, result


def search(attempt: Callable[[int], tuple[T, Report]], goal: Goal, *, tries: int) -> Search[T]:
    """`attempt(k)` for k = 0, 1, … gives a result and its report; stops at the first that meets the goal.

    Where none does, the one whose score lies nearest to the target is the best, of equals the first.
    """
    if tries < 1:
        raise ValueError(f"tries is {tries}; use 1 or more")
    state: Search[T] = Search(goal)
    for k in range(tries):
        state.offer(*attempt(k))
        if state.met:
            break
    return state


def bucket(start: float, k: int, *, tries: int, side: str) -> float:
    """The motion bucket of try k: from `start` in equal steps to 255, or down to 1"""
    end = max(start, MOST_BUCKET) if side == "at least" else min(start, LEAST_BUCKET)
    return start + (end - start) * k / max(tries - 1, 1)


def level(start: float | None, k: int) -> float | None:
    """The noise level that try k starts from, never above `start`; None is the schedule's own"""
    lowest = min(start if start is not None else math.inf, LEVELS[min(k, len(LEVELS) - 1)])
    return None if math.isinf(lowest) else lowest
