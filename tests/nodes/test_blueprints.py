"""Blueprints: written from the prompts of templates, found by the host, and the same prompt once unfolded."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.nodes import write_blueprints as writer
from tests.nodes import write_workflows

BLUEPRINTS = pytest.mark.parametrize("blueprint", writer.BLUEPRINTS, ids=lambda found: found.title)


def read(blueprint):
    return json.loads((writer.FOLDER / f"{blueprint.title}.json").read_text(encoding="utf-8"))


def unfold(graph):
    """The prompt that the subgraph stands for, by its links alone, and where its outputs come from."""
    (inside,) = graph["definitions"]["subgraphs"]
    links = {link["id"]: link for link in inside["links"]}
    prompt = {}
    for node in inside["nodes"]:
        wired = {slot["name"]: links[slot["link"]] for slot in node["inputs"] if slot["link"]}
        prompt[str(node["id"])] = {
            name: [str(link["origin_id"]), link["origin_slot"]] for name, link in wired.items()
        }
    ends = [links[end["linkIds"][0]] for end in inside["outputs"]]
    return prompt, [[str(link["origin_id"]), link["origin_slot"]] for link in ends]


@BLUEPRINTS
def test_file_is_the_one_written_from_the_prompt(host, blueprint):
    if "bit_depth" not in host.node("CreateVideo").INPUT_TYPES().get("optional", {}):
        pytest.skip("blueprints are written with the pinned host's widgets, this one is older")
    made = writer.blueprint_graph(blueprint, host.nodes.NODE_CLASS_MAPPINGS)
    assert read(blueprint) == json.loads(json.dumps(made)), "run python -m tests.nodes.write_blueprints"


def test_every_file_has_its_entry():
    assert {path.stem for path in writer.FOLDER.glob("*.json")} == {one.title for one in writer.BLUEPRINTS}


@BLUEPRINTS
def test_links_are_those_of_the_template(blueprint):
    """Each wire of the template's prompt is there, and what led to a node left out leads to an end."""
    whole = json.loads((write_workflows.API / f"{blueprint.prompt}.json").read_text(encoding="utf-8"))
    without = blueprint.without.split()
    prompt, ends = unfold(read(blueprint))
    assert set(prompt) == set(whole) - set(without)
    for key, wired in prompt.items():
        wanted = {n: v for n, v in whole[key]["inputs"].items() if isinstance(v, list)}
        promoted = {place.split(".")[1] for place in blueprint.widgets.split() if place.split(".")[0] == key}
        assert wired.keys() == wanted.keys() | promoted
        for name, origin in wired.items():
            outside = name in promoted or wanted[name][0] in without
            assert origin[0] == str(writer.INPUTS) if outside else origin == wanted[name]
    taken = [v for key in without for v in whole[key]["inputs"].values() if isinstance(v, list)]
    assert ends == [origin for origin in taken if origin[0] not in without]


@BLUEPRINTS
def test_both_ends_agree_with_the_node_on_the_canvas(blueprint):
    graph = read(blueprint)
    (node,), (inside,) = graph["nodes"], graph["definitions"]["subgraphs"]
    assert node["type"] == inside["id"]
    for side in ("inputs", "outputs"):
        assert [(e["name"], e["type"]) for e in node[side]] == [(e["name"], e["type"]) for e in inside[side]]
        assert len({end["name"] for end in node[side]}) == len(node[side])
    for link in inside["links"]:
        if link["origin_id"] == writer.INPUTS:
            assert link["id"] in inside["inputs"][link["origin_slot"]]["linkIds"]
    assert len(node["widgets_values"]) == len(blueprint.widgets.split())
    assert inside["description"] == graph["extra"]["BlueprintDescription"]


def test_the_host_offers_them(host):
    from app.subgraph_manager import SubgraphManager

    manager = SubgraphManager()
    found = asyncio.run(manager.get_custom_node_subgraphs({}))
    ours = {
        entry["name"]: entry for entry in found.values() if entry["info"]["node_pack"].endswith("PureSVD")
    }
    assert set(ours) == {blueprint.title for blueprint in writer.BLUEPRINTS}
    for entry in ours.values():
        loaded = asyncio.run(manager.load_entry_data(dict(entry)))
        assert json.loads(loaded["data"])["nodes"][0]["title"] == Path(entry["path"]).stem
