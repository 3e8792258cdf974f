"""Searching for motion in the host: one try is Sample Video, seeds follow one another,
ladders change what they say.
"""

import json

import pytest
import torch

from tests.nodes.conftest import Trio

SAMPLING = dict(
    seed=3, steps=2, min_cfg=1.0, max_cfg=1.0, curve="constant", schedule="karras", sampler="euler"
)
GOAL = dict(target=0.0, goal="at least", of="all", tries=1, ladder="seed", fps=0.0)


@pytest.fixture(scope="module")
def conditioning(ours, photo, describe):
    return [item[0] for item in describe(ours, photo, frames=2)]


@pytest.fixture
def run(host, ours, conditioning):
    def execute(node="PureSVDSampleUntil", **changes):
        given = dict(zip(("positive", "negative", "latent"), conditioning))
        given |= {"model": ours.model, **SAMPLING}
        if node == "PureSVDSampleUntil":
            given |= {"vae": ours.vae, **GOAL}
        out = host.run(node, **given | changes)
        return out if node == "PureSVDSample" else (out[0]["samples"], out[1], json.loads(out[2]))

    return execute


@pytest.fixture
def scored(host, monkeypatch):
    """scored(speeds): the tries measure as these, whatever they show; returns what was sampled."""
    module = host.pack("nodes.sample")

    def replace(speeds):
        left = iter(speeds)
        motion = {"camera": 0.0, "object": 0.0, "explained": 0.9}
        monkeypatch.setattr(module, "measure", lambda *a, **k: {"motion": {"speed": next(left), **motion}})
        told, real = [], module.PureSVDSample.execute

        def note(model, positive, negative, latent, seed, *rest, **named):
            told.append((seed, positive[0][1]["motion_bucket_id"], latent.get("start_level")))
            return real(model, positive, negative, latent, seed, *rest, **named)

        monkeypatch.setattr(module.PureSVDSample, "execute", note)
        return told

    return replace


def test_one_try_is_sample_video(run):
    samples, seed, report = run(target=10.0)
    assert torch.equal(samples, run("PureSVDSample")[0]["samples"])
    assert seed == 3
    assert report["met"] is False
    assert [t["seed"] for t in report["tries"]] == [3]


def test_it_stops_at_the_first_hit_and_returns_that_seed(run, scored):
    told = scored([0.01, 0.2, 0.3])
    samples, seed, report = run(target=0.1, tries=3)
    assert [t[0] for t in told] == [3, 4]
    assert (seed, report["met"], [t["score"] for t in report["tries"]]) == (4, True, [0.01, 0.2])
    assert torch.equal(samples, run("PureSVDSample", seed=4)[0]["samples"])


def test_the_nearest_comes_out_where_none_hits(run, scored):
    scored([0.01, 0.05, 0.02])
    _, seed, report = run(target=0.1, tries=3)
    assert (seed, report["seed"], report["met"]) == (4, 4, False)


def test_ladders_change_bucket_or_start_level(run, scored, conditioning):
    told = scored([0.0, 0.0, 0.0])
    run(target=1.0, tries=3, ladder="seed and bucket")
    assert told == [(3, 127, None), (4, 191, None), (5, 255, None)]
    told = scored([0.0, 0.0, 0.0])
    run(target=1.0, tries=3, ladder="seed and start level")
    assert told == [(3, 127, None), (4, 127, 300.0), (5, 127, 100.0)]
    assert conditioning[0][0][1]["motion_bucket_id"] == 127  # the graph's own stays as it is


def test_the_last_seed_is_followed_by_the_first(run, scored):
    told = scored([0.0, 0.0])
    run(target=1.0, tries=2, seed=2**64 - 1)
    assert [t[0] for t in told] == [2**64 - 1, 0]


def test_cancel_stops_it(run):
    import comfy.model_management as mm

    mm.interrupt_current_processing()
    with pytest.raises(mm.InterruptProcessingException):
        run()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"target": float("nan")}, "target is nan; use a speed"),
        ({"ladder": "seed and start level", "goal": "at most"}, "the goal is at most; use the ladder seed"),
        ({"latent": {"samples": torch.zeros(1, 16, 8, 8)}}, "a Stable Video Diffusion latent is"),
    ],
)
def test_goals_that_mean_nothing_are_refused(run, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(**changes)


@pytest.mark.slow
def test_a_given_speed_is_reached_on_the_judging_photographs(host, describe):
    """A third faster than the embedded model moves by itself at 128 x 128, on 7 of 8 at least."""
    for package in ("skimage", "sklearn"):
        pytest.importorskip(package)
    from svd_core.training import judge
    from svd_core.training.photographs import JUDGING

    name = "svd-nano (embedded)"
    trio = Trio(*host.run("PureSVDLoadCheckpoint", ckpt_name=name, weight_dtype="fp32"))
    as_trained = dict.fromkeys(("curve", "schedule", "sampler"), "as trained")
    given = {"model": trio.model, "vae": trio.vae, "seed": 1, "steps": 0, "min_cfg": 1.0, "max_cfg": 1.0}
    given |= as_trained | {"goal": "at least", "of": "all", "target": 0.08, "tries": 6, "fps": 0.0}
    found = []
    for photograph in JUDGING:
        photo = judge.photograph(photograph, size=128).add(1).div(2).movedim(1, -1)
        told = [item[0] for item in describe(trio, photo, width=128, height=128, frames=14)]
        sockets = dict(zip(("positive", "negative", "latent"), told))
        *_, report = host.run("PureSVDSampleUntil", **given, **sockets, ladder="seed and bucket")
        found.append(json.loads(report))
    met = [report["met"] for report in found]
    assert sum(met) >= 7, [(report["met"], [t["score"] for t in report["tries"]]) for report in found]
