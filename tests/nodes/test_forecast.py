"""What a run says before it begins: memory against the measured peak, time against the clock, and refusal."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
HERE = Path(__file__).resolve()
MAPPED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
SIZES = [(14, 320, 192), (8, 256, 256), (4, 512, 320), (25, 256, 192), (10, 192, 320)]  # frames, pixels


@pytest.fixture
def guider(host, ours, describe, photo):
    positive, negative, _ = (item[0] for item in describe(ours, photo))

    def make(low, high, **shape):
        shape = host.pack("svd_core.sampling.guidance").Shape(**shape)
        scales = lambda t: torch.linspace(low, high, t)  # noqa: E731
        return host.pack("nodes.host.guider").make_guider(ours.model, positive, negative, scales, shape)

    return make


@pytest.fixture
def shown(host, monkeypatch):
    """The texts that the node showed."""
    texts = []
    monkeypatch.setattr(host.pack("nodes.host.forecast"), "show", texts.append)
    return texts


def test_line_is_on_the_node_before_the_first_step_and_the_time_after_two(host, ours, video, photo, shown):
    ran = []
    clone = ours.model.clone()

    def count(run, options):
        ran.append(len(shown))
        return run(options["input"], options["timestep"], **options["c"])

    clone.set_model_unet_function_wrapper(count)
    video(ours, photo, model=clone, steps=4)
    assert ran[0] == 1, "said before the first pass"
    assert shown[0].startswith("tiny · 64x64 · 4 frames · 7 fps · 4 steps · guided step ")
    assert shown[0].endswith(" free")
    assert [text.removeprefix(shown[0])[:8] for text in shown[1:]] == [" · about", " · took "]


def test_unguided_run_makes_one_pass_a_step(guider):
    sigmas = torch.tensor([700.0, 30.0, 1.0, 0.0])
    assert guider(1.0, 2.5).passes(sigmas, 4) == [2, 2, 2]
    assert guider(1.0, 1.0).passes(sigmas, 4) == [1, 1, 1]
    assert guider(1.0, 2.5, from_level=100.0, to_level=2.0).passes(sigmas, 4) == [1, 2, 1]


@pytest.fixture
def forecast(host):
    module = host.pack("nodes.host.forecast")
    gib = 2**30
    return module.Forecast(
        "svd_xt", 1024, 576, 25, 7.0, 30, True, int(5.5 * gib), int(11 * gib), int(7.1 * gib)
    )


def test_line_names_size_length_memory_and_what_is_free(forecast):
    wanted = (
        "svd_xt · 1024x576 · 25 frames · 7 fps · 30 steps · guided step 11 GiB, in two passes 5.5 · 7.1 free"
    )
    assert str(forecast) == wanted
    assert str(replace(forecast, guided=False)).endswith("30 steps · a step 5.5 GiB · 7.1 free")
    assert str(replace(forecast, one=0)).endswith("30 steps")


def test_what_does_not_fit_is_refused_with_what_would(forecast):
    forecast.check()
    tight = replace(forecast, free=2**31)
    with pytest.raises(
        ValueError, match="needs 5.5 GiB of memory, 2.0 GiB are free; use 576x320 or 9 frames$"
    ):
        tight.check()
    assert 5.5 * (576 * 320) / (1024 * 576) <= 2
    assert 5.5 * 9 / 25 <= 2
    with pytest.raises(ValueError, match="free some memory, or use a GPU$"):
        replace(forecast, free=0).check()


def test_refusal_comes_before_any_weight_is_moved(host, ours, video, photo, monkeypatch):
    moved = []
    monkeypatch.setattr(host.pack("nodes.host.forecast"), "usable", lambda device: 1000)
    management = sys.modules["comfy.model_management"]
    monkeypatch.setattr(management, "load_models_gpu", lambda *args, **kwargs: moved.append(args))
    conditioning = [[torch.zeros(1, 1, 64), {"fps": 7}]], [[torch.zeros(1, 1, 64), {}]]
    with pytest.raises(ValueError, match="GiB are free; "):
        video(ours, photo, conditioning=[*conditioning, {"samples": torch.zeros(4, 4, 8, 8)}])
    assert moved == []


@pytest.mark.parametrize("passes", [[2] * 20, [1] * 5 + [2] * 10 + [1] * 5])
def test_time_left_is_right_after_a_quarter(host, passes):
    """A first step that takes four times as long, as one that loads does, and steps that vary by 10 %."""
    ends, now = [], 0.0
    for i, count in enumerate(passes):
        now += count * (8.0 if i == 0 else 2.0 + 0.2 * (-1) ** i)
        ends.append(now)
    moments = iter([0.0, *ends])
    clock = host.pack("nodes.host.forecast").Clock(passes, now=lambda: next(moments))
    left = [clock.step() for _ in passes]
    assert left[0] is None
    for i in range(len(passes) // 4, len(passes) - 1):
        assert left[i] == pytest.approx(ends[-1] - ends[i], rel=0.2)
    assert left[-1] == 0


@pytest.mark.slow  # five fresh processes, each with a host of its own
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_memory_line_is_within_15_percent_of_the_measured_peak(size):
    """A guided step of a network of the released shape, a fifth as wide, in float32. Blocks as large as those
    of a full-size step are mapped one by one and given back at once; the threshold makes small ones so too.
    """
    line = [sys.executable, str(HERE.with_name("measure_step.py")), *map(str, size)]
    done = subprocess.run(line, capture_output=True, text=True, env=os.environ | MAPPED)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["said"] == pytest.approx(found["peak"], rel=0.15), found
