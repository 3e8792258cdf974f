"""A folder of photos becomes a folder of videos, whose frames are those of single runs."""

import os
import sys

import pytest
from PIL import Image, ImageSequence

from clients import batch, publish
from svd_core import pipeline
from tests.make_checkpoint import write_checkpoint

ROOT = publish.Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    preset = {"name": "tiny", "frames": 2, "width": 64, "height": 64, "steps": 1}
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors", preset=preset)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, color in (("red", "red"), ("sea", "teal")):
        Image.new("RGB", (80, 70), color).save(folder / f"{name}.png")
    return folder


def run(photos, checkpoint, *more):
    out = photos.parent / "out"
    line = [str(photos), "--out", str(out), "--checkpoint", str(checkpoint), "--format", "png"]
    line += ["--workers", "1", *more]
    return batch.main(line), {path.name.rpartition("-")[0]: path for path in results(out)}


def results(out):
    return sorted(path for path in out.iterdir() if (path / publish.NOTE).is_file()) if out.is_dir() else []


def frames(path):
    with Image.open(path) as film:
        return [frame.convert("RGB").tobytes() for frame in ImageSequence.Iterator(film)]


def single(photo, checkpoint, seed=0, **changes):
    """The frames of the README's script."""
    svd = pipeline.load(checkpoint, **changes)
    condition = pipeline.encode(svd, pipeline.open_photo(photo, svd.preset))
    x = pipeline.decode(svd, pipeline.sample(svd, condition, seed=seed))
    path = photo.parent.parent / f"single-{photo.name}"
    pipeline.save(x, path, fps=svd.preset.fps)
    return frames(path)


def test_frames_are_those_of_single_runs(photos, checkpoint, capsys):
    status, made = run(photos, checkpoint)
    assert status == 0
    assert list(made) == ["red", "sea"]
    for name, result in made.items():
        assert frames(result / "video.png") == single(photos / f"{name}.png", checkpoint)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{photos.parent / 'out'}: 2 made; 0:")
    with Image.open(said[1]) as sheet:
        assert sheet.width > 256


def test_seeds_and_settings_multiply_and_are_noted(photos, checkpoint):
    status, _ = run(
        photos / "red.png", checkpoint, "--seeds", "0", "5", "--set", "steps=1", "--set", "steps=2"
    )
    made = results(photos / "out")
    assert status == 0
    notes = [publish.read_note(result) for result in made]
    assert sorted((note["seed"], note["settings"]["steps"]) for note in notes) == [
        (0, 1),
        (0, 2),
        (5, 1),
        (5, 2),
    ]
    (one,) = [
        result for result, note in zip(made, notes) if (note["seed"], note["settings"]["steps"]) == (5, 1)
    ]
    assert frames(one / "video.png") == single(photos / "red.png", checkpoint, seed=5, steps=1)


def test_starting_again_makes_what_is_missing_and_nothing_else(photos, checkpoint, capsys):
    run(photos, checkpoint)
    before = {
        path: path.stat().st_mtime_ns
        for result in results(photos.parent / "out")
        for path in result.iterdir()
    }
    Image.new("RGB", (80, 70), "navy").save(photos / "new.png")
    capsys.readouterr()
    status, made = run(photos, checkpoint)
    assert status == 0
    assert list(made) == ["new", "red", "sea"]
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    assert "1 made, 2 there before;" in capsys.readouterr().out


def test_photo_that_is_none_is_said_and_the_others_are_made(photos, checkpoint, capsys):
    (photos / "broken.jpg").write_bytes(b"not a picture")
    status, made = run(photos, checkpoint)
    assert status == 1
    assert list(made) == ["red", "sea"]
    found = capsys.readouterr()
    assert "broken.jpg: it cannot be read as a picture; give a whole" in found.err
    assert "2 made, 1 failed;" in found.out


@pytest.mark.slow
def test_every_format_is_written(photos, checkpoint):
    pytest.importorskip("av")
    for form in ("webp", "gif", "mp4", "frames"):
        line = [str(photos / "red.png"), "--out", str(photos / form), "--checkpoint", str(checkpoint)]
        assert batch.main([*line, "--workers", "1", "--format", form]) == 0
        (result,) = results(photos / form)
        names = [path.name for path in publish.files_of(result) if path.name != "still.jpg"]
        assert names == ([f"{i + 1:05}.png" for i in range(2)] if form == "frames" else [f"video.{form}"])
        assert publish.read_note(result)["files"] == sorted([*names, "still.jpg"])


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--set", "step=3"], "step is not a setting; choose from frames, width,"),
        (["--set", "steps=many"], "steps = many; allowed: 1 to 1000"),
        (["--set", "width=100"], "width 100 is not a multiple of 64; use 64"),
        (["--checkpoint", "gone.safetensors"], "gone.safetensors"),
        (["--out", __file__], "is a file; give a folder"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_what_cannot_be_used_is_one_sentence(photos, checkpoint, capsys, more, sentence):
    status, made = run(photos, checkpoint, *more)
    assert (status, made) == (1, {})
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_disk_that_takes_no_more_ends_the_run(photos, checkpoint, capsys, monkeypatch):
    def full(self, name, files, note):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(publish.Folder, "publish", full)
    status, made = run(photos, checkpoint)
    assert (status, made) == (1, {})
    assert "(No space left on device); make room, then start again" in capsys.readouterr().err


def test_without_ray_more_workers_are_refused_in_a_sentence(photos, checkpoint, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(photos, checkpoint, "--workers", "2")[0] == 1
    assert "pip install -r requirements-ray.txt, or leave out" in capsys.readouterr().err
