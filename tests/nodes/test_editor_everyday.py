"""Everyday use in the real editor, in both of its renderers: a second run, a blueprint,
a value that cannot be, a graph of a pack that is no longer kept, a search by another node's name.
"""

import re

import pytest

from tests.nodes import test_editor
from tests.nodes.test_editor import NAMES, fetch

pytestmark = pytest.mark.browser
folder, browser, tab = test_editor.folder, test_editor.browser, test_editor.tab
BOTH = [pytest.param(False, id="classic"), pytest.param(True, id="Nodes 2.0", marks=pytest.mark.slow)]
BUSY = 60_000  # milliseconds that a page on a busy machine may take
VIDEO = "document.querySelector('video')"
SEEDS = (
    "Object.fromEntries(app.graph._nodes.flatMap(node => (node.widgets ?? []).filter(widget => widget.name "
    "=== 'seed').map(widget => [node.type, widget.value])))"
)
OLD_NODES = {  # type: (inputs, output, values), as such a pack's own example has them
    "LoadImage": ([], "IMAGE", ["example.png", "image"]),
    "SVDModelLoader": ([], "MODEL", ["svd_xt.safetensors", 25, 30, "cuda"]),
    "SVDSampler": (["image", "model"], "LATENT", [127, 6, 0.02, 23, "fixed"]),
    "SVDDecoder": (["samples_z", "model"], "IMAGE", [14, "cuda"]),
    "PreviewImage": (["images"], None, []),
}
OLD_LINKS = [
    (1, 3, 0, "IMAGE"),
    (2, 3, 1, "MODEL"),
    (3, 4, 0, "LATENT"),
    (2, 4, 1, "MODEL"),
    (4, 5, 0, "IMAGE"),
]


@pytest.fixture(scope="module", params=BOTH)
def shared(request, tab):
    made = tab(**{"Comfy.VueNodes.Enabled": request.param})
    made.renderer = "Nodes 2.0" if request.param else "classic"
    yield made
    made.page.close()
    fetch(f"{made.address}/api/settings", {"Comfy.VueNodes.Enabled": False})


@pytest.fixture
def editor(shared):
    """The same tab for every test of a renderer, empty; none may leave an error behind."""
    shared.page.keyboard.press("Escape")
    shared.clear()
    yield shared
    assert shared.faults == []


def wait_for_a_playing_video(editor, *, other_than=""):
    """The last node's video; after another run `other_than` the address of the one before."""
    shown = f"before => {VIDEO}?.readyState >= 2 && {VIDEO}.currentSrc !== before"
    editor.page.wait_for_function(shown, arg=other_than, timeout=BUSY)
    editor.page.evaluate(f"{VIDEO}.play()")
    editor.page.wait_for_function(f"{VIDEO}.currentTime > 0.2", timeout=BUSY)


def frames_of(editor):
    """The file that the last node shows, as bytes."""
    return fetch(editor.page.evaluate(f"new URL({VIDEO}.currentSrc, location).href"))


@pytest.mark.slow
def test_second_run_makes_another_video_of_the_same_photo(editor):
    editor.load("Image to Video")
    editor.set("PureSVDSample", steps=2)
    editor.picture(f"before a run, {editor.renderer}")
    before, made, address = editor.page.evaluate(SEEDS), [], ""
    for _ in range(2):
        editor.run()
        assert editor.ended()["kind"] == "execution_success"
        wait_for_a_playing_video(editor, other_than=address)
        made.append(frames_of(editor))
        address = editor.page.evaluate(f"{VIDEO}.currentSrc")
    after = editor.page.evaluate(SEEDS)
    assert made[0] != made[1]
    assert after["PureSVDSample"] != before["PureSVDSample"]
    assert after["PureSVDImageToVideo"] == before["PureSVDImageToVideo"], "noise on the photo stays"


@pytest.mark.slow
def test_blueprint_dragged_in_runs_to_a_playing_video(editor):
    library = editor.page.get_by_test_id("side-toolbar").get_by_text("Nodes", exact=True)
    library.click()
    editor.page.get_by_placeholder("Search...").fill("Image to Video (SVD)")
    leaf = editor.page.get_by_role("treeitem").get_by_text("Image to Video (SVD)", exact=True)
    leaf.wait_for(timeout=BUSY)
    leaf.drag_to(editor.page.locator("#graph-canvas"), target_position={"x": 900, "y": 400})
    editor.wait_for_nodes(1)
    library.click()
    editor.page.evaluate(
        "() => { const [middle] = app.graph._nodes; const ends = ['LoadImage', 'SaveVideo'].map((type, i) => "
        "{ const node = LiteGraph.createNode(type); app.graph.add(node); node.pos = [middle.pos[0] + (i ? "
        "460 : -400), middle.pos[1]]; return node }); "
        "ends[0].connect(0, middle, 0); middle.connect(0, ends[1], 0); "
        "ends[0].widgets[0].value = 'example.png' }"
    )
    shown = editor.page.evaluate("app.graph._nodes[0].widgets.map(widget => widget.name)")
    assert shown[:3] == ["ckpt_name", "motion_bucket_id", "seed"]
    editor.picture(f"blueprint before, {editor.renderer}")
    editor.run()
    assert editor.ended(timeout=500)["kind"] == "execution_success"
    wait_for_a_playing_video(editor)
    assert editor.page.evaluate(f"{VIDEO}.videoWidth") == 256
    editor.picture(f"blueprint, {editor.renderer}")


def test_width_that_cannot_be_turns_its_node_red_at_once(editor):
    editor.load("Image to Video")
    editor.set("PureSVDImageToVideo", width=8)
    editor.page.evaluate(
        "() => { window.begun = false; "
        "app.api.addEventListener('execution_start', () => { window.begun = true }) }"
    )
    editor.run()
    red = "app.graph._nodes.filter(node => node.has_errors).map(node => node.type)"
    editor.page.wait_for_function(f"({red}).length > 0", timeout=BUSY)
    assert editor.page.evaluate(red) == ["PureSVDImageToVideo"]
    if editor.renderer == "Nodes 2.0":
        marked = editor.page.locator("[data-node-id='3']").get_by_text("Error", exact=True)
        marked.wait_for(timeout=BUSY)
    editor.picture(f"wrong width, {editor.renderer}")
    assert not editor.page.evaluate("window.begun")


def test_graph_of_a_pack_that_is_gone_has_its_nodes_replaced(editor):
    """By the editor's own button, which it offers beside the nodes it does not know."""
    editor.page.evaluate("graph => app.loadGraphData(graph)", old_graph())
    editor.page.get_by_role("button", name="View details").click()
    offered = editor.page.get_by_test_id("error-group-swap-nodes")
    for name in ("PureSVDLoadCheckpoint", "PureSVDSample", "PureSVDDecode"):
        offered.get_by_text(name, exact=True).wait_for(timeout=BUSY)
    editor.picture(f"old graph, {editor.renderer}")
    offered.get_by_role("button", name="Replace All").click()
    editor.page.wait_for_function(
        "app.graph._nodes.every(node => LiteGraph.registered_node_types[node.type])", timeout=BUSY
    )
    editor.page.wait_for_timeout(500)
    editor.picture(f"old graph, replaced, {editor.renderer}")
    prompt = editor.page.evaluate("async () => (await app.graphToPrompt()).output")
    found = {node["class_type"]: node["inputs"] for node in prompt.values()}
    assert found["PureSVDLoadCheckpoint"]["ckpt_name"] == "svd_xt.safetensors"
    assert found["PureSVDSample"]["model"] == ["2", 0]
    assert found["PureSVDSample"]["seed"] == 23
    assert found["PureSVDSample"]["steps"] == 0
    assert found["PureSVDDecode"]["samples"] == ["3", 0]
    assert found["PreviewImage"]["images"] == ["4", 0]


def old_graph():
    ids = {name: i for i, name in enumerate(OLD_NODES, start=1)}
    links = [[i, a, 0, b, slot, kind] for i, (a, b, slot, kind) in enumerate(OLD_LINKS, start=1)]
    taken = {(link[3], link[4]): link for link in links}
    nodes = [
        {
            "id": ids[name],
            "type": name,
            "pos": [360 * (ids[name] - 1), 0],
            "size": [315, 250],
            "inputs": [
                {"name": slot, "type": taken[ids[name], k][5], "link": taken[ids[name], k][0]}
                for k, slot in enumerate(slots)
            ],
            "outputs": [
                {"name": out, "type": out, "links": [link[0] for link in links if link[1] == ids[name]]}
            ]
            if out
            else [],
            "properties": {},
            "widgets_values": values,
        }
        for name, (slots, out, values) in OLD_NODES.items()
    ]
    counts = {"last_node_id": len(nodes), "last_link_id": len(links)}
    return {**counts, "nodes": nodes, "links": links, "groups": [], "version": 0.4}


@pytest.mark.parametrize(
    ("native", "ours"),
    [
        ("SVD_img2vid_Conditioning", "PureSVDImageToVideo"),
        ("ImageOnlyCheckpointLoader", "PureSVDLoadCheckpoint"),
        ("VideoLinearCFGGuidance", "PureSVDSample"),
    ],
)
def test_search_by_the_name_of_a_native_node_offers_ours(editor, native, ours):
    editor.search().fill(native)
    editor.page.get_by_test_id("result-item").get_by_text(NAMES[ours], exact=True).wait_for(timeout=BUSY)
    editor.picture(f"search {native}, {editor.renderer}", fit=False)
    editor.page.keyboard.press("Escape")


@pytest.mark.slow
def test_cancel_in_the_middle_of_a_long_video_keeps_what_is_finished(editor):
    """Cancelled while the second chunk is sampled: what is finished goes on to a video, and the report says
    so. Each renderer has a seed of its own, since the host hands out again what it has made before.
    """
    editor.load("Long Video (15 s)")
    seed = ("classic", "Nodes 2.0").index(editor.renderer)
    editor.set("PureSVDLongVideo", width=128, height=128, seconds=16, seed=seed)
    editor.picture(f"a long video, {editor.renderer}")
    editor.run()
    editor.page.wait_for_function("/chunk 2 of 9, [1-9]/.test(document.body.innerText)", timeout=2 * BUSY)
    editor.page.get_by_role("button", name=re.compile("cancel|interrupt", re.IGNORECASE)).first.click(
        timeout=BUSY
    )
    assert editor.ended(timeout=300)["kind"] == "execution_success"
    wait_for_a_playing_video(editor)
    frames = round(7 * editor.page.evaluate(f"{VIDEO}.duration"))
    assert frames in range(14, 112, 13), "whole chunks, which share a frame; how many depends on the machine"
    report = "app.graph._nodes.find(node => node.type === 'PreviewAny').widgets.map(w => w.value).join()"
    told = f"cancelled: {frames} of 112 frames are finished; wire them into begin to go on"
    assert told in editor.page.evaluate(report)
    editor.picture(f"a long video, cancelled, {editor.renderer}")
