"""The clips on disk, drawn once: files of 32 clips, memory-mapped uint8, and the measured speed of each step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .scenes import draw_clip
from .state import replace_file

PER_FILE = 32


@dataclass(frozen=True)
class ClipSet:
    folder: Path
    count: int
    frames: int
    size: int
    seed: int = 0

    def file(self, kind: str, i: int) -> Path:
        return self.folder / f"{kind}-{i:03d}.npy"

    @property
    def files(self) -> int:
        return self.count // PER_FILE

    def speed(self, i: int) -> np.ndarray:
        """Mean speed of each step of clip i in image widths a frame: t-1."""
        return np.load(self.file("speed", i // PER_FILE))[i % PER_FILE]

    def clip(self, i: int) -> np.ndarray:
        """Clip i, t H W 3 uint8, memory-mapped."""
        return np.load(self.file("clips", i // PER_FILE), mmap_mode="r")[i % PER_FILE]

    def slower_than(self, widths_per_frame: float) -> list[int]:
        """The clips whose mean speed is at most that."""
        means = np.concatenate([np.load(self.file("speed", i)).mean(1) for i in range(self.files)])
        return np.flatnonzero(means <= widths_per_frame).tolist()

    def crop(self, rng: np.random.Generator, *, frames: int, size: int) -> Tensor:
        """A random window of a random clip, mirrored and reversed at random: t 3 H W in [-1, 1]."""
        clip = self.clip(int(rng.integers(self.count)))
        start = rng.integers(len(clip) - frames + 1)
        y, x = rng.integers(clip.shape[1] - size + 1), rng.integers(clip.shape[2] - size + 1)
        clip = clip[start : start + frames, y : y + size, x : x + size]
        clip = clip[:: rng.choice((-1, 1)), :, :: rng.choice((-1, 1))]
        return to_tensor(clip)


def to_tensor(frames: np.ndarray) -> Tensor:
    """... H W 3 uint8 -> ... 3 H W float32 in [-1, 1]"""
    return torch.from_numpy(np.array(frames)).movedim(-1, -3).float() / 127.5 - 1


def draw_file(i: int, clips: ClipSet) -> None:
    """Draw 32 clips unless their file is there; the speeds are written first, so that clips without them never exist."""
    if clips.file("clips", i).is_file():
        return
    torch.set_num_threads(1)
    frames, speed = [], []
    for k in range(PER_FILE):
        clip = draw_clip(clips.seed + i * PER_FILE + k, frames=clips.frames, size=clips.size)
        frames.append((clip.frames.movedim(1, -1) * 255).round().to(torch.uint8).numpy())
        speed.append(clip.speed.numpy())
    for kind, value in (("speed", speed), ("clips", frames)):
        replace_file(clips.file(kind, i), partial(save_array, np.stack(value)))


def save_array(array: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def build(clips: ClipSet, *, workers: int, on_step=None) -> None:
    """Draw whatever is missing of the set."""
    clips.folder.mkdir(parents=True, exist_ok=True)
    with get_context("spawn").Pool(workers) as pool:
        for done, _ in enumerate(pool.imap_unordered(partial(draw_file, clips=clips), range(clips.files)), 1):
            if on_step:
                on_step(done, clips.files)
