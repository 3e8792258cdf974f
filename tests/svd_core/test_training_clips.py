"""Clips from a folder of videos: cuts, cameras and speeds that are known, and labels that survive a kill."""

import json
import math
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("av")
from svd_core.checkpoint.load import load
from svd_core.checkpoint.read import read as read_checkpoint
from svd_core.quality import read
from svd_core.training import adapt, clips, collection, labels, scan, shots
from svd_core.training.camera import MOVEMENTS, WIDTH, motion_bucket
from tests.make_checkpoint import write_checkpoint

from . import films
from .clips import clean

SIZE, FPS = (96, 64), 24.0
ALL = ["--drop-motion", "0", "--drop-sharpness", "0"]
SMALL = ["--width", "96", "--height", "64", "--fps", "12", "--frames", "5", *ALL]


def no_scenedetect(monkeypatch):
    monkeypatch.setattr(shots, "has_scenedetect", lambda: False)


def make(folder, names, *, seed=0, frames=14, pace=0.012, size=SIZE, fps=FPS):
    """A video of one shot for each name; returns the cuts and what is true of each shot"""
    parts = [films.shot(seed + 7 * k, n, frames=frames, pace=pace, size=size) for k, n in enumerate(names)]
    folder.mkdir(exist_ok=True)
    path = films.write(folder / f"{seed}.mp4", torch.cat([x for x, _ in parts]), fps=fps)
    cuts = [(k * frames - 1, k * frames) for k in range(1, len(names))]
    return path, cuts, [(name, speed and speed * fps) for name, (_, speed) in zip(names, parts)]


def labelled(folder, out, *more, on_step=None):
    said = []
    clips.run([str(folder), "--out", str(out), *more], on_step=on_step, say=said.append)
    return collection.read(out / "clips.jsonl"), said


def found_cuts(out):
    return {tuple(c) for f in (out / "sources").glob("*.json") for c in json.loads(f.read_text())["cuts"]}


def compare(records, truth):
    """Shares of right cameras, and the largest relative error of a speed"""
    right = [r["camera"] == name for r, (name, _) in zip(records, truth, strict=True)]
    wrong = [abs(r["speed"] / speed - 1) for r, (_, speed) in zip(records, truth) if speed]
    return sum(right) / len(right), max(wrong, default=0.0)


def test_shots_cameras_and_speeds_are_found_and_a_stop_changes_nothing(tmp_path, monkeypatch):
    no_scenedetect(monkeypatch)
    folder, truth = tmp_path / "films", []
    for seed, names in enumerate((("left", "up"), ("static", "in"))):
        path, cuts, here = make(folder, names, seed=seed)
        truth += here
    path.with_suffix(".txt").write_text("a disc, then a way in\n")
    whole, said = labelled(folder, tmp_path / "whole", *SMALL)
    assert found_cuts(tmp_path / "whole") == set(cuts)
    share, error = compare(whole, truth)
    assert share == 1
    assert error < 0.05
    assert [r.get("text") for r in whole] == [None, None] + ["a disc, then a way in"] * 2
    assert all(r["kept"] for r in whole)
    assert "4 of 4 clips kept" in said[1]
    assert any("guess" in line for line in said)
    assert (tmp_path / "whole" / "sheet.png").is_file()

    seen, scanned = scan.scan, []

    def killed(path, *rest):
        scanned.append(path.name)
        if len(scanned) == 2:
            raise KeyboardInterrupt
        return seen(path, *rest)

    monkeypatch.setattr(scan, "scan", killed)
    with pytest.raises(KeyboardInterrupt):
        labelled(folder, tmp_path / "again", *SMALL)
    assert not (tmp_path / "again" / "clips.jsonl").exists()
    again, _ = labelled(folder, tmp_path / "again", *SMALL)
    assert scanned == ["0.mp4", "1.mp4", "1.mp4"], "the first film is not seen twice"
    assert again == whole


@pytest.fixture(scope="module")
def collection_of_36(tmp_path_factory):
    """12 videos of 3 shots: every movement at four paces; folder, and cuts and truth of each video."""
    folder, truth, names = tmp_path_factory.mktemp("many"), {}, list(MOVEMENTS)
    g = np.random.default_rng(0)
    for k, pace in enumerate((0.006, 0.008, 0.010, 0.013)):  # all above 2 % of the width in a window
        order = [names[i] for i in g.permutation(9)]
        for part in range(3):
            given = dict(seed=100 * k + 10 * part + 11, frames=22, pace=pace, size=(128, 80))
            path, cuts, here = make(folder, order[3 * part : 3 * part + 3], **given)
            truth[path.name] = cuts, here
    return folder, truth


@pytest.mark.slow
@pytest.mark.parametrize("with_scenedetect", [False, True])
def test_every_cut_and_95_percent_of_the_cameras_are_found(
    collection_of_36, tmp_path, monkeypatch, with_scenedetect
):
    """Besides, no cut that is not there, and every speed within 5 %."""
    if with_scenedetect:
        pytest.importorskip("scenedetect")
    monkeypatch.setattr(shots, "has_scenedetect", lambda: with_scenedetect)
    folder, truth = collection_of_36
    more = ["--width", "128", "--height", "80", "--fps", "12", "--frames", "8", *ALL]
    records, _ = labelled(folder, tmp_path, *more)
    right, errors = [], []
    for name, (cuts, here) in truth.items():
        place = next((tmp_path / "sources").glob(f"{scan.digest(folder / name)[:16]}-*.json"))
        assert [tuple(c) for c in json.loads(place.read_text())["cuts"]] == cuts
        share, error = compare([r for r in records if r["source"].endswith(f"/{name}")], here)
        right.append(share)
        errors.append(error)
    sys.stdout.write(f"cameras right {np.mean(right):.1%}, largest error of a speed {max(errors):.1%}\n")
    assert np.mean(right) >= 0.95
    assert max(errors) < 0.05


def bytes_of(x):
    return [(f.clamp(0, 1) * 255).byte().movedim(0, -1).numpy() for f in x]


@pytest.mark.parametrize("to", ["another scene", "black"])
def test_dissolves_and_fades_end_a_shot(monkeypatch, to):
    no_scenedetect(monkeypatch)
    a, b = clean(1)[0], (clean(60)[0] if to == "another scene" else torch.zeros_like(clean(1)[0]))
    share = torch.linspace(0, 1, 12).view(-1, 1, 1, 1)
    frames = torch.cat([a.expand(20, -1, -1, -1), torch.lerp(a, b, share), b.expand(20, -1, -1, -1)])
    found, n = shots.cuts(bytes_of(frames), 12.0)
    assert n == 52
    assert found
    free = shots.shots(found, n)
    assert all(end <= 26 or start >= 26 for start, end in free), "no shot holds both pictures"
    assert max(end - start for start, end in free) >= 8


def test_a_fast_camera_is_one_shot(monkeypatch):
    no_scenedetect(monkeypatch)
    x, _ = films.shot(3, "right", frames=30, pace=0.02, size=SIZE)
    assert shots.cuts(bytes_of(x), 12.0) == ([], 30)


def test_scenedetect_finds_what_it_should(monkeypatch):
    pytest.importorskip("scenedetect")
    x = torch.cat([films.shot(k, "right", frames=16, pace=0.004, size=SIZE)[0] for k in (1, 2)])
    monkeypatch.setattr(shots, "is_cut", lambda a, b: False)
    assert (15, 16) in shots.cuts(bytes_of(x), 24.0)[0]


def test_a_variable_rate_is_put_on_an_even_grid(monkeypatch):
    times = [0.5, 0.6, 0.7, 1.0, 1.02, 1.1]
    given = [(t, np.full((1, 1, 3), i, np.uint8)) for i, t in enumerate(times)]
    monkeypatch.setattr(read, "upright", lambda path, side: iter(given))
    seen = [int(x[0, 0, 0]) for x in shots.steady("x", 10.0)]
    assert seen == [0, 1, 2, 2, 2, 4, 5]
    even = [(i / 29.97 // 0.001 * 0.001, x) for i, (_, x) in enumerate(given)]
    monkeypatch.setattr(read, "upright", lambda path, side: iter(even))
    assert [int(x[0, 0, 0]) for x in shots.steady("x", 29.97)] == [0, 1, 2, 3, 4, 5]


def test_turned_and_stretched_films_come_upright_with_square_pixels(tmp_path):
    x = torch.zeros(2, 3, 64, 96)
    x[:, 0, :, :48] = 1.0  # red on the left
    path = films.write(tmp_path / "a.mp4", x)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # the matrix of a track, after version, flags, times and volume
    matrix = (0, 65536, 0, -65536, 0, 0, 0, 0, 0x40000000)  # a quarter turn clockwise
    data[at : at + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in matrix)
    path.write_bytes(data)
    _, frame = next(read.upright(path))
    assert frame.shape == (96, 64, 3)
    assert frame[:40, :, 0].min() > 200, "red is above"
    assert next(read.upright(path, 48))[1].shape == (48, 32, 3)


def test_bars_are_cut_off_and_the_crop_follows_what_moves():
    x = torch.zeros(4, 3, 80, 160)
    x[..., 10:70, :] = 0.4
    for t in range(4):
        x[t, :, 30:40, 125 + 4 * t : 135 + 4 * t] = 0.9
    assert labels.inside_bars(x) == (0, 10, 160, 60)
    left, top, wide, high = labels.framed(x, (0, 10, 160, 60), 1.0)
    assert (top, wide, high) == (10, 60, 60)
    assert left == 100, "as far to the right as there is"
    assert labels.inside_bars(torch.zeros(2, 3, 8, 8)) == (0, 0, 8, 8)


@pytest.mark.parametrize(
    ("moved", "name"),
    [
        (dict(right=0.01), "static"),
        (dict(right=-0.1, down=0.04), "left"),
        (dict(right=0.1, down=0.06), "mixed"),
        (dict(down=-0.1), "up"),
        (dict(inwards=0.03), "in"),
        (dict(clockwise=0.03), "clockwise"),
        (dict(right=0.03, path=0.2), "mixed"),  # there and back
    ],
)
def test_a_camera_is_named_after_its_largest_movement(moved, name):
    given = dict(right=0.0, down=0.0, inwards=0.0, clockwise=0.0) | moved
    given.setdefault("path", max(abs(v) for v in given.values()))
    assert labels.Travel(**given).name() == name


GOOD = {
    "source": "a.mp4", "start": 0, "stride": 2, "frames": 5, "fps": 12.0, "source_fps": 24.0,
    "crop": [0, 0, 96, 64], "camera": "left", "travel": {}, "speed": 0.2, "bucket": 9.0, "sha256": "",
    "scores": {"camera": 0.2, "object": 0.0, "explained": 0.9, "repeated": 0.0, "cuts": 0,
               "sharpness": 1.0, "noise": 0.0, "clipped": 0.0, "light": 0.0},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"fps": 2.0}, "2 frames a second"),
        ({"crop": [0, 0, 40, 40]}, "40 pixels wide"),
        ({"speed": 0.001, "camera": "static"}, "nothing moves"),
        ({"cuts": 1}, "a cut inside"),
        ({"repeated": 0.5}, "50% of the frames repeat"),
        ({"explained": 0.1}, "not motion"),
        ({"light": -0.2}, "brightness changes by -20%"),
        ({"clipped": 0.4}, "40% black or white"),
    ],
)
def test_what_is_of_no_use_is_dropped_with_the_reason(changes, why):
    scores = GOOD["scores"] | {k: v for k, v in changes.items() if k not in GOOD}
    record = GOOD | {k: v for k, v in changes.items() if k in GOOD} | {"scores": scores}
    (found,) = collection.judged([record], width=96, motion=25, sharpness=25)
    assert found["kept"] is (why is None)
    assert found["reason"] is None if why is None else why in found["reason"]


def test_the_lowest_shares_of_a_collection_are_dropped():
    records = [GOOD | {"start": i, "speed": 0.1 + i} for i in range(8)]
    found = collection.judged(records, width=96, motion=25, sharpness=0)
    assert [r["kept"] for r in found] == [False] * 2 + [True] * 6
    assert found[0]["reason"] == "among the 25 % with the least motion"


def test_labels_are_what_the_lora_is_trained_on(tmp_path, monkeypatch):
    """The frames of the window, cropped, with its own speed and rate; one camera alone if asked."""
    no_scenedetect(monkeypatch)
    path, _, _ = make(tmp_path / "films", ("left", "up"))
    records, _ = labelled(tmp_path / "films", tmp_path / "out", *SMALL)
    model = write_checkpoint(tmp_path / "tiny.safetensors", dtype=torch.float32)
    svd = load(read_checkpoint(model), dtype=torch.float32)
    command = ["--clips", str(tmp_path / "out" / "clips.jsonl"), "--out", "x", "--frames", "5"]
    command += ["--width", "64", "--height", "64"]
    args = adapt.options(command, shipped=model)
    left, up = adapt.gather(svd, args, lambda text: None)
    assert (left.fps, left.bucket) == (12.0, records[0]["bucket"])
    speed = records[0]["speed"] * WIDTH / 12
    assert left.bucket == pytest.approx(motion_bucket(speed, fps=12), abs=0.01)
    _, frames = next(collection.footage(tmp_path / "out" / "clips.jsonl", records))
    whole = torch.stack(list(read.Clip(path)))[records[0]["start"] :: 2][:5]
    assert torch.allclose(frames, whole, atol=2e-3)
    args = adapt.options([*command, "--camera", "up"], shipped=model)
    (only,) = adapt.gather(svd, args, lambda text: None)
    assert torch.equal(only.z, up.z)
    with pytest.raises(ValueError, match="keeps no clip of the camera movement 'in'; use other"):
        adapt.gather(svd, adapt.options([*command, "--camera", "in"], shipped=model), lambda text: None)


def test_wrong_commands_and_files_get_one_sentence(tmp_path, capsys):
    def said(*command):
        assert clips.main([*command], on_step=None) == 1
        return capsys.readouterr().err

    out = ["--out", str(tmp_path / "out")]
    assert "is not a folder; name one" in said(str(tmp_path / "gone"), *out)
    assert "holds no video; put files such as .mp4" in said(str(tmp_path), *out)
    assert "--fps is 40; use 5 to 30" in said(str(tmp_path), *out, "--fps", "40")
    assert "--drop-motion is 100; use 0 to 99" in said(str(tmp_path), *out, "--drop-motion", "100")
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    assert clips.main([str(tmp_path), *out], on_step=None) == 0
    assert "broken.mp4 is left out" in capsys.readouterr().err
    (tmp_path / "x.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"x\.jsonl is not a list of clips .* write one with"):
        collection.read(tmp_path / "x.jsonl")


def test_mean_radius_of_a_square_is_that_of_the_trained_movements():
    from svd_core.training.camera import RADIUS

    assert labels.mean_radius(1.0) == pytest.approx(RADIUS, rel=0.02)
    assert math.isclose(labels.mean_radius(1e-9), 0.25, rel_tol=0.02)
