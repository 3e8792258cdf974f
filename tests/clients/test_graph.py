"""Workflow files: read, refused in a sentence, and given the file that they load."""

import json

import pytest

from clients import graph, puresvd_client

NODE = {"class_type": "LoadImage", "inputs": {"image": "a.png"}}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"no json", "does not hold JSON"),
        (b"\xff\xfe\x00", "does not hold JSON"),
        (b"", "does not hold JSON"),
        (b"[" * 100_000, "does not hold JSON"),
        (b"[]", "is not a workflow in API format"),
        (b"{}", "is not a workflow in API format"),
        (b"3", "is not a workflow in API format"),
        (b'{"1": 2}', "is not a workflow in API format"),
        (b'{"1": {"class_type": 3, "inputs": {}}}', "is not a workflow in API format"),
        (b'{"1": {"class_type": "LoadImage"}}', "is not a workflow in API format"),
        (b'{"last_node_id": 3, "nodes": [], "links": []}', "File > Export .API."),
    ],
)
def test_file_that_is_no_workflow_gets_one_sentence(tmp_path, capsys, text, wanted):
    path = tmp_path / "workflow.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=wanted):
        graph.read(path)
    photo = tmp_path / "a.png"
    photo.write_bytes(b"")
    assert puresvd_client.main([str(photo), "--workflow", str(path), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_editors_own_files_are_told_from_api_files():
    for path in graph.WORKFLOW.parent.parent.glob("*.json"):
        with pytest.raises(ValueError, match="as the editor keeps it; .*Export"):
            graph.read(path)
    for path in graph.WORKFLOW.parent.glob("*.json"):
        assert graph.read(path)


@pytest.mark.parametrize("name", ["absent.json", ".", "a.json/b", "n" * 300])
def test_workflow_that_cannot_be_read_is_named(tmp_path, name):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be read .*; give a workflow"):
        graph.read(tmp_path / name)


def test_byte_order_mark_is_no_fault(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"1": NODE}), encoding="utf-8-sig")
    assert graph.read(tmp_path / "a.json") == {"1": NODE}


def test_graph_given_stays_as_it_is():
    given = {"1": NODE, "2": {"class_type": "Other", "inputs": {"image": "b.png"}}}
    kept = json.loads(json.dumps(given))
    changed = graph.set_photo(given, "c.png")
    assert (changed["1"]["inputs"]["image"], changed["2"]["inputs"]["image"]) == ("c.png", "b.png")
    assert given == kept


BOTH = {"1": NODE, "2": {"class_type": "LoadVideo", "inputs": {"file": "a.mp4"}}}


@pytest.mark.parametrize(
    ("name", "keys"),
    [("a.jpg", ["1"]), ("a.mp4", ["2"]), ("a.mkv", ["2"]), ("a.gif", ["1"]), ("a.GIF", ["1"])],
)
def test_each_kind_of_file_goes_to_its_loader(name, keys):
    assert [key for key, _ in graph.loaders(BOTH, name)] == keys


def test_animated_picture_and_unknown_suffix_go_to_the_only_loader():
    for name in ("a.gif", "a", "a.heic7"):
        assert graph.loaders({"2": BOTH["2"]}, name) == [("2", "file")]
    with pytest.raises(ValueError, match="may be either; give it a suffix"):
        graph.loaders(BOTH, "a")


def test_videos_are_told_from_pictures_by_name_or_by_moving():
    files = [{"filename": name, "subfolder": "", "type": "output"} for name in ("a.mp4", "b.png", "c.WEBM")]
    moving = {"images": [{"filename": "d.png"}], "animated": [True]}
    job = {"outputs": {"1": {"images": files, "text": ["x.mp4"]}, "2": moving, "3": None}}
    assert [item["filename"] for item in graph.videos(job)] == ["a.mp4", "c.WEBM", "d.png"]
    assert graph.videos({}) == []


def test_videos_come_in_the_order_of_the_workflow():
    outputs = {key: {"images": [{"filename": f"{key}.mp4"}]} for key in "cab"}
    job = {"outputs": outputs, "workflow": {"prompt": {"a": {}, "x": {}, "b": {}}}}
    assert [item["filename"] for item in graph.videos(job)] == ["a.mp4", "b.mp4", "c.mp4"]


def test_a_value_is_written_into_the_workflow(tmp_path):
    drag = graph.read(graph.WORKFLOW.parent / "drag.json")
    paths = "[[[0.3, 0.5], [0.6, 0.3]]]"
    (tmp_path / "paths.json").write_text(paths, encoding="utf-8-sig")
    for words in (f"PureSVDDrag.paths={paths}", f"8.paths=@{tmp_path / 'paths.json'}"):
        changed = graph.set_input(drag, words)
        assert changed["8"]["inputs"]["paths"] == paths, "a text stays one, though it is JSON"
        assert drag["8"]["inputs"]["paths"] != paths
    assert graph.set_input(drag, "PureSVDSample.seed=3")["4"]["inputs"]["seed"] == 3


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("PureSVDDrag.paths", "sets nothing; write it as"),
        ("paths=1", "sets nothing; write it as"),
        ("PureSVDDrag.path=1", "has no PureSVDDrag.path; choose from .*paths"),
        ("Drag.paths=1", "has no Drag.paths; choose from .*PureSVDDrag"),
        ("PureSVDDrag.image=1", "is wired to another node; choose"),
        ("PureSVDDrag.frames=many", "cannot be 'many'; give a value"),
        ("PureSVDDrag.paths=@nowhere.json", "nowhere.json cannot be read as text; give"),
    ],
)
def test_a_value_that_fits_nowhere_gets_one_sentence(tmp_path, capsys, words, wanted):
    path = graph.WORKFLOW.parent / "drag.json"
    with pytest.raises(ValueError, match=wanted):
        graph.set_input(graph.read(path), words)
    (tmp_path / "a.png").write_bytes(b"")
    asked = [str(tmp_path / "a.png"), "--workflow", str(path), "--set", words, "--out", str(tmp_path)]
    assert puresvd_client.main(asked) == 1
    assert capsys.readouterr().err.count("\n") == 1
