"""The pack in the real editor, in headless Chromium: found, wired, run, watched, refused and translated.

Each test leaves screenshots in pytest's temporary folder, or in the one that --screenshots names.
"""

import json
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
TITLES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
NAMES = {
    node_id: entry["display_name"]
    for node_id, entry in json.loads((ROOT / "locales/en/nodeDefs.json").read_text(encoding="utf-8")).items()
}
READY = (
    "window.app && app.extensionManager && window.LiteGraph && "
    "!!LiteGraph.registered_node_types['PureSVDDecode']"
)
# On a busy machine the editor's loading mask misses the end of its own fading and stays on top of everything
# for good.
STILL = """document.addEventListener('DOMContentLoaded', () => {
    const style = document.createElement('style')
    style.textContent = '.p-blockui-mask { animation: none !important }'
    document.head.append(style)
})"""
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Locale": "en",
    "Comfy.Execution.PreviewMethod": "latent2rgb",
}


def fetch(url, data=None):
    headers = {"Content-Type": "application/json"}
    body = None if data is None else json.dumps(data).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:
        return answer.read()


@dataclass
class Editor:
    """One tab of the editor."""

    page: Any
    address: str
    folder: Path  # of the screenshots
    faults: list[str] = field(default_factory=list)

    def open(self):
        self.page.on("pageerror", lambda fault: self.faults.append(str(fault)))
        self.page.add_init_script(STILL)
        self.page.goto(self.address, wait_until="domcontentloaded")
        self.page.wait_for_function(READY, timeout=120_000)
        self.page.wait_for_timeout(3000)  # the start-up graph is loaded after the nodes are known
        self.clear()
        return self

    def clear(self):
        self.page.evaluate("app.canvas.deselectAll(), app.graph.clear()")

    def load(self, title):
        graph = json.loads((ROOT / "workflows" / f"{title}.json").read_text(encoding="utf-8"))
        self.page.evaluate("graph => app.loadGraphData(graph)", graph)

    def picture(self, name, *, fit=True):
        if fit:
            self.page.evaluate("app.extensionManager.command.execute('Comfy.Canvas.FitView')")
            self.page.wait_for_timeout(700)
        self.page.screenshot(path=self.folder / f"{name}.png")

    def types(self):
        return self.page.evaluate("app.graph._nodes.map(node => node.type)")

    def wait_for_nodes(self, count):
        self.page.wait_for_function("count => app.graph._nodes.length === count", arg=count, timeout=10_000)

    def find(self, name):
        """Double-click the empty canvas, type a name, take the first node offered and put it down."""
        self.search().fill(name)
        first = self.page.get_by_test_id("result-item").first
        first.get_by_text(name, exact=True).wait_for(timeout=10_000)
        self.picture("search", fit=False)
        self.page.keyboard.press("Enter")
        self.wait_for_nodes(1)
        self.page.get_by_role("search").wait_for(state="hidden", timeout=10_000)
        self.page.mouse.click(900, 300)  # until then it hangs on the pointer

    def search(self):
        """The search box, opened; a busy page takes clicks 300 ms apart for two, so they are made again."""
        box = self.page.get_by_role("search").locator("input")
        self.page.mouse.move(
            780, 700
        )  # off the node before, which the canvas still holds to be under the pointer
        self.page.wait_for_timeout(200)
        for check in range(40):
            if box.is_visible():
                break
            if check % 10 == 0:
                self.page.mouse.dblclick(800, 700)
            self.page.wait_for_timeout(200)
        return box

    def set(self, node_type, **values):
        for name, value in values.items():
            self.page.evaluate(
                "([type, name, value]) => { for (const node of app.graph._nodes) if (node.type === type) "
                "node.widgets.find(widget => widget.name === name).value = value }",
                [node_type, name, value],
            )

    def run(self):
        """Press Run; `window.ended` holds how it went, `window.shown` the previews the host was given."""
        self.page.evaluate(
            "() => { window.ended = null; window.shown = []; for (const kind of ['execution_success', "
            "'execution_error'])   app.api.addEventListener(kind, ({ detail }) => { window.ended = { kind, "
            "...detail } }); app.api.addEventListener('b_preview_with_metadata', ({ detail }) => "
            "window.shown.push(detail)) }"
        )
        self.page.get_by_test_id("queue-button").click()

    def ended(self, *, timeout=180):
        self.page.wait_for_function("window.ended", timeout=timeout * 1000)
        return self.page.evaluate("window.ended")

    def check(self, title):
        """The graph on screen is the bundled one, and the host knows all of it."""
        wanted = json.loads((ROOT / "workflows" / f"{title}.json").read_text(encoding="utf-8"))
        assert sorted(self.types()) == sorted(node["type"] for node in wanted["nodes"])
        unknown = (
            "app.graph._nodes.filter(node => !LiteGraph.registered_node_types[node.type]).map(node => "
            "node.type)"
        )
        assert self.page.evaluate(unknown) == []


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    chosen = request.config.getoption("--screenshots")
    path = Path(chosen).absolute() if chosen else tmp_path_factory.mktemp("screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="module")
def browser(chromium):
    sync_api = pytest.importorskip("playwright.sync_api")
    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=options)


@pytest.fixture(scope="module")
def tab(server, browser, folder):
    """tab(setting=...) -> an editor with these settings, and the bundled graphs' photo and video in place."""
    for name, file in (("example.png", ROOT / "assets" / "sample.jpg"),):
        server.client.upload(file, name=name)

    def make(**settings):
        fetch(f"{server.client.server}/api/settings", SETTINGS | settings)
        page = browser.new_page(viewport={"width": 1600, "height": 950})
        return Editor(page, server.client.server, folder).open()

    return make


@pytest.fixture(scope="module")
def shared(tab):
    return tab()


@pytest.fixture
def editor(shared):
    """The same tab for every test, empty; none may leave an error behind."""
    shared.page.keyboard.press("Escape")  # what a failed test left open
    shared.clear()
    yield shared
    assert shared.faults == []


def test_every_graph_becomes_its_prompt(editor):
    offered = json.loads(fetch(f"{editor.address}/api/workflow_templates"))
    (pack,) = (name for name, titles in offered.items() if "Image to Video" in titles)
    assert sorted(offered[pack]) == TITLES
    files = (ROOT / "workflows" / "api").glob("*.json")
    prompts = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    met = set()
    for title in TITLES:
        link = f"{editor.address}/api/workflow_templates/{pack}/{urllib.parse.quote(title)}"
        assert fetch(f"{link}.jpg")[:2] == b"\xff\xd8"
        editor.page.evaluate("graph => app.loadGraphData(graph)", json.loads(fetch(f"{link}.json")))
        found = editor.page.evaluate("async () => (await app.graphToPrompt()).output")
        met |= {name for name, prompt in prompts.items() if same(found, prompt)}
    assert met == set(prompts)


ASKED_FOR = (
    "file",
    "lora_name",
    "control_net_name",
)  # files that are not there, which the editor leaves empty


def same(found, prompt):
    """Nodes and inputs agree; the editor may add optional inputs of native nodes at their defaults."""
    return found.keys() == prompt.keys() and all(
        entry["class_type"] == found[key]["class_type"]
        and all(
            found[key]["inputs"].get(name) in ((value, "") if name in ASKED_FOR else (value,))
            for name, value in entry["inputs"].items()
        )
        for key, entry in prompt.items()
    )


def test_every_node_is_found_by_a_double_click_and_its_name(editor):
    for node_id, name in NAMES.items():
        editor.clear()
        editor.find(name)
        assert editor.types() == [node_id]


def test_every_node_can_be_dragged_out_of_the_library(editor):
    library = editor.page.get_by_test_id("side-toolbar").get_by_text("Nodes", exact=True)
    library.click()
    canvas = editor.page.locator("#graph-canvas")
    for node_id, name in NAMES.items():
        editor.clear()
        editor.page.get_by_placeholder("Search...").fill(node_id)  # a node of the host has a name of ours
        leaf = editor.page.get_by_role("treeitem").get_by_text(name, exact=True)
        leaf.wait_for(timeout=10_000)
        leaf.drag_to(canvas, target_position={"x": 900, "y": 600}, timeout=10_000)
        editor.wait_for_nodes(1)
        assert editor.types() == [node_id]
    editor.picture("library", fit=False)
    library.click()


@pytest.mark.parametrize(
    "title", [TITLES[0], *(pytest.param(title, marks=pytest.mark.slow) for title in TITLES[1:])]
)
def test_graph_opens_from_the_template_browser(editor, title):
    editor.page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = editor.page.get_by_role("dialog")
    dialog.get_by_text("PureSVD", exact=True).first.click()
    card = editor.page.get_by_test_id(f"template-workflow-{title}")
    card.wait_for(timeout=10_000)
    if title == TITLES[0]:
        editor.page.wait_for_timeout(1500)
        editor.picture("templates", fit=False)
    card.click()
    opened = "title => app.extensionManager.workflow.activeWorkflow?.filename.startsWith(title)"
    editor.page.wait_for_function(opened, arg=title, timeout=10_000)
    dialog.wait_for(state="hidden", timeout=10_000)
    editor.check(title)
    editor.picture(f"template {title}")


@pytest.mark.parametrize("title", TITLES)
def test_graph_opens_when_its_file_is_dropped(editor, title):
    text = (ROOT / "workflows" / f"{title}.json").read_text(encoding="utf-8")
    editor.page.evaluate(
        "([text, name]) => { const data = new DataTransfer(); data.items.add(new File([text], name, { type: "
        "'application/json' })); const canvas = document.querySelector('#graph-canvas'); for (const kind of "
        "['dragenter', 'dragover', 'drop'])   canvas.dispatchEvent(new DragEvent(kind, { dataTransfer: data, "
        "bubbles: true, cancelable: true })) }",
        [text, f"{title}.json"],
    )
    editor.wait_for_nodes(len(json.loads(text)["nodes"]))
    editor.check(title)
    editor.page.wait_for_timeout(700)
    assert editor.page.get_by_text("Media input missing").count() == 0, (
        "a node is marked red before anything was done"
    )


def test_photo_becomes_a_video_that_plays_in_the_node(editor):
    """On the embedded checkpoint: frames play in the sampler while it works,
    the video in the last node after it.
    """
    editor.load("Image to Video")
    editor.set("PureSVDSample", steps=40)  # long enough to be watched
    editor.picture("graph")  # a node off the screen is not drawn, and shows nothing
    editor.run()
    sampler = "app.graph._nodes.find(node => node.type === 'PureSVDSample')"
    editor.page.wait_for_function(f"{sampler}.imgs?.[0]?.naturalWidth === 384", timeout=120_000)
    editor.picture("live preview")
    assert editor.ended()["kind"] == "execution_success"
    sizes = editor.page.evaluate(
        "Promise.all(window.shown.map(async ({ blob }) => (await createImageBitmap(blob)).width))"
    )
    assert len(sizes) > 1
    assert set(sizes) == {384}, "single frames, enlarged, and never the sheet"
    assert editor.page.evaluate("new Set(window.shown.map(({ blob }) => blob)).size") > 1
    editor.page.wait_for_function("document.querySelector('video')?.readyState >= 2", timeout=20_000)
    assert editor.page.evaluate("document.querySelector('video').videoWidth") == 256
    editor.picture("result")
    before = editor.page.evaluate("window.shown.length")
    editor.page.wait_for_timeout(600)
    assert editor.page.evaluate("window.shown.length") == before, "playing ends with the run"


def test_all_frames_are_shown_side_by_side_when_playing_is_off(tab):
    editor = tab(**{"PureSVD.PlayPreview": False})
    editor.load("Image to Video with Native Sampler")
    editor.set("KSampler", steps=3)
    editor.run()
    assert editor.ended()["kind"] == "execution_success"
    sizes = editor.page.evaluate(
        "Promise.all(window.shown.map(async ({ blob }) => (await createImageBitmap(blob)).width))"
    )
    assert sizes == [512] * 3, "one sheet a step"
    editor.picture("contact sheet")
    assert editor.faults == []
    editor.page.close()


def test_error_while_running_shows_one_sentence_on_its_node(editor):
    editor.load("Image to Video")
    editor.set("PureSVDDecode", memory=0.001)
    editor.run()
    ended = editor.ended()
    sentence = "decoding 14 frames of 256x256 needs a limit of at least 0.25 GiB"
    assert (ended["kind"], ended["node_type"]) == ("execution_error", "PureSVDDecode")
    assert ended["exception_message"].startswith(sentence)
    editor.page.get_by_test_id("error-overlay").wait_for(timeout=10_000)
    editor.picture("wrong value", fit=False)
    editor.page.get_by_test_id("error-overlay-see-errors").click()
    panel = editor.page.get_by_test_id("runtime-error-panel")
    panel.get_by_text(sentence).first.wait_for(timeout=10_000)
    editor.picture("wrong value, details", fit=False)
    marked = (
        "app.graph._nodes.filter(node => node.id == app.lastExecutionError?.node_id).map(node => node.type)"
    )
    assert editor.page.evaluate(marked) == ["PureSVDDecode"]


def test_wrong_size_turns_its_node_red_before_anything_runs(editor):
    editor.load("Image to Video")
    editor.set("PureSVDImageToVideo", width=8)
    editor.run()
    refused = (
        "() => Object.values(app.lastNodeErrors || {}).map(found => [found.class_type, "
        "found.errors[0].details])"
    )
    editor.page.wait_for_function(f"() => ({refused})().length > 0", timeout=20_000)
    ((kind, details),) = editor.page.evaluate(refused)
    assert kind == "PureSVDImageToVideo"
    assert "width 8 is not a multiple of 8 from 16 on; use 16 or 24" in details
    editor.picture("wrong size")
    assert editor.page.evaluate("window.ended") is None


def test_previews_are_offered_once_where_the_host_makes_none(tab):
    method = "app.extensionManager.setting.get('Comfy.Execution.PreviewMethod')"
    editor = tab(**{"Comfy.Execution.PreviewMethod": "default", "PureSVD.PreviewOffered": False})
    editor.load("Image to Video")
    editor.set("PureSVDSample", steps=1)
    editor.run()
    note = editor.page.get_by_test_id("puresvd-offer")
    note.wait_for(timeout=20_000)
    editor.picture("previews offered", fit=False)
    assert editor.ended()["kind"] == "execution_success"
    note.get_by_role("button", name="Turn on").click()
    editor.page.wait_for_function(f"{method} === 'auto'", timeout=5_000)
    assert note.count() == 0
    editor.page.evaluate("app.extensionManager.setting.set('Comfy.Execution.PreviewMethod', 'none')")
    editor.run()
    assert editor.ended()["kind"] == "execution_success"
    assert note.count() == 0, "once is enough"
    assert editor.faults == []
    editor.page.close()
    fetch(f"{editor.address}/api/settings", SETTINGS)


def test_help_page_shows_its_pictures(editor):
    editor.find(NAMES["PureSVDImageToVideo"])
    editor.page.evaluate("app.canvas.selectItems(app.graph._nodes)")
    editor.page.get_by_test_id("info-button").click()
    pictures = editor.page.locator(".node-help-content img")
    pictures.first.wait_for(timeout=10_000)
    count = (ROOT / "web/docs/PureSVDImageToVideo/en.md").read_text(encoding="utf-8").count("![")
    assert pictures.count() == count
    editor.page.wait_for_function(
        "() => [...document.querySelectorAll('.node-help-content img')].every(picture => picture.naturalWidth"
        " > 0)"
    )
    pictures.first.scroll_into_view_if_needed()
    editor.page.wait_for_timeout(500)
    editor.picture("help", fit=False)


def test_editor_speaks_japanese(tab):
    editor = tab(**{"Comfy.Locale": "ja"})
    editor.load("Image to Video")
    names = json.loads((ROOT / "locales/ja/nodeDefs.json").read_text(encoding="utf-8"))
    for node_id in NAMES:
        made = editor.page.evaluate(
            "id => { const node = LiteGraph.createNode(id); return [node.title, "
            "node.inputs.map(slot => [slot.name, slot.label ?? slot.localized_name]), "
            "(node.widgets ?? []).map(widget => [widget.name, widget.label])] }",
            node_id,
        )
        assert made[0] == names[node_id]["display_name"]
        shown = dict(made[1]) | {name: label for name, label in made[2] if label}
        wanted = {name: entry["name"] for name, entry in names[node_id]["inputs"].items() if name in shown}
        assert len(wanted) >= len(names[node_id]["inputs"]) - 1  # the host's own widget below a seed
        assert {name: shown[name] for name in wanted} == wanted
    titles = editor.page.evaluate("app.graph._nodes.map(node => [node.type, node.title])")
    ours = [(node_id, title) for node_id, title in titles if node_id in names]
    assert len(ours) == 4
    assert ours == [(node_id, names[node_id]["display_name"]) for node_id, _ in ours]
    editor.picture("japanese")
    assert editor.faults == []
    editor.page.close()
    fetch(f"{editor.address}/api/settings", SETTINGS)
