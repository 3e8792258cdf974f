"""What the embedded model's clips of the judging photographs do, by motion bucket, strength and guidance.

python -m tests.motion_of_nano        prints the tables of the help pages and draws the curve; minutes
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from svd_core import pipeline
from svd_core.checkpoint.load import SVD
from svd_core.control import motion
from svd_core.quality.measures import measure
from svd_core.quality.report import Report
from svd_core.sampling.guidance import PLAIN, Shape
from svd_core.training import judge
from svd_core.training.photographs import JUDGING
from tests.pictures import curves

FILE = Path(__file__).resolve().parents[1] / "svd_core" / "nano" / "svd_nano.safetensors"
BUCKETS, STRENGTHS = (1, 64, 127, 191, 255), (0.0, 0.5, 1.0)
SCALES = (1.0, 1.5, 2.0, 3.0, 5.0)
SHAPES = {
    "`eta` 0": Shape(eta=0.0),
    "`limit` 0.05": Shape(limit=0.05),
    "levels 100 to 0.3": Shape(from_level=100.0, to_level=0.3),
}
FPS = 7
PICTURE = Path(__file__).resolve().parents[1] / "web" / "docs" / "pictures" / "speed_by_strength.png"


@dataclass(frozen=True)
class Asked:
    """A clip as the nodes make it: Image to Video, More Motion, Sample Video, Decode Video."""

    photo: str
    bucket: float = 127
    strength: float = 0.0
    seed: int = 0
    size: int = 128
    scale: float | None = None  # of guidance, for every frame; None: the checkpoint's own curve
    shape: Shape = PLAIN


def clip(svd: SVD, asked: Asked):
    """t 3 H W in [0, 1], and the photo 3 H W in [0, 1]"""
    image = judge.photograph(asked.photo, size=asked.size)
    bucket = motion.raised_bucket(asked.bucket, asked.strength)
    values: dict[str, Any] = {"motion_bucket_id": bucket}
    if asked.scale is not None:
        values |= {"curve": "constant", "min_cfg": asked.scale, "max_cfg": asked.scale}
    svd = replace(svd, preset=replace(svd.preset, **values))
    cond = pipeline.encode(svd, image, seed=0)
    level = motion.start_level(asked.strength)
    start = (level, motion.colour(cond.concat, svd.preset.frames)) if asked.strength > 0 else None
    z = pipeline.sample(svd, cond, seed=asked.seed, shape=asked.shape, start=start)
    return pipeline.decode(svd, z).add(1).div(2), image[0].add(1).div(2).clamp(0, 1)


def report(svd: SVD, asked: Asked) -> Report:
    frames, photo = clip(svd, asked)
    return measure(frames, fps=FPS, reference=photo)


def row(name: str, reports: Iterable[Report]) -> str:
    """A line of a table: means over the photographs"""
    found = list(reports)
    speeds = [r["motion"]["speed"] for r in found]
    known = [r["motion"]["explained"] for r in found if r["motion"]["explained"] is not None]
    first = mean(r["photo"]["psnr_first"] for r in found)
    return (
        f"| {name} | {mean(speeds):.4f} | {min(speeds):.4f} to {max(speeds):.4f} | "
        f"{mean(r['motion']['camera'] for r in found):.4f} | {first:.1f} dB | {mean(known):.2f} |"
    )


def guided_row(name: str, reports: list[Report]) -> str:
    """A line of the guidance table: means over the photographs"""

    def of(group: str, key: str) -> float:
        return mean(r[group][key] for r in reports)

    return (
        f"| {name} | {of('motion', 'speed'):.4f} | {of('photo', 'psnr_first'):.1f} dB | "
        f"{of('detail', 'sharpness'):.2f} | {100 * of('detail', 'clipped'):.1f} % |"
    )


def guided(svd: SVD) -> None:
    """Scales, then ways to shape the highest"""
    asked = {f"{s:g}": {"scale": s} for s in SCALES} | {
        f"{SCALES[-1]:g}, {name}": {"scale": SCALES[-1], "shape": shape} for name, shape in SHAPES.items()
    }
    for title, how in asked.items():
        sys.stdout.write(guided_row(title, [report(svd, Asked(name, **how)) for name in JUDGING]) + "\n")


def main() -> None:
    svd = pipeline.load(FILE)
    guided(svd)
    asked = {f"bucket {b}": {"bucket": b} for b in BUCKETS} | {
        f"strength {s}": {"strength": s} for s in STRENGTHS
    }
    found = {title: [report(svd, Asked(name, **how)) for name in JUDGING] for title, how in asked.items()}
    for title, reports in found.items():
        sys.stdout.write(row(title, reports) + "\n")
    speeds = [[r["motion"]["speed"] for r in found[f"strength {s}"]] for s in STRENGTHS]
    below = "strength of More Motion; thin: one photograph each"
    curves.draw(PICTURE, "svd-nano: speed, picture widths a second", below, STRENGTHS, list(zip(*speeds)))


if __name__ == "__main__":
    main()
