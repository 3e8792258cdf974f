"""Reuse of deep features against fewer steps: processor time and agreement with 25 whole steps.

On the embedded model, over photographs that it was never trained on, at 128 x 128.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from svd_core import pipeline
from svd_core.checkpoint.load import SVD
from svd_core.conditioning.conditioning import Conditioning
from svd_core.sampling import guidance, samplers
from svd_core.sampling.guidance import Guidance
from svd_core.sampling.noise_levels import SCHEDULES
from svd_core.sampling.reuse import Pace, Reuse
from svd_core.training import judge
from svd_core.training.photographs import JUDGING

NANO = Path(__file__).resolve().parent.parent / "svd_core" / "nano" / "svd_nano.safetensors"
PHOTOGRAPHS = 4
PACES = {
    "gentle": Pace(0.13, tolerance=0.05),
    "experimental": Pace(0.2, branch=1, tolerance=0.15),
    "tau 0.15": Pace(0.15, tolerance=1),
    "tau 0.2": Pace(0.2, tolerance=1),
    "tau 0.2, branch 2": Pace(0.2, branch=2, tolerance=1),
}
FEWER = [("karras", 20), ("karras", 18), ("karras", 15), ("ays", 18), ("ays", 14), ("ays", 10)]


@dataclass
class Way:
    """What a way of sampling gave, photograph by photograph."""

    costs: list[float] = field(default_factory=list)  # processor time beside that of 25 whole steps
    decibels: list[float] = field(default_factory=list)  # of the latents, over their range
    risks: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)  # root mean square beside that of the latents


def sampled(svd: SVD, condition: Conditioning, schedule: str, steps: int, pace: Pace | None = None):
    """Latents, seconds of processor time, and the run's account of its reuse."""
    sigmas = SCHEDULES[schedule](steps)
    reuse = None if pace is None else Reuse(pace, sigmas)
    t = svd.preset.frames
    denoise = guidance.guided(svd.unet, condition, Guidance(torch.ones(t), sigmas=sigmas), reuse=reuse)
    noise = torch.randn((t, *condition.concat.shape[1:]), generator=torch.Generator().manual_seed(1))
    begun = time.process_time()
    with torch.no_grad():
        z = samplers.euler(denoise, samplers.initial(noise, sigmas[0]), sigmas)
    return z, time.process_time() - begun, reuse


def compare(photographs: int = PHOTOGRAPHS, *, size: int = 128) -> dict[str, Way]:
    """All ways on the first so many judging photographs, in turns."""
    torch.set_num_threads(1)
    svd, found = pipeline.load(NANO), {}
    for name in JUDGING[:photographs]:
        condition = pipeline.encode(svd, judge.photograph(name, size=size))
        whole, seconds, _ = sampled(svd, condition, "karras", 25)
        ways = {label: ("karras", 25, pace) for label, pace in PACES.items()}
        ways |= {f"{schedule} {steps}": (schedule, steps, None) for schedule, steps in FEWER}
        for label, arguments in ways.items():
            z, taken, reuse = sampled(svd, condition, *arguments)
            way = found.setdefault(label, Way())
            way.costs.append(taken / seconds)
            way.errors.append(apart := rms(z - whole) / rms(whole))
            way.decibels.append(20 * math.log10(float(whole.max() - whole.min()) / rms(whole) / apart))
            way.risks.append(reuse.risk if reuse else math.nan)
    return found


def rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def main() -> None:
    print("\nagreement with 25 whole Karras steps; means over photographs, the errors at most")
    print(f"  {'':22}{'time':>6}{'dB':>7}{'error':>9}{'reckoned':>10}")
    for label, way in compare().items():
        numbers = (
            f"{mean(way.costs):6.2f}{mean(way.decibels):7.1f}{max(way.errors):9.4f}{max(way.risks):10.4f}"
        )
        print(f"  {label:22}{numbers}", flush=True)


if __name__ == "__main__":
    main()
