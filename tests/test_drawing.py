"""The editor of paths in headless Chromium without ComfyUI: drawn, bent, pinned, deleted, undone."""

import functools
import http.server
import json
import threading
from pathlib import Path

import pytest

from tests import mouse

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parent.parent
WORDS = {name: [name, name] for name in ("path", "outline", "pin", "remove", "undo", "redo", "play")}
WORDS |= {"canvas": "canvas", "turn": "turn", "scale": "scale", "hint": "hint", "nophoto": "none"}


class Files(http.server.SimpleHTTPRequestHandler):
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def page(chromium):
    sync_api = pytest.importorskip("playwright.sync_api")
    handler = functools.partial(Files, directory=str(ROOT))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        sync_api.sync_playwright() as play,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        tab = play.chromium.launch(executable_path=chromium, args=options).new_page()
        faults = []
        tab.on("pageerror", lambda fault: faults.append(str(fault)))
        tab.goto(f"http://127.0.0.1:{server.server_port}/web/docs/PureSVDDrag.md")
        tab.evaluate(
            "async words => { const { PathEditor } = await import('/web/drawing/editor.mjs'); window.told = "
            "[]; window.editor = new PathEditor({ words, onChange: text => told.push(text) }); "
            "document.body.replaceChildren(editor.element); document.body.style.width = '520px'; const image "
            "= new Image(); image.src = '/assets/sample.jpg'; await image.decode(); editor.photo = image }",
            WORDS,
        )
        yield tab
        assert faults == []
        server.shutdown()


@pytest.fixture
def sheet(page):
    page.evaluate("() => { editor.value = ''; editor.past = []; editor.chosen = null; editor.press('path') }")
    return Sheet(page)


class Sheet:
    def __init__(self, page):
        self.page, self.canvas = page, page.locator("canvas")

    @property
    def drawing(self):
        return json.loads(self.page.evaluate("editor.value") or "{}")

    @property
    def points(self):
        return [path["points"] for path in self.drawing["paths"]]

    def at(self, x, y):
        box = self.canvas.bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def drag(self, *places):
        mouse.drag(self.page, *(self.at(*place) for place in places))

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)


def near(found, wanted):
    return all(abs(a - b) < 0.01 for p, q in zip(found, wanted, strict=True) for a, b in zip(p, q))


def test_two_paths_and_a_pin_are_drawn_and_undone(sheet):
    sheet.drag((0.3, 0.5), (0.6, 0.3))
    sheet.drag((0.7, 0.7), (0.8, 0.5), (0.7, 0.3))
    sheet.page.mouse.click(*sheet.at(0.1, 0.9))
    assert near(sheet.points[0], [(0.3, 0.5), (0.6, 0.3)])
    assert near(sheet.points[1], [(0.7, 0.7), (0.8, 0.5), (0.7, 0.3)])
    assert near(sheet.drawing["pins"], [(0.1, 0.9)])
    drawn = sheet.drawing
    sheet.press("Control+z")
    assert sheet.drawing["pins"] == []
    sheet.press("Control+Shift+z")
    assert sheet.drawing == drawn
    assert json.loads(sheet.page.evaluate("told.at(-1)")) == drawn


def test_lines_bend_handles_move_and_the_chosen_is_deleted(sheet):
    sheet.drag((0.2, 0.5), (0.8, 0.5))
    sheet.drag((0.5, 0.5), (0.5, 0.2))
    assert near(sheet.points[0], [(0.2, 0.5), (0.5, 0.2), (0.8, 0.5)])
    sheet.drag((0.8, 0.5), (0.9, 0.8))
    assert near(sheet.points[0], [(0.2, 0.5), (0.5, 0.2), (0.9, 0.8)])
    sheet.page.mouse.click(*sheet.at(0.5, 0.2))
    sheet.press("Delete")
    assert near(sheet.points[0], [(0.2, 0.5), (0.9, 0.8)])
    sheet.page.mouse.click(*sheet.at(0.2, 0.5))
    sheet.press("Delete")
    assert sheet.drawing == {}


def test_an_outline_gets_a_path_that_can_be_turned(sheet):
    sheet.page.locator("button[data-tool=outline]").click()
    sheet.drag((0.44, 0.3), (0.57, 0.3), (0.57, 0.88), (0.44, 0.88), (0.44, 0.32))
    (path,) = sheet.drawing["paths"]
    assert near(path["polygon"], [(0.44, 0.3), (0.57, 0.3), (0.57, 0.88), (0.44, 0.88)])
    assert near(path["points"], [(0.505, 0.59), (0.655, 0.59)])
    sheet.page.locator("input").first.fill("30")
    sheet.press("Tab")
    assert sheet.drawing["paths"][0]["turn"] == 30


def test_it_is_drawn_without_a_mouse(sheet):
    sheet.canvas.focus()
    sheet.press("ArrowRight", "Shift+ArrowRight", "n", "ArrowDown")
    assert sheet.points == [[[0.4, 0.505], [0.65, 0.5]]]


def test_the_clip_that_plays_is_the_one_that_is_made(page):
    """Places along a path as the core computes them."""
    import torch

    from svd_core.control import moved_clip
    from svd_core.control.easing import progress

    points = [[0.1, 0.2], [0.5, 0.9], [0.9, 0.4]]
    found = page.evaluate(
        "async points => { const { along } = await import('/web/drawing/geometry.mjs'); "
        "return [0, 0.25, 0.5, 0.75, 1].map(share => along(points, share)) }",
        points,
    )
    wanted = moved_clip.along(torch.tensor(points), progress(t=5))
    torch.testing.assert_close(torch.tensor(found), wanted, rtol=0, atol=1e-4)
