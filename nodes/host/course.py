"""Progress over several sampling runs that make one clip: one bar, live previews,
and the time that is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import comfy.model_management
import latent_preview
from torch import Tensor

from .say import show

PATIENCE = 3.0  # seconds between two texts


class Course:
    """`total` steps in runs of any length; a run takes `part` of them. A context that says where it is
    cancelled, since the time left would stand on the node for good.
    """

    def __init__(self, model_patcher, total: int):
        self.preview = latent_preview.prepare_callback(model_patcher, total)
        self.total, self.done = total, 0
        self.begun = self.told = time.monotonic()

    def __enter__(self) -> Course:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, comfy.model_management.InterruptProcessingException):
            show("cancelled")

    def part(self, steps: int, name: str) -> Callable:
        """The host's callback of one run of `steps`, which the text calls `name`."""
        before, self.done = self.done, self.done + steps

        def callback(step: int, denoised: Tensor, x: Tensor, steps_here: int) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            done = min(before + step + 1, self.total)
            self.preview(done - 1, denoised, x, self.total)
            self._tell(done, name)

        return callback

    def _tell(self, done: int, name: str) -> None:
        now = time.monotonic()
        if done == self.total:
            show(f"{done} steps · took {duration(now - self.begun)}")
        elif now - self.told >= PATIENCE:
            self.told = now
            left = (now - self.begun) / done * (self.total - done)
            show(f"{name}, {done} of {self.total} steps, {duration(left)} left")


def duration(seconds: float) -> str:
    """12 s, 3:05 min, 1:02 h"""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d} h"
