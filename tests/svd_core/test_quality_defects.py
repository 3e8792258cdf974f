"""Twelve defects in five grades: the measure that is meant for each follows its strength;
what the others do is printed.
"""

import math
import sys
from functools import cache

import pytest
import torch

from svd_core.quality.measures import measure

from . import clips

MEANT = [path for _, path in clips.DEFECTS]
NAMES = [defect.__name__ for defect, _ in clips.DEFECTS]
SEEDS, MIDDLE = (0, 1, 2), 3
FRAMES = 11  # what the fifth grade of a freeze needs
FALLS = ("detail.sharpness", "motion.followed")


@cache
def untouched(looped, seed, frames):
    """Measures of the clean clip, which most defects share at grade 0."""
    return read(
        clips.loop_offset(clips.clean(seed, frames), 0, None) if looped else clips.clean(seed, frames)
    )


def measured(defect, grade, seed, frames=FRAMES):
    """All the measures that are meant for something, and the speed, by path."""
    if not grade:
        return untouched(defect is clips.loop_offset, seed, frames)
    return read(clips.damaged(defect, grade, seed, frames))


def read(x):
    report = measure(x, fps=7, loop=True)
    return {path: clips.value(report, path) for path in [*MEANT, "motion.speed"]}


def ranks(values):
    """Ranks, equal values sharing the mean of theirs."""
    return [sum(v < w for v in values) + (sum(v == w for v in values) - 1) / 2 for w in values]


def correlation(a, b):
    """Spearman's"""
    p, q = (torch.tensor(ranks(list(map(float, v)))) for v in (a, b))
    p, q = p - p.mean(), q - q.mean()
    return float((p * q).sum() / (p.norm() * q.norm()).clamp(min=1e-12))


def median(values):
    return sorted(values)[len(values) // 2]


@pytest.fixture(scope="module")
def cleans():
    return {looped: measured(clips.loop_offset if looped else None, 0, 0, 8) for looped in (False, True)}


@pytest.mark.parametrize(("defect", "path"), clips.DEFECTS, ids=NAMES)
def test_a_defect_shows_in_the_measure_that_is_meant_for_it(defect, path, cleans):
    before = cleans[defect is clips.loop_offset][path]
    after = measured(defect, 2, 0, 8)[path]
    if path in FALLS:
        assert after < 0.9 * before
    else:
        assert after > 1.5 * before + 1e-4


@pytest.fixture(scope="module")
def graded():
    """(defect, grade, seed) -> measures by path"""
    return {
        (name, grade, seed): measured(defect, grade, seed)
        for name, (defect, _) in zip(NAMES, clips.DEFECTS)
        for seed in SEEDS
        for grade in range(clips.GRADES + 1)
    }


@pytest.mark.slow
def test_measures_rank_the_strength_of_their_defects(graded):
    found = {
        name: [
            correlation(grades := range(clips.GRADES + 1), [graded[name, k, seed][path] for k in grades])
            * (-1 if path in FALLS else 1)
            for seed in SEEDS
        ]
        for name, path in zip(NAMES, MEANT)
    }
    sys.stdout.write("\n" + table(graded, found))
    assert {name: values for name, values in found.items() if median(values) < 0.95} == {}


def table(graded, found):
    """Markdown: change of each measure at the middle grade, in % of what its own defect does to it;
    speed in % of itself.
    """

    def change(name, path):
        return median([graded[name, MIDDLE, s][path] - graded[name, 0, s][path] for s in SEEDS])

    own = dict(zip(MEANT, (change(name, path) for name, path in zip(NAMES, MEANT))))
    lines = [
        "| defect | rank correlation | " + " | ".join([*MEANT, "motion.speed"]) + " |",
        "|---" * 15 + "|",
    ]
    for name in NAMES:
        speed = median([graded[name, 0, s]["motion.speed"] for s in SEEDS])
        cells = [f"{100 * change(name, path) / own[path]:.0f}" for path in MEANT]
        cells += [f"{100 * change(name, 'motion.speed') / speed:+.0f} %"]
        lines.append(f"| {name} | {median(found[name]):.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def test_equal_values_share_their_rank():
    assert ranks([3.0, 1.0, 3.0]) == [1.5, 0.0, 1.5]
    assert math.isclose(correlation([1, 2, 3], [2, 4, 9]), 1, rel_tol=1e-6)  # float32
