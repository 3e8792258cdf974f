"""Search for motion with a sampler whose score is known: stopping, the best of all, the ladders."""

import math

import pytest

from svd_core.quality import search as core
from svd_core.quality.search import Goal, search


def report(speed, explained=0.9):
    return {"motion": {"speed": speed, "camera": speed / 2, "object": 3 * speed, "explained": explained}}


def run(reports, **goal):
    asked = []

    def attempt(k):
        asked.append(k)
        return f"clip {k}", reports[k]

    return search(attempt, Goal(**goal), tries=len(reports)), asked


def test_it_stops_at_the_first_hit():
    state, asked = run([report(v) for v in (0.01, 0.03, 0.09)], target=0.02)
    assert (state.found, state.met, asked, state.scores) == ("clip 1", True, [0, 1], [0.01, 0.03])


@pytest.mark.parametrize(("side", "best"), [("at least", "clip 2"), ("at most", "clip 0")])
def test_the_nearest_is_kept_where_none_hits(side, best):
    speeds, target = ((0.01, 0.005, 0.015, 0.015), 0.02) if side == "at least" else ((0.03, 0.08, 0.05), 0.02)
    state, asked = run([report(v) for v in speeds], target=target, side=side)
    assert (state.found, state.met, len(asked)) == (best, False, len(speeds))


def test_what_is_not_motion_is_neither_hit_nor_best():
    state, _ = run([report(0.05, explained=0.1), report(0.001), report(0.05, explained=0.0)], target=0.02)
    assert (state.found, state.met, state.scores) == ("clip 1", False, [None, 0.001, None])
    still, _ = run([report(0.0, explained=None)], target=0.0, side="at most")
    assert still.met
    broken, _ = run([report(0.0, explained=0.1)], target=0.1, side="at most")
    assert (broken.met, broken.found) == (False, "clip 0")


def test_a_clip_that_is_all_cuts_does_not_pass_for_a_still():
    cuts = {**report(0.0, explained=None), "cuts": [1, 2], "frames": 3}
    state, _ = run([cuts], target=0.1, side="at most")
    assert (state.met, state.scores) == (False, [None])
    state, _ = run([{**cuts, "cuts": [1]}], target=0.1, side="at most")
    assert state.met


@pytest.mark.parametrize(("of", "met"), [("all", False), ("camera", False), ("objects", True)])
def test_the_score_is_of_what_was_asked_for(of, met):
    state, _ = run([report(0.01)], target=0.02, of=of)
    assert state.met == met


def test_ladders_begin_where_the_user_stands():
    up = [core.bucket(127, k, tries=4, side="at least") for k in range(4)]
    assert up == pytest.approx([127, 127 + 128 / 3, 127 + 256 / 3, 255])
    assert [core.bucket(127, k, tries=3, side="at most") for k in range(3)] == [127, 64, 1]
    assert core.bucket(400, 3, tries=4, side="at least") == 400
    assert core.bucket(90, 0, tries=1, side="at least") == 90
    assert [core.level(None, k) for k in range(6)] == [None, 300, 100, 70, 50, 50]
    assert [core.level(90.0, k) for k in range(4)] == [90, 90, 90, 70]


@pytest.mark.parametrize("goal", [{"target": math.nan}, {"target": -1.0}, {"target": 1.0, "of": "cats"}])
def test_goals_that_mean_nothing_are_refused(goal):
    with pytest.raises(ValueError, match="; use "):
        Goal(**goal)
    with pytest.raises(ValueError, match="tries is 0; use 1 or more"):
        search(lambda k: None, Goal(1.0), tries=0)
