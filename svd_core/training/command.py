"""How a command of training ends."""

from __future__ import annotations

import sys
from collections.abc import Callable

GOES_ON = "the same command goes on from the last saved step"


def ended(work: Callable[[], object], *, stopped: str = GOES_ON) -> int:
    """Do the work -> exit status: 1 and a sentence where something does not fit, 130 where the user stops it
    and is told what then holds.
    """
    try:
        work()
    except (ValueError, OSError, FloatingPointError) as problem:
        say(str(problem))
        return 1
    except KeyboardInterrupt:
        say(f"stopped; {stopped}")
        return 130
    return 0


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
