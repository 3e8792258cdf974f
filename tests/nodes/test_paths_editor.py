"""The editor of paths and the dial of orbits in their nodes, in headless Chromium, in both renderers:
drawn with mouse, finger and keys, undone, reloaded, run, and replayed over HTTP.
"""

import json

import pytest
from PIL import Image

from clients.graph import videos
from svd_core.control.paths import parse
from tests import mouse
from tests.nodes import test_editor

pytestmark = pytest.mark.browser
folder, browser, tab = test_editor.folder, test_editor.browser, test_editor.tab
NODE = "app.graph._nodes.find(node => node.type === 'PureSVDDrag')"
WIDGET = f"{NODE}.widgets.find(widget => widget.name === 'paths')"
SHOWN = f"{NODE}?.puresvdPaths.image?.naturalWidth > 0"


@pytest.fixture(
    scope="module",
    params=[pytest.param(False, id="canvas"), pytest.param(True, id="vue", marks=pytest.mark.slow)],
)
def editor(request, tab):
    made = tab(**{"Comfy.VueNodes.Enabled": request.param})
    made.renderer = "vue" if request.param else "canvas"
    yield made
    assert made.faults == []
    made.page.close()
    test_editor.fetch(
        f"{made.address}/api/settings", test_editor.SETTINGS | {"Comfy.VueNodes.Enabled": False}
    )


class Sheet:
    """The drawing in the node, and a mouse over it."""

    def __init__(self, editor):
        self.page = editor.page
        self.canvas = self.page.locator(".puresvd-paths canvas")

    def open(self, *, paths=""):
        graph = json.loads((test_editor.ROOT / "workflows" / "Drag.json").read_text(encoding="utf-8"))
        self.page.evaluate("graph => app.loadGraphData(graph)", graph)
        self.page.wait_for_function(SHOWN, timeout=60_000)
        self.text = paths
        self.show()
        return self

    def show(self, *, scale=1.0):
        """Bring the node to the screen at a size, and wait until it stands still."""
        self.page.evaluate(
            f"scale => {{ const node = {NODE}; app.canvas.ds.scale = scale;"
            " app.canvas.ds.offset = [500 / scale - node.pos[0], 120 / scale - node.pos[1]];"
            " app.canvas.setDirty(true, true) }",
            scale,
        )
        before = None
        for _ in range(60):
            self.page.wait_for_timeout(300)
            now = self.canvas.bounding_box()
            if now and now == before:
                return
            before = now
        raise AssertionError("the node does not stand still")

    @property
    def text(self):
        return self.page.evaluate(f"{WIDGET}.value")

    @text.setter
    def text(self, value):
        self.page.evaluate(f"text => {{ {WIDGET}.value = text }}", value)

    def at(self, x, y):
        box = self.page.evaluate(f"{NODE}.puresvdPaths.box()")
        return box["left"] + x * box["width"], box["top"] + y * box["height"]

    def drag(self, *places):
        mouse.drag(self.page, *(self.at(*place) for place in places))

    def touch(self, *places):
        """The same with one finger."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
        kinds = ["touchStart", *["touchMove"] * (len(places) - 1), "touchEnd"]
        for kind, place in zip(kinds, [*places, None]):
            x, y = self.at(*place) if place else (0, 0)
            points = [{"x": x, "y": y}] if place else []
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        session.send("Emulation.setTouchEmulationEnabled", {"enabled": False})
        session.detach()

    def click(self, *place):
        self.page.mouse.click(*self.at(*place))

    def press(self, name):
        self.page.locator(f".puresvd-paths button[data-tool={name}]").click()


@pytest.fixture
def sheet(editor):
    return Sheet(editor).open()


def near(point, wanted, *, within=0.02):
    return max(abs(a - b) for a, b in zip(point, wanted)) < within


def kept(sheet):
    """The drawing in the host's own record of the graph."""
    record = "app.extensionManager.workflow.activeWorkflow.changeTracker.activeState"
    nodes = sheet.page.evaluate(f"{record}.nodes")
    (node,) = (node for node in nodes if node["type"] == "PureSVDDrag")
    return parse(node["widgets_values"][0])


def test_two_paths_and_a_pin_are_drawn_and_undone(editor, sheet):
    sheet.drag((0.3, 0.5), (0.6, 0.3))
    sheet.drag((0.7, 0.7), (0.8, 0.5), (0.7, 0.3))
    sheet.click(0.1, 0.9)
    drawing = parse(sheet.text)
    assert near(drawing.paths[0].points[0], (0.3, 0.5))
    assert near(drawing.paths[0].points[-1], (0.6, 0.3))
    assert len(drawing.paths[1].points) >= 3, "a bent stroke keeps its bend"
    assert near(drawing.pins[0], (0.1, 0.9))
    editor.picture(f"paths {editor.renderer}", fit=False)
    whole, photo = sheet.canvas.bounding_box(), sheet.page.evaluate(f"{NODE}.puresvdPaths.box()")
    assert photo["width"] > 0.9 * whole["width"], "the photo fills the node"
    assert kept(sheet) == drawing, "the host would bring it back after a reload"
    sheet.page.keyboard.press("Control+z")
    assert parse(sheet.text).pins == ()
    sheet.page.wait_for_timeout(500)
    assert len(parse(sheet.text).paths) == 2, "one undo, not the host's as well"
    sheet.page.keyboard.press("Control+Shift+z")
    assert parse(sheet.text) == drawing
    prompt = sheet.page.evaluate("async () => (await app.graphToPrompt()).output")
    (node,) = (entry for entry in prompt.values() if entry["class_type"] == "PureSVDDrag")
    assert parse(node["inputs"]["paths"]) == drawing


@pytest.mark.slow
def test_a_drawing_outlives_the_page(sheet):
    sheet.drag((0.3, 0.5), (0.6, 0.3))
    sheet.drag((0.7, 0.7), (0.8, 0.5), (0.7, 0.3))
    sheet.click(0.1, 0.9)
    drawing = parse(sheet.text)
    sheet.page.wait_for_timeout(3000)  # the editor keeps its tabs now and then
    graph = sheet.page.evaluate("app.graph.serialize()")
    sheet.page.reload(wait_until="domcontentloaded")
    sheet.page.wait_for_function(test_editor.READY, timeout=120_000)
    sheet.page.wait_for_timeout(3000)
    sheet.page.evaluate("graph => app.loadGraphData(graph)", graph)
    assert parse(sheet.text) == drawing
    sheet.page.wait_for_function(f"{NODE}.puresvdPaths.drawing.paths.length === 2", timeout=10_000)


@pytest.mark.slow
def test_lines_bend_handles_move_and_the_chosen_is_deleted(sheet):
    sheet.drag((0.2, 0.5), (0.8, 0.5))
    sheet.drag((0.5, 0.5), (0.5, 0.2))
    (path,) = parse(sheet.text).paths
    assert len(path.points) == 3
    assert near(path.points[1], (0.5, 0.2))
    sheet.drag((0.8, 0.5), (0.9, 0.8))
    assert near(parse(sheet.text).paths[0].points[-1], (0.9, 0.8))
    sheet.click(0.5, 0.2)
    sheet.page.keyboard.press("Delete")
    assert len(parse(sheet.text).paths[0].points) == 2
    sheet.click(0.2, 0.5)
    sheet.page.keyboard.press("Delete")
    assert sheet.text == ""
    assert sheet.page.evaluate(f"!!{NODE}"), "the keys are the editor's, not the canvas's"


@pytest.mark.slow
def test_strokes_land_where_they_are_drawn_at_every_zoom(sheet):
    for scale in (0.5, 1.6):
        sheet.text = ""
        sheet.show(scale=scale)
        sheet.drag((0.3, 0.6), (0.7, 0.4))
        (path,) = parse(sheet.text).paths
        assert near(path.points[0], (0.3, 0.6), within=0.01)
        assert near(path.points[-1], (0.7, 0.4), within=0.01)


@pytest.mark.slow
def test_the_wheel_zooms_over_the_photo_as_beside_it(sheet):
    def zoomed(x, y):
        before = sheet.page.evaluate("app.canvas.ds.scale")
        sheet.page.mouse.move(x, y)
        sheet.page.mouse.wheel(0, -100)
        sheet.page.wait_for_timeout(700)
        return sheet.page.evaluate("app.canvas.ds.scale") / before

    beside = zoomed(400, 800)
    assert beside > 1
    assert zoomed(*sheet.at(0.5, 0.5)) == pytest.approx(beside, rel=0.01)


@pytest.mark.slow
def test_an_outline_gets_a_path_that_carries_it(sheet):
    sheet.press("outline")
    sheet.drag((0.3, 0.3), (0.5, 0.3), (0.5, 0.6), (0.3, 0.6), (0.3, 0.32))
    (path,) = parse(sheet.text).paths
    assert 4 <= len(path.polygon) <= 12
    assert near(path.points[0], (0.4, 0.45), within=0.06)
    sheet.page.locator(".puresvd-paths input").first.fill("30")
    sheet.page.keyboard.press("Tab")
    assert parse(sheet.text).paths[0].turn == 30


@pytest.mark.slow
def test_it_is_drawn_with_keys_alone(sheet):
    sheet.canvas.focus()
    for key in ("ArrowRight", "Shift+ArrowRight", "n", "ArrowDown"):
        sheet.page.keyboard.press(key)
    (path,) = parse(sheet.text).paths
    assert path.points[1][0] == pytest.approx(0.65)


@pytest.mark.slow
def test_it_is_drawn_with_a_finger(sheet):
    sheet.touch((0.3, 0.5), (0.4, 0.5), (0.5, 0.5), (0.6, 0.5))
    (path,) = parse(sheet.text).paths
    assert near(path.points[0], (0.3, 0.5))
    assert near(path.points[-1], (0.6, 0.5))
    sheet.touch((0.62, 0.52), (0.7, 0.4), (0.8, 0.3))
    (path,) = parse(sheet.text).paths
    assert near(path.points[-1], (0.8, 0.3)), "a finger takes the handle beside it"


@pytest.mark.slow
def test_another_photo_keeps_the_drawing(editor, sheet, server, tmp_path):
    sheet.drag((0.3, 0.5), (0.6, 0.3))
    before = sheet.text
    Image.new("RGB", (300, 600), "teal").save(tmp_path / "tall.png")
    given = server.client.upload(tmp_path / "tall.png")
    editor.set("LoadImage", image=given)
    sheet.page.wait_for_function(f"{NODE}.puresvdPaths.image?.naturalHeight === 600", timeout=20_000)
    assert sheet.text == before
    sheet.show()
    box = sheet.page.evaluate(f"{NODE}.puresvdPaths.box()")
    assert box["height"] == pytest.approx(2 * box["width"], rel=0.01)
    assert box["width"] > 200, "the node grew with the photo"
    editor.picture(f"tall photo {editor.renderer}", fit=False)


@pytest.mark.slow
def test_what_plays_walks_as_the_clip_that_is_made(sheet):
    """Places on a path and the speed along it, as the core computes them."""
    import torch

    from svd_core.control import moved_clip
    from svd_core.control.easing import progress

    points = [[0.1, 0.2], [0.5, 0.9], [0.9, 0.4]]
    found = sheet.page.evaluate(
        "async points => { const { along } = await import('/extensions/PureSVD/drawing/geometry.mjs');"
        " return [0, 0.25, 0.5, 0.75, 1].map(share => along(points, share, 1)) }",
        points,
    )
    wanted = moved_clip.along(torch.tensor(points), progress(t=5))
    torch.testing.assert_close(torch.tensor(found), wanted, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_drawn_graph_runs_to_a_video_and_its_prompt_replays(editor, sheet, server):
    sheet.drag((0.3, 0.5), (0.6, 0.3))
    editor.set("PureSVDSample", steps=2)
    editor.run()
    assert editor.ended(timeout=600)["kind"] == "execution_success"
    editor.page.evaluate("app.canvas.centerOnNode(app.graph._nodes.find(node => node.type === 'SaveVideo'))")
    editor.page.wait_for_function("document.querySelector('video')?.readyState >= 2", timeout=30_000)
    editor.picture(f"drag result {editor.renderer}")
    prompt = editor.page.evaluate("async () => (await app.graphToPrompt()).output")
    (node,) = (entry for entry in prompt.values() if entry["class_type"] == "PureSVDDrag")
    assert parse(node["inputs"]["paths"]) == parse(sheet.text)
    (sampler,) = (entry for entry in prompt.values() if entry["class_type"] == "PureSVDSample")
    sampler["inputs"] |= {"seed": 1, "steps": 1}  # else the server has it all already
    assert videos(server.client.wait(server.client.queue(prompt), timeout=600))


ORBIT = "app.graph._nodes.find(node => node.type === 'PureSVDImageToOrbit')"
DIAL = f"{ORBIT}.widgets.find(({{ name }}) => name === 'dial')"


@pytest.mark.slow
def test_the_dial_shows_the_orbit_and_is_not_stored(editor):
    def picture():
        editor.page.wait_for_timeout(1500)
        return editor.page.evaluate(f"{DIAL}.element.toDataURL()")

    editor.load("Orbit")
    shown = [picture()]
    editor.picture(f"dial {editor.renderer}")
    box = editor.page.evaluate(
        f"(() => {{ const {{ width, height }} = {DIAL}.element.getBoundingClientRect();"
        " return [width / app.canvas.ds.scale, height / app.canvas.ds.scale] })()"
    )
    assert min(box) > 80, "it has room in its node"
    for change in ({"direction": "clockwise"}, {"orbit": "wave"}, {"compatibility": "native"}):
        editor.set("PureSVDImageToOrbit", **change)
        shown.append(picture())
    assert len(set(shown)) == len(shown), "every choice looks different"
    prompt = editor.page.evaluate("async () => (await app.graphToPrompt()).output")
    (node,) = (entry for entry in prompt.values() if entry["class_type"] == "PureSVDImageToOrbit")
    assert "dial" not in node["inputs"]
    assert node["inputs"]["direction"] == "clockwise"
    kept = editor.page.evaluate(f"{ORBIT}.serialize()")
    stored = json.loads((test_editor.ROOT / "workflows" / "Orbit.json").read_text(encoding="utf-8"))
    (wanted,) = (node for node in stored["nodes"] if node["type"] == "PureSVDImageToOrbit")
    assert len([value for value in kept["widgets_values"] if value is not None]) == len(
        wanted["widgets_values"]
    )


@pytest.mark.slow
def test_inside_a_blueprint_the_photo_outside_is_drawn_on(editor):
    graph = json.loads((test_editor.ROOT / "subgraphs" / "Drag (SVD).json").read_text(encoding="utf-8"))
    editor.page.evaluate("graph => app.loadGraphData(graph)", graph)
    editor.page.wait_for_function("app.graph._nodes[0]?.subgraph", timeout=60_000)
    editor.page.evaluate(
        "() => { const [drag] = app.graph._nodes; const photo = LiteGraph.createNode('LoadImage');"
        " app.graph.add(photo); photo.widgets[0].value = 'example.png'; photo.connect(0, drag, 0);"
        " app.canvas.openSubgraph(drag.subgraph, drag) }"
    )
    inside = "app.canvas.graph._nodes.find(node => node.type === 'PureSVDDrag')"
    editor.page.wait_for_function(f"{inside}?.puresvdPaths.image?.naturalWidth === 640", timeout=60_000)
    editor.picture(f"drag blueprint {editor.renderer}")
