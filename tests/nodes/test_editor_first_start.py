"""The first minutes of a newcomer: a host that was never used, a browser that has never seen it,
and nothing set by hand.
"""

import pytest

from tests.conftest import host_path
from tests.nodes import test_editor
from tests.nodes.test_editor import READY, ROOT, STILL, Editor, fetch
from tests.nodes.test_editor_everyday import BOTH, BUSY, wait_for_a_playing_video

pytestmark = [pytest.mark.browser, pytest.mark.slow]
folder, browser = test_editor.folder, test_editor.browser
RENDERER = {False: "classic", True: "Nodes 2.0"}


def first_screen(page, address, folder):
    """The editor as it opens by itself: nothing cleared, nothing set."""
    editor = Editor(page, address, folder)
    page.on("pageerror", lambda fault: editor.faults.append(str(fault)))
    page.add_init_script(STILL)
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_function(READY, timeout=2 * BUSY)
    return editor


@pytest.mark.parametrize("new_nodes", BOTH)
def test_first_start_leads_from_the_templates_to_a_video(new_nodes, start_server, browser, folder):
    """The host's template dialog lists the pack, and the first card opened runs untouched."""
    with start_server(host_path()) as fresh:
        address = fresh.client.server
        fresh.client.upload(ROOT / "assets" / "sample.jpg", name="example.png")
        if new_nodes:
            fetch(f"{address}/api/settings", {"Comfy.VueNodes.Enabled": True})
        editor = first_screen(browser.new_page(viewport={"width": 1600, "height": 950}), address, folder)
        page, name = editor.page, RENDERER[new_nodes]
        assert page.evaluate("LiteGraph.vueNodesMode") == new_nodes
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("PureSVD", exact=True).first.click(timeout=BUSY)
        card = page.get_by_test_id("template-workflow-Image to Video")
        card.wait_for(timeout=BUSY)
        editor.picture(f"first start, {name}", fit=False)
        card.click()
        dialog.wait_for(state="hidden", timeout=BUSY)
        editor.check("Image to Video")
        editor.picture(f"first start, template, {name}", fit=False)  # as the editor itself centres it
        editor.run()
        page.get_by_test_id("puresvd-offer").wait_for(timeout=BUSY)
        editor.picture(f"first start, previews offered, {name}", fit=False)
        page.get_by_test_id("puresvd-offer").get_by_role("button", name="Turn on").click()
        assert editor.ended(timeout=500)["kind"] == "execution_success"
        editor.picture(f"first start, video, {name}")  # a node off the screen shows nothing
        wait_for_a_playing_video(editor)
        editor.picture(f"first start, video, {name}")
        assert editor.faults == []
        page.close()
