"""One knob over a range: the values, and what each is called."""

from __future__ import annotations

import math
import re

SPACINGS = ("even", "even ratios")
MOST = 64  # values of a sweep


def spread(first: float, last: float, count: int, *, spacing: str = "even") -> list[float]:
    """`count` values from `first` to `last`, with even differences or even ratios."""
    if not (math.isfinite(first) and math.isfinite(last)):
        raise ValueError(f"the range goes from {first} to {last}; use finite numbers")
    if not 1 <= count <= MOST:
        raise ValueError(f"a sweep of {count} values was asked for; use 1 to {MOST}")
    if spacing not in SPACINGS:
        raise ValueError(f"spacing {spacing!r} is unknown; use {' or '.join(SPACINGS)}")
    if count == 1:
        return [float(first)]
    shares = [i / (count - 1) for i in range(count)]
    if spacing == "even":
        return [first * (1 - s) + last * s for s in shares]
    if not first * last > 0:
        raise ValueError(
            f"even ratios cannot lead from {first:g} to {last:g}; use two numbers above 0, or even spacing"
        )
    sign = math.copysign(1, first)
    return [sign * abs(first) ** (1 - s) * abs(last) ** s for s in shares]


def listed(text: str) -> list[float]:
    """The numbers of a text, separated by commas, semicolons or spaces, in their order."""
    found = []
    for word in re.split(r"[\s,;]+", text.strip(" \t\r\n,;")):
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{word[:40]!r} is not a number; write values such as 1, 64, 127")
        found.append(number)
    if len(found) > MOST:
        raise ValueError(f"{len(found)} values are listed; write at most {MOST}")
    return found


def label(name: str, value: float) -> str:
    """`name` and the value with up to five digits"""
    return f"{name.strip()} {value:.5g}".strip()
