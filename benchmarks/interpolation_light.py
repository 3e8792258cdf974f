"""Scene cuts told from fast motion and flashes, and flicker taken out: counts and decibels."""

from __future__ import annotations

import math
from itertools import combinations, islice

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.interpolation_clips import TUNED, H, W, letterboxed, overlaid, texture, view
from svd_core.frames.between import by_flow
from svd_core.frames.cuts import is_cut
from svd_core.frames.deflicker import deflicker
from svd_core.frames.flow import QUALITIES
from svd_core.frames.video import interpolate

Clips = list[tuple[str, Tensor]]
NUMBER = 50
PERIODS = (2.5, 4.0, 6.0)  # frames


def cuts(clips: Clips) -> None:
    """Pairs of different scenes, and of one scene: in fast motion, as filmed, and under a flash"""
    pictures = [F.interpolate(x[4:5], size=(H, W), mode="bilinear") for name, x in clips if name in TUNED]
    pictures += [view(texture(s)) for s in range(60, 80)]
    pairs = list(combinations(pictures, 2))
    joined = list(islice(pairs, 0, None, max(1, len(pairs) // NUMBER)))[:NUMBER]
    pans = [(view(texture(s)), view(texture(s), dx=W * (0.1 + 0.006 * s))) for s in range(NUMBER)]
    steps = [(x[i : i + 1], x[i + 2 : i + 3]) for _, x in clips for i in range(0, len(x) - 2, 2)]
    flashes = [(x[4:5], (x[6:7] * 1.5 + 0.2).clamp(0, 1)) for _, x in clips]
    print("\npairs taken for a cut, of all")
    for name, found in (
        ("cuts", joined),
        ("cuts, letterboxed", [(letterboxed(a), letterboxed(b)) for a, b in joined]),
        ("cuts under an overlay", [(overlaid(a), overlaid(b)) for a, b in joined]),
        ("pans of 10 to 40 % of the width", pans),
        ("neighbours in the clips", steps),
        ("flashes", flashes),
    ):
        print(f"  {name:34} {sum(is_cut(a, b) for a, b in found):4} of {len(found)}")


def light(x: Tensor) -> None:
    """Share of a body's light in the darkest frame made between every other one: t 3 H W, black around"""
    print("\nlight of a fast bright body that made frames keep, at least")
    whole = float(x.sum((1, 2, 3)).mean())
    for name in QUALITIES:
        made = interpolate(x[::2], source_fps=1, target_fps=2, between=by_flow(name))[1::2]
        print(f"  {name:34} {100 * float(made.sum((1, 2, 3)).min()) / whole:6.1f} %")


def departure(x: Tensor, clean: Tensor) -> float:
    """Unsteadiness of the mean of frames beside that of the clean clip"""
    d = (x - clean).mean((2, 3))
    return float((d - d.mean(0)).square().mean().sqrt())


def flicker(clips: Clips) -> None:
    """A sinusoid on gain is injected and removed; and what removal does to a clip that has none"""
    print(
        "\nflicker of 10 % removed, in dB: periods of",
        *PERIODS,
        "frames; largest change of a clip without any",
    )
    for name, x in clips:
        row = []
        for period in PERIODS:
            clean = 0.8 * x
            wave = 1 + 0.1 * torch.sin(2 * math.pi * torch.arange(len(x)) / period).view(-1, 1, 1, 1)
            dirty = (clean * wave).clamp(0, 1)
            row.append(20 * math.log10(departure(dirty, clean) / departure(deflicker(dirty), clean)))
        change = float((deflicker(x) - x).abs().max())
        print(f"  {name:34.34}" + "".join(f"{v:7.1f}" for v in row) + f"{100 * change:8.2f} %")
