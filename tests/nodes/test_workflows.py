"""The bundled graphs: written from the prompts beside them, and every node and input exists in the host."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = sorted((ROOT / "workflows" / "api").glob("*.json"))
GRAPHS = sorted((ROOT / "workflows").glob("*.json"))


def stem(path):
    return path.stem


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def writer():
    spec = importlib.util.spec_from_file_location(
        "write_workflows", Path(__file__).with_name("write_workflows.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", PROMPTS, ids=stem)
def test_prompt_gives_every_node_every_input_it_needs(host, path):
    prompt = read(path)
    for key, entry in prompt.items():
        wanted = host.node(entry["class_type"]).INPUT_TYPES()
        known = {**wanted.get("required", {}), **wanted.get("optional", {})}
        assert set(entry["inputs"]) <= set(known), f"{path.name}: node {key}"
        assert set(wanted.get("required", {})) <= set(entry["inputs"]), f"{path.name}: node {key}"


@pytest.mark.parametrize("path", PROMPTS, ids=stem)
def test_links_join_outputs_and_inputs_of_one_type(host, path):
    prompt = read(path)
    for entry in prompt.values():
        wanted = host.node(entry["class_type"]).INPUT_TYPES()
        known = {**wanted.get("required", {}), **wanted.get("optional", {})}
        for name, value in entry["inputs"].items():
            if isinstance(value, list):
                given = host.node(prompt[value[0]]["class_type"]).RETURN_TYPES[value[1]]
                assert known[name][0] in (given, "*"), name


@pytest.mark.parametrize("path", PROMPTS, ids=stem)
def test_widget_values_are_allowed(host, writer, path):
    free = (
        "ckpt_name",
        "unet_name",
        "vae_name",
        "clip_name",
        "lora_name",
        "control_net_name",
        "image",
        "file",
    )  # what is installed differs
    for entry in read(path).values():
        for name, kind, options in writer.inputs(host.node(entry["class_type"])):
            value = entry["inputs"].get(name)
            if value is None or isinstance(value, list) or name in free:
                continue
            if kind in ("INT", "FLOAT"):
                assert options["min"] <= value <= options["max"], name
            if kind == "COMBO":
                choices = (
                    options.get("options")
                    or host.node(entry["class_type"]).INPUT_TYPES()["required"][name][0]
                )
                assert value in choices, name


def test_graphs_are_the_ones_written_from_the_prompts(host, writer):
    if "bit_depth" not in host.node("CreateVideo").INPUT_TYPES().get("optional", {}):
        pytest.skip("the graphs are written with the pinned host's widgets, this one is older")
    for name, graph in writer.GRAPHS.items():
        prompt = read(ROOT / "workflows" / "api" / f"{name}.json")
        made = writer.ui_graph(prompt, graph, host.nodes.NODE_CLASS_MAPPINGS)
        assert read(ROOT / "workflows" / f"{graph.title}.json") == json.loads(json.dumps(made)), (
            f"run {writer.__file__}"
        )
    assert {path.stem for path in GRAPHS} == {graph.title for graph in writer.GRAPHS.values()}
    assert {path.stem for path in PROMPTS} == set(writer.GRAPHS)


@pytest.mark.parametrize("path", GRAPHS, ids=stem)
def test_graph_has_a_thumbnail_and_names_the_big_files_it_needs(path):
    assert path.with_suffix(".jpg").stat().st_size < 100_000
    for node in read(path)["nodes"]:
        for value in node["widgets_values"]:
            if isinstance(value, str) and value.endswith(".safetensors"):
                names = [model["name"] for model in node["properties"]["models"]]
                assert value.removeprefix("checkpoints/") in names


@pytest.mark.parametrize("path", GRAPHS, ids=stem)
def test_every_node_stands_in_a_titled_group_with_a_note(path):
    graph = read(path)
    notes = [node for node in graph["nodes"] if node["type"] == "MarkdownNote"]
    others = [node for node in graph["nodes"] if node["type"] != "MarkdownNote"]
    assert all(any(inside(node, group) for group in graph["groups"]) for node in others)
    for group in graph["groups"]:
        assert group["title"]
        assert any(inside(note, group) and note["widgets_values"][0] for note in notes), group["title"]


@pytest.mark.parametrize("path", GRAPHS, ids=stem)
def test_nodes_do_not_overlap(path):
    nodes = read(path)["nodes"]
    for i, a in enumerate(nodes):
        assert not any(overlap(box(a), box(b)) for b in nodes[:i]), a["type"]


def box(node):
    (x, y), (w, h) = node["pos"], node["size"]
    return x, y - 30, x + w, y + h  # the title bar lies above


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def inside(node, group):
    x, y, w, h = group["bounding"]
    left, top, right, bottom = box(node)
    return x <= left and y <= top and right <= x + w and bottom <= y + h
