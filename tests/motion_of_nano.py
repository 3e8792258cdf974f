"""What the embedded model's clips of the judging photographs do, by motion bucket, strength and search.

python -m tests.motion_of_nano        prints the tables of the help pages and draws their curves; minutes
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from svd_core import pipeline
from svd_core.checkpoint.load import SVD
from svd_core.control import motion
from svd_core.quality import search
from svd_core.quality.measures import measure
from svd_core.quality.report import Report
from svd_core.training import judge
from svd_core.training.photographs import JUDGING
from tests.pictures import curves

FILE = Path(__file__).resolve().parents[1] / "svd_core" / "nano" / "svd_nano.safetensors"
BUCKETS, STRENGTHS = (1, 64, 127, 191, 255), (0.0, 0.5, 1.0)
FPS = 7
PICTURES = Path(__file__).resolve().parents[1] / "web" / "docs" / "pictures"
HEAD = "svd-nano: speed, picture widths a second"


@dataclass(frozen=True)
class Asked:
    """A clip as the nodes make it: Image to Video, More Motion, Sample Video, Decode Video."""

    photo: str
    bucket: float = 127
    strength: float = 0.0
    seed: int = 0
    size: int = 128


def clip(svd: SVD, asked: Asked):
    """t 3 H W in [0, 1], and the photo 3 H W in [0, 1]"""
    image = judge.photograph(asked.photo, size=asked.size)
    bucket = motion.raised_bucket(asked.bucket, asked.strength)
    svd = replace(svd, preset=replace(svd.preset, motion_bucket_id=bucket))
    cond = pipeline.encode(svd, image, seed=0)
    level = motion.start_level(asked.strength)
    start = (level, motion.colour(cond.concat, svd.preset.frames)) if asked.strength > 0 else None
    z = pipeline.sample(svd, cond, seed=asked.seed, start=start)
    return pipeline.decode(svd, z).add(1).div(2), image[0].add(1).div(2).clamp(0, 1)


def report(svd: SVD, asked: Asked) -> Report:
    frames, photo = clip(svd, asked)
    return measure(frames, fps=FPS, reference=photo)


def searched(svd: SVD, name: str, goal: search.Goal, *, tries: int, size: int = 128, ladder: bool = True):
    """A search as Sample Video Until It Moves does it: the next seed, and the bucket on its way to 255"""

    def attempt(k):
        bucket = search.bucket(127.0, k, tries=tries, side=goal.side) if ladder else 127.0
        asked = Asked(name, bucket=bucket, seed=k, size=size)
        return asked, report(svd, asked)

    return search.search(attempt, goal, tries=tries)


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


def curve(name: str, title: str, asked: dict[float, list[Report]]) -> None:
    """The table's lines, and the picture"""
    for value, reports in asked.items():
        sys.stdout.write(row(f"{value:g}", reports) + "\n")
    speeds = [[r["motion"]["speed"] for r in reports] for reports in asked.values()]
    below = f"{title}; thin: one photograph each"
    curves.draw(PICTURES / name, HEAD, below, list(asked), list(zip(*speeds)))


def main() -> None:
    svd = pipeline.load(FILE)
    by_bucket = {b: [report(svd, Asked(name, bucket=b)) for name in JUDGING] for b in BUCKETS}
    curve("speed_by_bucket.png", "motion_bucket_id", by_bucket)
    by_strength = {
        s: [report(svd, Asked(name, strength=s)) for name in JUDGING] if s else by_bucket[127]
        for s in STRENGTHS
    }
    curve("speed_by_strength.png", "strength of More Motion", by_strength)


if __name__ == "__main__":
    main()
