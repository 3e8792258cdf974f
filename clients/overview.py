"""What a batch says of itself: a bar with the time left, a summary, and a contact sheet."""

import contextlib
import importlib
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clients import publish
from clients.command import NOW_AND_THEN
from clients.local import VIDEO
from clients.publish import Folder
from clients.render import STILL, STILL_WIDTH

BAR = 24
SHEET = "contact-sheet"
A_PAGE = 120  # results on one sheet


def span(seconds: float) -> str:
    """3661 -> 1:01:01, 61 -> 1:01"""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


class Bar:
    """One line of progress, rewritten on a terminal; elsewhere a new one now and then."""

    def __init__(self, total: int):
        self.total, self.done, self.start = total, 0, time.monotonic()
        self.shown = -math.inf
        self.on_terminal = sys.stderr.isatty()

    def line(self) -> str:
        passed = time.monotonic() - self.start
        filled = BAR * self.done // max(1, self.total)
        left = f", {span(passed / self.done * (self.total - self.done))} left" if self.done else ""
        bar = "#" * filled + "." * (BAR - filled)
        return f"[{bar}] {self.done} of {self.total}, {span(passed)}{left}"

    def show(self) -> None:
        """What is shown is of now: twice a second on a terminal, every 20 seconds elsewhere."""
        if time.monotonic() - self.shown > (0.5 if self.on_terminal else NOW_AND_THEN):
            self.shown = time.monotonic()
            self._print(f"\r{self.line()}  " if self.on_terminal else self.line())

    def say(self, text: str) -> None:
        """A line of its own, above the bar"""
        self._print(f"\r{text}{' ' * max(0, 79 - len(text))}\n" if self.on_terminal else text)
        self.shown = -math.inf if self.on_terminal else self.shown

    def close(self) -> None:
        self._print(f"\r{self.line()}  \n" if self.on_terminal else self.line())

    def _print(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(text, end="" if self.on_terminal else "\n", file=sys.stderr, flush=True)


def write_sheets(folder: Folder, results: Sequence[Path], labels: Sequence[str]) -> list[Path]:
    """A picture with a still of every result and its label, on as many pages as it takes."""
    torch, sheets = importlib.import_module("torch"), importlib.import_module("svd_core.quality.sheet")
    image = importlib.import_module("PIL.Image")
    clips = [still(result) for result in results]
    pages = [range(first, min(first + A_PAGE, len(clips))) for first in range(0, len(clips), A_PAGE)]
    made = []
    for number, page in enumerate(pages):
        shown = [torch.from_numpy(clips[i])[None].float() / 255 for i in page]
        picture = sheets.sheet(shown, [labels[i] for i in page], frames=1, width=STILL_WIDTH)[0]
        path = folder.path / f"{SHEET}{f'-{number + 1}' if len(pages) > 1 else ''}.png"
        part = folder.aside / path.name
        image.fromarray(picture.mul(255).round().byte().numpy()).save(part, "PNG")
        part.replace(path)
        made.append(path)
    return made


def still(result: Path) -> Any:
    """H W 3: the still that a result holds, else the first frame of its first video, else grey."""
    numpy, image = importlib.import_module("numpy"), importlib.import_module("PIL.Image")
    if (result / STILL).is_file():
        with image.open(result / STILL) as file:
            return numpy.array(file.convert("RGB"))
    with contextlib.suppress(StopIteration, ValueError, OSError):
        video = next(path for path in publish.files_of(result) if path.suffix in VIDEO)
        read = importlib.import_module("svd_core.quality.read")
        frame = next(iter(read.film(video))).movedim(0, -1).mul(255).byte().numpy()
        picture = image.fromarray(frame)
        picture.thumbnail((STILL_WIDTH, STILL_WIDTH))
        return numpy.array(picture)
    return numpy.full((144, STILL_WIDTH, 3), 128, numpy.uint8)
