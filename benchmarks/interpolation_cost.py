"""Frames a second and working memory of interpolation."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.interpolation_clips import H, W, texture, view
from benchmarks.interpolation_rivals import rivals
from benchmarks.measure import forget_peak, resident
from svd_core.frames.between import by_flow
from svd_core.frames.flow import QUALITIES
from svd_core.frames.video import interpolate

PAIRS = 4
MIB = 2**20


def doublers() -> dict[str, Callable[[Tensor], object]]:
    """Each makes one frame between any two of a clip; ours passes through the whole pipeline."""

    def one_by_one(make: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> list[Tensor]:
        return [make(x[i : i + 1], x[i + 1 : i + 2]) for i in range(len(x) - 1)]

    ours = {
        f"ours, {q}": partial(interpolate, source_fps=1, target_fps=2, between=by_flow(q)) for q in QUALITIES
    }
    return {**{name: partial(one_by_one, make) for name, make in rivals().items()}, **ours}


def speed(rounds: int = 4) -> None:
    """The contenders take turns; the best round of each counts."""
    picture = texture(1)
    x = torch.cat([view(picture, dx=6.0 * i, zoom=1.03**i) for i in range(PAIRS + 1)])
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, make in doublers().items():
            start = time.perf_counter()
            make(x)
            best[name] = min(best.get(name, 1e9), time.perf_counter() - start)
    print(f"\nframes out a second at {W} x {H}, {torch.get_num_threads()} threads, rate doubled")
    for name, seconds in best.items():
        print(f"  {name:16} {2 * PAIRS / seconds:9.1f}")


def peak(frames: int) -> None:
    """Printed by the fresh process: MiB at the peak beyond what was held before and the output"""
    wide = torch.cat([view(texture(s)) for s in (1, 2, 3)], -1)[0, :, : H // 2].contiguous()
    rows = wide.stride()
    x = wide.as_strided(
        (frames, 3, H // 2, W // 2), (1, *rows)
    )  # a pan of a pixel a frame, in no memory of its own
    interpolate(x[:3], source_fps=1, target_fps=2)
    held = resident("VmRSS:")
    forget_peak()
    out = interpolate(x, source_fps=1, target_fps=2)
    print((resident("VmHWM:") - held - out.nbytes) / MIB)


def memory() -> None:
    print(f"\nworking memory beyond input and output at {W // 2} x {H // 2}, rate doubled, fresh processes")
    for frames in (50, 1000):
        line = [sys.executable, "-c", f"from benchmarks.interpolation_cost import peak; peak({frames})"]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        print(f"  {frames:5} frames: {float(done.stdout):+.1f} MiB")
