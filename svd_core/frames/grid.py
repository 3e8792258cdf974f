"""The exact rational time grid of the output."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby

Rate = int | float | Fraction
DENOMINATOR = 1001  # of the broadcast rates; three decimals need 1000


def rate(name: str, value: Rate) -> Fraction:
    """A positive rate as it was meant: 23.976 is 2997/125 and 23.976023976023978 is 24000/1001."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}; use a positive number")
    exact = Fraction(value)
    if isinstance(value, float):
        simple = exact.limit_denominator(DENOMINATOR)
        exact = simple if float(simple) == value else Fraction(str(value))
    if exact <= 0:
        raise ValueError(f"{name} is {value}; use a positive number")
    return exact


def count(frames: int, *, source_fps: Fraction, target_fps: Fraction) -> int:
    """Frames on the new grid up to the last source frame."""
    return math.floor((frames - 1) * target_fps / source_fps) + 1


def intervals(
    frames: int, *, source_fps: Fraction, target_fps: Fraction
) -> Iterator[tuple[int, list[Fraction]]]:
    """For each source frame that the grid touches: its index, and the output frames' shares of the way on."""
    n = count(frames, source_fps=source_fps, target_fps=target_fps)
    grid = (j * source_fps / target_fps for j in range(n))
    for i, positions in groupby(grid, key=math.floor):
        yield i, [x - i for x in positions]
