"""Promise: the same graph gives the same bytes, and a manifest is enough to make them again."""

import json

import pytest

from scripts import replay
from scripts.host import Host
from tests.conftest import host_path
from tests.contract.graphs import graph


def test_two_fresh_servers_give_the_same_bytes(running, alone):
    assert running.first.frames == alone["nano"].frames
    assert running.first.video == alone["nano"].video


def test_another_seed_gives_other_frames(running):
    assert running.make(graph(seed=1)).frames != running.first.frames


def test_manifest_names_what_the_clip_was_made_from(running):
    found = running.first.manifest
    assert found["frames"]["shape"] == [2, 64, 64, 3]
    assert found["seeds"] == {"3.seed": 0, "4.seed": 0}
    assert list(found["weights"]) == ["svd-nano (embedded)"]
    assert list(found["inputs"]) == [running.photo]
    assert set(found["versions"]) == {"PureSVD", "ComfyUI", "torch", "Python"}
    assert found["versions"]["ComfyUI"] == Host(host_path(), None).version
    assert found["machine"]["device"] == "cpu"
    assert found["machine"]["U-Net weights"] in ("float32", "bfloat16")
    assert set(found["graph"]) == {"1", "2", "3", "4", "5", "record"}, "what comes after is not part of it"


def test_equal_runs_write_equal_manifests(running, alone):
    assert running.first.manifest == alone["nano"].manifest


def test_replay_runs_the_graph_anew_and_finds_the_same_frames(running, tmp_path, capsys):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(running.first.manifest), encoding="utf-8")
    before = running.server.log.count("Prompt executed")
    assert replay.main([str(path), "--server", running.client.server]) == 0
    assert capsys.readouterr().out == "the frames are the same, bit for bit\n"
    assert running.server.log.count("Prompt executed") == before + 1


def test_replay_names_the_photo_that_was_changed(running, tmp_path, capsys):
    manifest = running.make(graph(seed=2)).manifest
    path = tmp_path / "manifest.json"
    photo = running.server.base / "input" / running.photo
    kept = photo.read_bytes()
    from PIL import Image

    path.write_text(json.dumps(manifest), encoding="utf-8")
    try:
        Image.new("RGB", (64, 64), "red").save(photo)
        assert replay.main([str(path), "--server", running.client.server]) == 1
    finally:
        photo.write_bytes(kept)
    said = capsys.readouterr().out
    assert said.startswith(f"the frames differ: inputs {running.photo} is ")
    assert said.count("\n") == 1


EMPTY = {"weights": {}, "inputs": {}, "seeds": {}, "versions": {}, "machine": {}}
WHOLE = {"frames": {"shape": [1], "sha256": "a"}, "graph": {"1": {"class_type": "A", "inputs": {}}}, **EMPTY}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "is not a manifest; choose"),
        ("[]", "is not a manifest; choose"),
        ("no json", "is not a manifest; choose"),
        ("[" * 100_000, "is not a manifest; choose"),
        (json.dumps(WHOLE | {"seeds": []}), "is not a manifest; choose"),
        (json.dumps(WHOLE | {"frames": {}}), "is not a manifest; choose"),
        (json.dumps(WHOLE | {"graph": {}}), "is not a workflow in API format"),
        (json.dumps(WHOLE | {"graph": {"1": None}}), "is not a workflow in API format"),
        (json.dumps(WHOLE | {"graph": {"nodes": []}}), "is a workflow as the editor keeps it"),
    ],
)
def test_replay_refuses_another_json_file_by_name(tmp_path, capsys, text, said):
    path = tmp_path / "workflow.json"
    path.write_text(text, encoding="utf-8")
    assert replay.main([str(path)]) == 2
    answer = capsys.readouterr().err
    assert f"{path} {said}" in answer
    assert answer.count("\n") == 1


@pytest.mark.parametrize("name", ["absent.json", "."])
def test_replay_says_what_it_cannot_read(tmp_path, capsys, name):
    assert replay.main([str(tmp_path / name)]) == 2
    assert "cannot be read" in capsys.readouterr().err


SAME = {
    "frames": {"shape": [2, 8, 8, 3], "sha256": "a"},
    "weights": {},
    "inputs": {},
    "seeds": {},
    "machine": {},
}
CASES = [
    ({}, "the frames are the same, bit for bit"),
    (
        {"versions": {"torch": "2"}},
        "the frames are the same, bit for bit, although versions torch is 2 instead of 1",
    ),
    (
        {"frames": {"shape": [2, 8, 8, 3], "sha256": "b"}},
        (
            "the frames differ: weights, inputs, versions and machine do not; a node of the graph is not "
            "repeatable"
        ),
    ),
    (
        {"frames": {"shape": [1, 8, 8, 3], "sha256": "b"}, "machine": {"threads": 2}},
        (
            "the frames differ: machine threads is 2 instead of absent, the clip is [1, 8, 8, 3] instead of "
            "[2, 8, 8, 3]"
        ),
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), CASES)
def test_comparison_is_one_sentence(changes, sentence):
    wanted = {**SAME, "versions": {"torch": "1"}}
    assert replay.compare(wanted, {**wanted, **changes}) == sentence
