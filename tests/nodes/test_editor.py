"""The bundled graphs in the real editor: they open, turn into the prompts beside them, and run."""

import json
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
READY = "window.app && app.extensionManager && window.LiteGraph && !!LiteGraph.registered_node_types['PureSVDDecode']"


def fetch(url, data=None):
    headers = {"Content-Type": "application/json"}
    body = None if data is None else json.dumps(data).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:
        return answer.read()


@pytest.fixture(scope="module")
def editor(server, chromium):
    """(page, address) of the editor with every node registered."""
    sync_api = pytest.importorskip("playwright.sync_api")
    address = server.client.server
    fetch(f"{address}/api/settings", {"Comfy.TutorialCompleted": True, "Comfy.Locale": "en"})
    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_page()
        faults = []
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        page.goto(address, wait_until="domcontentloaded")
        page.wait_for_function(READY, timeout=120_000)
        page.wait_for_timeout(3000)
        yield page, address
        assert not faults
        browser.close()


def graph_names(address):
    offered = json.loads(fetch(f"{address}/api/workflow_templates"))
    (pack,) = (name for name, titles in offered.items() if "Image to Video" in titles)
    return pack, sorted(offered[pack])


def test_every_graph_becomes_its_prompt(editor):
    page, address = editor
    pack, titles = graph_names(address)
    assert len(titles) == len(list((ROOT / "workflows").glob("*.json")))
    prompts = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in (ROOT / "workflows" / "api").glob("*.json")
    }
    met = set()
    for title in titles:
        link = f"{address}/api/workflow_templates/{pack}/{urllib.parse.quote(title)}"
        assert fetch(f"{link}.jpg")[:2] == b"\xff\xd8"
        page.evaluate("graph => app.loadGraphData(graph)", json.loads(fetch(f"{link}.json")))
        found = page.evaluate("async () => (await app.graphToPrompt()).output")
        met |= {name for name, prompt in prompts.items() if same(found, prompt)}
    assert met == set(prompts)


def same(found, prompt):
    """Nodes and inputs agree; the editor may add optional inputs of native nodes at their defaults."""
    return found.keys() == prompt.keys() and all(
        entry["class_type"] == found[key]["class_type"]
        and all(found[key]["inputs"].get(name) == value for name, value in entry["inputs"].items())
        for key, entry in prompt.items()
    )
