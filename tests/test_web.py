"""The scripts of the editor keep to their nodes, and speak every language of the pack."""

import re
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parent.parent / "web"
SCRIPTS = sorted([*WEB.glob("*.js"), *WEB.glob("drawing/*.mjs")])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_listen_and_style_only_within_their_node(path):
    """Keys, pointers and styles of the whole page are the host's and other packs'."""
    text = path.read_text(encoding="utf-8")
    page = r"\b(window|document|globalThis|self|body)\b"
    assert not re.search(rf"{page}\s*\.\s*(addEventListener|on[a-z]+\s*=)", text)
    assert not re.search(r"""createElement\(["'](style|link|script)["']\)|\.(style|adopted)Sheets""", text)
    notes = 1 if path.name == "offer.js" else 0  # one note at the edge of the window, styled by itself alone
    assert len(re.findall(rf"{page}\s*\.\s*(?:append|prepend|insert)", text)) == notes
    assert "prototype" not in text, "no class of the host is changed"


def test_the_editor_of_paths_has_every_word_in_every_language():
    text = (WEB / "paths.js").read_text(encoding="utf-8")
    table = text[text.index("const WORDS") : text.index("app.registerExtension")]
    languages = re.split(r"^  (en|ja|zh): \{$", table, flags=re.M)[1:]
    words = {
        name: re.findall(r"^    (\w+):", body, flags=re.M)
        for name, body in zip(languages[::2], languages[1::2])
    }
    assert words.keys() == {"en", "ja", "zh"}
    assert words["en"] == words["ja"] == words["zh"]
    used = (WEB / "drawing" / "picture.mjs").read_text(encoding="utf-8")
    assert set(re.findall(r"this\.words\.(\w+)", used)) <= set(words["en"])
