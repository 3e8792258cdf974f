"""The page that people paste into issues: what it says, and that its ways agree."""

import math
import os
import subprocess
import sys

import pytest

from scripts import cache, report, report_page
from tests.conftest import NANO

ABOUT = {
    "file": "svd.safetensors, 9.56 GB",
    "what": ["svd | of a friend", "stored as: float16 (2)"],
    "device": "a GPU, 24.0 GiB",
    "system": "Linux",
    "versions": {"PureSVD": "0.1.0", "torch": "2.11.0"},
}
FULL_WIDTH = """
import sys, torch
from svd_core.models.configs import CLIPConfig, UNetConfig, VAEConfig
from tests.make_checkpoint import write_checkpoint
unet = UNetConfig(320, (1, 2, 4, 4), 2, (True, True, True, False), 1024, 768)
vae = VAEConfig(128, (1, 2, 4, 4), 2, 4, True, True, True, False, False)
clip = CLIPConfig(width=1280, layers=32, mlp=5120, patch=14, projection=1024)
write_checkpoint(sys.argv[1], dtype=torch.float16, preset=None, unet=unet, vae=vae, clip=clip)
"""
JOB = {"frames": 2, "width": 64, "height": 64, "steps": 1, "min_cfg": 1.0, "max_cfg": 2.5}


def way(name, seconds=2.0, peak=2**30, error=None, **changes):
    errors = {} if error is None else dict.fromkeys(report_page.RESULTS, error)
    costs = dict.fromkeys(report_page.STAGES, seconds)
    peaks = dict.fromkeys(report_page.STAGES, peak)
    found = dict(name=name, seconds=costs, peaks=peaks, errors=errors, notes=[], dtype="float32", failed="")
    return {**found, **changes}


def test_where_all_is_as_it_should_be_the_page_says_so():
    text = report_page.page(ABOUT, JOB, [way("native"), way("PureSVD", error=1e-5)])
    assert "Differs more than it should\n\nNothing." in text
    assert "| sample | 2.00 s, 1.00 GiB | 2.00 s, 1.00 GiB |" in text
    assert "| latent | - | 1.0e-05 |" in text
    assert "svd / of a friend" in text, "a bar would end the cell"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(error=2e-4), "latent differs by 2.0e-04; 1e-04 is allowed"),
        (dict(error=math.nan), "frames differs by nan"),
        (dict(seconds=2.7), "sample takes 2.70 s, native 2.00 s"),
        (dict(peak=2**31), "decode peaks at 2.00 GiB, native at 1.00 GiB"),
        (dict(failed="decode: no"), "PureSVD did not finish: decode: no"),
    ],
)
def test_what_should_not_be_is_said(changes, said):
    assert any(said in line for line in report_page.differences([way("native"), way("PureSVD", **changes)]))


def test_half_precision_may_differ_by_more_and_small_times_by_any_factor():
    ways = [way("native", seconds=0.1), way("PureSVD", seconds=0.5, error=0.01, dtype="float16")]
    assert report_page.differences(ways) == []
    assert report_page.differences([ways[0], {**ways[1], "dtype": "float32"}])


def test_the_ways_agree_on_the_embedded_model(host, tmp_path):
    """In this process; float32, so what is left is rounding."""
    stages = pytest.importorskip("benchmarks.stages")
    other = pytest.importorskip("benchmarks.stages_diffusers")
    file = host.base / "models" / "checkpoints" / "report.safetensors"
    file.symlink_to(NANO)
    given = dict(checkpoint=file, job=stages.Job(2, 64, 64, 1))
    try:
        native = stages.walk(stages.native, stages.Way("native"), tmp_path, run=host.run, **given)
        ours = stages.walk(
            stages.ours, stages.Way("PureSVD", dtype="float32"), tmp_path, run=host.run, **given
        )
        theirs = stages.walk(other.steps, stages.Way("diffusers"), tmp_path, **given)
        half = stages.walk(other.steps, stages.Way("diffusers", dtype="bfloat16"), tmp_path, **given)
    finally:
        file.unlink()
    assert [way.failed for way in (native, ours, theirs, half)] == [""] * 4
    assert list(native.seconds) == list(ours.seconds) == list(report_page.STAGES)
    assert list(ours.errors) == list(report_page.RESULTS)
    assert 0 < max(ours.errors.values()) <= 1e-4
    assert theirs.errors["latent"] <= 1e-4 < half.errors["latent"] <= report_page.ALLOWED["bfloat16"] / 2


def test_a_failure_is_a_line_on_the_page(tmp_path):
    stages = pytest.importorskip("benchmarks.stages")

    def steps(way, first):
        with way.stage("decode"):
            raise MemoryError("no room\nhere")

    assert stages.walk(steps, stages.Way("native"), tmp_path).failed == "decode: MemoryError: no room"


@pytest.mark.parametrize("size", ["512", "512x290", "ax8"])
def test_a_size_that_cannot_be_is_refused(size, capsys):
    with pytest.raises(SystemExit):
        report.parsed(["file", "--size", size])
    assert "give two multiples of 8" in capsys.readouterr().err


def page(checkpoint, *options):
    line = [sys.executable, str(cache.ROOT / "scripts" / "report.py"), str(checkpoint), *options]
    env = {**os.environ, "PURESVD_PYTHON": sys.executable, "COMFYUI_PATH": os.environ["PURESVD_HOST"]}
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.slow  # three processes that load torch
@pytest.mark.host
def test_the_command_prints_a_page_about_the_embedded_model(tmp_path):
    out = tmp_path / "page.md"
    text = page(NANO, "--size", "64x64", "--frames", "2", "--steps", "1", "--out", str(out))
    assert text.endswith(out.read_text(encoding="utf-8") + "\n")
    assert "did not finish" not in text
    assert str(NANO.parent) not in text
    assert "| latent | - | " in text


@pytest.mark.slow  # writes 4.8 GB and runs 1.5 billion parameters in float32, needs 16 GiB
@pytest.mark.host
def test_the_command_prints_a_page_about_a_full_width_file(tmp_path, record_property):
    file = tmp_path / "svd_random.safetensors"
    subprocess.run([sys.executable, "-c", FULL_WIDTH, str(file)], cwd=cache.ROOT, check=True)
    try:
        text = page(file, "--size", "64x64", "--frames", "2", "--steps", "1")
    finally:
        file.unlink()
    record_property("page", text)
    assert "did not finish" not in text
    assert "differs by" not in text
    assert "its loader does not" not in text
