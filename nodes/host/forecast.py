"""What a run of sampling is about to do: its size, memory and time, told on its node."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import comfy.model_management
import latent_preview
from torch import Tensor

from ...svd_core.models.memory import activations
from .course import PATIENCE, duration
from .model import HostUNet
from .say import show

GIB = 2**30
GRID = 64  # pixels: sizes that are offered are multiples of it


@dataclass(frozen=True)
class Forecast:
    """A run in numbers; `one` and `both` are the memory in bytes of a pass and of two at once; 0: unknown."""

    name: str
    width: int
    height: int
    frames: int
    fps: float
    steps: int
    guided: bool
    one: int
    both: int
    free: int

    def __str__(self) -> str:
        size = f"{self.width}x{self.height} · {self.frames} frames · {self.fps:g} fps"
        run = f"{self.steps} {'step' if self.steps == 1 else 'steps'}"
        return " · ".join(part for part in (self.name, size, run, self.memory()) if part)

    def memory(self) -> str:
        if not self.one:
            return ""
        free = f"{self.free / GIB:.1f} free"
        if not self.guided:
            return f"a step {self.one / GIB:.2g} GiB · {free}"
        return f"guided step {self.both / GIB:.2g} GiB, in two passes {self.one / GIB:.2g} · {free}"

    def check(self) -> None:
        """Refuse, with what would fit, a run of which not even one pass fits; nothing was moved yet."""
        if self.one <= self.free:
            return
        share = self.free / self.one
        width, height = (int(side * share**0.5 // GRID) * GRID for side in (self.width, self.height))
        frames = int(self.frames * share)
        sizes = [f"{width}x{height}"] if width and height else []
        lengths = [f"{frames} frames"] if frames > 1 else []
        raise ValueError(
            f"a pass over {self.frames} frames of {self.width}x{self.height} needs {self.one / GIB:.1f} GiB "
            f"of memory, {self.free / GIB:.1f} GiB are free; "
            + (f"use {' or '.join(sizes + lengths)}" if sizes + lengths else "free some memory, or use a GPU")
        )


def forecast(guider, name: str, z: Tensor, sigmas: Tensor, fps: float) -> Forecast:
    """What sampling z t 4 h w over these levels takes; the memory is known for our own networks."""
    t, _, h, w = z.shape
    model, device = guider.model_patcher.model, guider.model_patcher.load_device
    network, one, both = model.diffusion_model, 0, 0
    if isinstance(network, HostUNet):
        item = comfy.model_management.dtype_size(model.get_dtype_inference())
        one, both = (activations(network.config, k * t, h, w, itemsize=item) for k in (1, 2))
    steps = len(sigmas) - 1
    guided = max(guider.passes(sigmas, t), default=1) == 2
    return Forecast(name, 8 * w, 8 * h, t, fps, steps, guided, one, both, usable(device))


def usable(device) -> int:
    """Bytes that a pass can have: free ones, and those of models that the host would unload for it."""
    mm = comfy.model_management
    loaded = [] if mm.is_device_cpu(device) else [m for m in mm.current_loaded_models if m.device == device]
    return int(mm.get_free_memory(device)) + sum(model.model_loaded_memory() for model in loaded)


class Clock:
    """The time that is left, from the time that steps took; a step counts as many passes as it makes.

    The first step also loads and compiles, so it only counts until there is a second.
    """

    def __init__(self, passes: list[int], now: Callable[[], float] = time.monotonic):
        self.passes, self.now = passes, now
        self.begun, self.first = now(), 0.0
        self.done = 0

    def step(self) -> float | None:
        """Seconds left after one more step; None after the first of several."""
        self.done += 1
        moment = self.now()
        if self.done == 1:
            self.first = moment
            return None
        rate = (moment - self.first) / sum(self.passes[1 : self.done])
        return rate * sum(self.passes[self.done :])


def telling(guider, name: str, z: Tensor, sigmas: Tensor, fps: float, notes: list[str]) -> Callable:
    """Write the forecast below the notes of the node that runs, or refuse; returns the host's callback
    of each step, which adds the time that is left.
    """
    told = forecast(guider, name, z, sigmas, fps)
    told.check()
    logging.info("%s", told)
    text = "\n".join([*notes, str(told)])
    show(text)
    clock = Clock(guider.passes(sigmas, told.frames))
    preview = latent_preview.prepare_callback(guider.model_patcher, told.steps)
    last = 0.0

    def callback(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
        nonlocal last
        preview(step, denoised, x, total)
        left, now = clock.step(), time.monotonic()
        if clock.done == total:
            show(f"{text} · took {duration(now - clock.begun)}")
        elif left is not None and (now - last >= PATIENCE or clock.done == 2):
            last = now
            show(f"{text} · about {duration(left)} left")

    return callback
