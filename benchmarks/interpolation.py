"""Interpolation against its rivals in one run: python -m benchmarks.interpolation [--speed | --quick]

Quality: every other frame is left out and rebuilt, on clips that parameters were chosen by and on clips held
out. Cuts and flicker: counted and measured on clips of this run. Speed: frames out a second at 512 x 288,
rate doubled, the contenders taking turns. Memory: peak beyond input and output, in fresh processes.
"""

from __future__ import annotations

import argparse
import statistics

import cv2
import torch
from torch import Tensor

from benchmarks.interpolation_clips import HELD_OUT, TUNED, generated, hard, photographs, synthetic
from benchmarks.interpolation_cost import memory, speed
from benchmarks.interpolation_light import Clips, cuts, flicker, light
from benchmarks.interpolation_rivals import CLASSICAL, rivals
from svd_core.frames.between import by_flow
from svd_core.frames.flow import QUALITIES
from svd_core.frames.video import interpolate
from svd_core.quality.photo import psnr

OURS = "ours, balanced"  # the default
FLICKER_FRAMES = 25  # length of the clips that flicker


def ssim(a: Tensor, b: Tensor) -> float:
    """Mean structural similarity over 8 x 8 windows, luma as the mean of the channels"""
    a, b = (x.mean(1, keepdim=True) for x in (a, b))

    def mean(x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(x, 8, 4)

    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    return float(((2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))).mean())


def rebuilt(x: Tensor) -> dict[str, Tensor]:
    """The frames in between by contender, from every other frame: t c H W -> (t - 1) / 2 c H W each"""
    kept = x[::2]
    made = {
        name: torch.cat([make(kept[i : i + 1], kept[i + 1 : i + 2]) for i in range(len(kept) - 1)])
        for name, make in rivals().items()
    }
    for quality in QUALITIES:
        out = interpolate(kept, source_fps=1, target_fps=2, between=by_flow(quality))
        made[f"ours, {quality}"] = out[1::2]
    return made


def quality(title: str, clips: Clips) -> None:
    """A line a clip as it is done, then the means"""
    if not clips:
        print(f"\n{title}: not installed")
        return
    scores: dict[str, list[tuple[float, float]]] = {}
    print(f"\n{title}, PSNR in dB")
    for name, x in clips:
        wanted = x[1::2]
        for contender, made in rebuilt(x).items():
            pairs = list(zip(made.clamp(0, 1).split(1), wanted.split(1)))
            row = tuple(statistics.fmean(score(a, b) for a, b in pairs) for score in (psnr, ssim))
            scores.setdefault(contender, []).append(row)
        if name == clips[0][0]:
            print(" " * 28 + "".join(f"{c.removeprefix('ours, '):>13}" for c in scores))
        print(f"{name:28.28}" + "".join(f"{rows[-1][0]:13.2f}" for rows in scores.values()), flush=True)
    summary(scores)


def summary(scores: dict[str, list[tuple[float, float]]]) -> None:
    """Means, and the gains of our default over the rivals"""
    mean = {name: [statistics.fmean(column) for column in zip(*rows)] for name, rows in scores.items()}
    for which, (name, digits) in enumerate((("mean", 2), ("mean SSIM", 4))):
        print(f"{name:28}" + "".join(f"{m[which]:13.{digits}f}" for m in mean.values()))
    print(f"{'worst clip':28}" + "".join(f"{min(row[0] for row in rows):13.2f}" for rows in scores.values()))
    best = max(CLASSICAL, key=lambda name: mean[name][0])
    print(f"our default, gain over {best}, the best classical rival: {mean[OURS][0] - mean[best][0]:+.2f} dB")
    for name in ("cross-fade", *CLASSICAL):
        gains = [ours[0] - its[0] for ours, its in zip(scores[OURS], scores[name])]
        print(f"  over {name:14} mean {statistics.fmean(gains):+.2f}, least {min(gains):+.2f} dB")


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--speed", action="store_true", help="speed and memory only")
    only.add_argument("--quick", action="store_true", help="synthetic clips only, neither speed nor memory")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    if not given.quick:
        speed()
        memory()
    if not given.speed:
        made = list(synthetic())
        quality("synthetic clips", made)
        quality("hard clips", list(hard()))
        light(dict(hard())["fast bright body"])
        if not given.quick:
            found = list(generated(TUNED))
            made += found
            quality("generated clips", found)
            quality("held out: photographs in motion", list(photographs()))
            quality("held out: generated clips", list(generated(HELD_OUT)))
        cuts(made)
        flicker(list(synthetic(FLICKER_FRAMES)))


if __name__ == "__main__":
    main()
