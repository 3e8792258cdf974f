"""Interpolation against its rivals in one run: python -m benchmarks.interpolation [--quick] [--threads 2]

Quality: every other frame is left out and rebuilt. Cuts: counted on clips of this run. Speed: frames out a second
at 512 x 288, rate doubled, the contenders taking turns. Memory: peak above input and output, fresh processes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.interpolation_clips import GENERATED, H, W, generated, synthetic, texture, view
from svd_core.interpolation import by_flow, crossfade, interpolate
from svd_core.interpolation.cuts import THRESHOLD, likeness
from svd_core.interpolation.flow import QUALITIES

Middle = Callable[[Tensor, Tensor], Tensor]
MIB = 2**20


def bytes_of(x: Tensor) -> np.ndarray:
    return (x[0].movedim(0, -1).contiguous() * 255).round().byte().numpy()


def plain_warp(flow: Callable[[np.ndarray, np.ndarray], np.ndarray], a: Tensor, b: Tensor) -> Tensor:
    """The mean of both frames, each warped backwards by half its own flow"""
    grey = [cv2.cvtColor(bytes_of(x), cv2.COLOR_RGB2GRAY) for x in (a, b)]
    height, width = grey[0].shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    halves = []
    for image, first, second in ((a, 0, 1), (b, 1, 0)):
        f = flow(grey[first], grey[second]) / 2
        still = image[0].movedim(0, -1).contiguous().numpy()
        halves.append(
            cv2.remap(still, x - f[..., 0], y - f[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        )
    return torch.from_numpy(sum(halves) / 2).movedim(-1, 0)[None]


def farneback(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 5, 15, 3, 5, 1.2, 0)


def contenders() -> dict[str, Middle]:
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    ours = {f"ours, {q}": partial(lambda make, a, b: next(make(a, b, [0.5])), by_flow(q)) for q in QUALITIES}
    return {
        "repeat": lambda a, b: a,
        "cross-fade": lambda a, b: next(crossfade(a, b, [0.5])),
        "Farneback, plain warp": partial(plain_warp, farneback),
        "DIS, plain warp": partial(plain_warp, lambda a, b: dis.calc(a, b, None)),
        **ours,
    }


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * (a - b).square().mean().clamp(min=1e-10).log10())


def ssim(a: Tensor, b: Tensor) -> float:
    """Mean structural similarity over 8 x 8 windows, luma as the mean of the channels"""
    a, b = (x.mean(1, keepdim=True) for x in (a, b))

    def mean(x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(x, 8, 4)

    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    return float(((2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))).mean())


def quality(clips: list[tuple[str, Tensor]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """PSNR and SSIM of every rebuilt frame, by contender and clip"""
    scores: dict[str, dict[str, list[tuple[float, float]]]] = {name: {} for name in contenders()}
    for clip, x in clips:
        for name, make in contenders().items():
            rows = scores[name].setdefault(clip, [])
            for i in range(0, len(x) - 2, 2):
                made = make(x[i : i + 1], x[i + 2 : i + 3]).clamp(0, 1)
                rows.append((psnr(made, x[i + 1 : i + 2]), ssim(made, x[i + 1 : i + 2])))
        print(f"{clip:42.42}" + "".join(f"{mean(scores[n][clip], 0):7.2f}" for n in scores), flush=True)
    return scores


def mean(rows: list[tuple[float, float]], which: int) -> float:
    return statistics.fmean(row[which] for row in rows)


def report(title: str, clips: list[tuple[str, Tensor]]) -> None:
    if not clips:
        print(f"{title}: no clip is installed")
        return
    print(f"\n{title}, PSNR in dB: {', '.join(contenders())}")
    scores = quality(clips)
    for name, rows in scores.items():
        p, s = (statistics.fmean(mean(row, k) for row in rows.values()) for k in (0, 1))
        worst = min(mean(rows[c], 0) - mean(scores["cross-fade"][c], 0) for c in rows)
        print(f"  {name:24} {p:6.2f} dB  SSIM {s:.4f}  least gain over cross-fade {worst:+.2f} dB")


def cuts(clips: list[tuple[str, Tensor]], number: int = 50) -> None:
    def fitted(x: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(x, size=(H, W), mode="bilinear")

    stills = [fitted(x[4:5]) for name, x in clips if name in GENERATED] + [
        view(texture(s)) for s in range(60, 90)
    ]
    joined = [(a, b) for i, a in enumerate(stills) for b in stills[i + 1 :]][
        :: max(1, len(stills) ** 2 // 2 // number)
    ]
    missed = sum(likeness(a, b) >= THRESHOLD for a, b in joined[:number])
    pans = [(view(texture(s)), view(texture(s), dx=W * (0.1 + 0.006 * s))) for s in range(number)]
    false = sum(likeness(a, b) < THRESHOLD for a, b in pans)
    flashes = sum(likeness(x[4:5], (x[6:7] * 1.5 + 0.2).clamp(0, 1)) < THRESHOLD for _, x in clips)
    steps = [
        likeness(x[i : i + 1], x[i + 2 : i + 3]) < THRESHOLD
        for _, x in clips
        for i in range(0, len(x) - 2, 2)
    ]
    print(
        f"\ncuts blended: {missed} of {len(joined[:number])}; pans of 10 to 40 % of the width taken for cuts: {false} of {number}"
    )
    print(
        f"pairs of the clips taken for cuts: {sum(steps)} of {len(steps)}; flashes taken for cuts: {flashes} of {len(clips)}"
    )


def speed(rounds: int) -> None:
    """Doubling the rate: two frames out for each pair"""
    a, b = view(texture(1)), view(texture(1), dx=6, zoom=1.03)
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, make in contenders().items():
            start = time.perf_counter()
            make(a, b)
            best[name] = min(best.get(name, 1e9), time.perf_counter() - start)
    print(f"\nframes out a second at {W} x {H}, {torch.get_num_threads()} threads, rate doubled / times four")
    four = {}
    for q in QUALITIES:
        start = time.perf_counter()
        list(by_flow(q)(a, b, [0.25, 0.5, 0.75]))
        four[f"ours, {q}"] = f" / {4 / (time.perf_counter() - start):7.1f}"
    for name, seconds in best.items():
        print(
            f"  {name:24} {2 / max(seconds, 1e-6):7.1f}{four.get(name, '')}"
            if seconds > 1e-3
            else f"  {name:24}    > 1000"
        )


def resident(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at the peak since the last reset"""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not report resident memory; run on Linux")


def peak(frames: int) -> None:
    """Printed by the fresh process: MiB at the peak beyond what was held before and the output"""
    still = torch.nn.functional.interpolate(view(texture(1)), scale_factor=0.5)
    x = torch.cat([still.roll(i % 40, -1) for i in range(frames)])
    interpolate(x[:3], source_fps=1, target_fps=2)
    held = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    out = interpolate(x, source_fps=1, target_fps=2, between=by_flow("fast"))
    print((resident("VmHWM") - held - out.nbytes) / MIB)


def memory() -> None:
    print(f"\npeak memory beyond input and output, {W // 2} x {H // 2}, fresh processes")
    for frames in (50, 1000):
        line = [sys.executable, "-m", "benchmarks.interpolation", "--peak", str(frames)]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        print(f"  {frames:5} frames: {float(done.stdout):+.1f} MiB")


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="synthetic clips only, no memory measurement")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    if given.peak:
        return peak(given.peak)
    made, found = list(synthetic()), [] if given.quick else list(generated())
    speed(rounds=5)
    cuts(made + found)
    report("synthetic clips", made)
    report("generated clips", found)
    if not given.quick:
        memory()


if __name__ == "__main__":
    main()
