"""Help pages and translations name exactly the nodes, inputs and outputs there are, in every language."""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from clients.puresvd_client import NO_PROXY

ROOT = Path(__file__).resolve().parent.parent
DOCS, LOCALES = ROOT / "web" / "docs", ROOT / "locales"
LANGUAGES = ("en", "ja", "zh")
EXTRA_WIDGET = "control_after_generate"  # the host's own, below each seed


@dataclass(frozen=True)
class Node:
    id: str
    display_name: str
    inputs: list[str]
    outputs: list[str]

    def __str__(self):
        return self.id


def read_nodes():
    """Every node class in the sources, which needs no host."""
    found = []
    for path in sorted((ROOT / "nodes").glob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        functions = {item.name: item for item in module.body if isinstance(item, ast.FunctionDef)}
        classes = [item for item in module.body if isinstance(item, ast.ClassDef)]
        found += [read_node(cls, functions) for cls in classes if "define_schema" in methods(cls)]
    return found


def methods(cls):
    return {item.name: item for item in cls.body if isinstance(item, ast.FunctionDef)}


def read_node(cls, functions):
    schema = next(
        call for call in calls(methods(cls)["define_schema"]) if ast.unparse(call.func) == "io.Schema"
    )
    given = {keyword.arg: keyword.value for keyword in schema.keywords}
    arguments = methods(cls)["execute"].args  # the schema's inputs, as the tests of the nodes assert
    inputs = [item.arg for item in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)][1:]
    outputs = given["outputs"]
    if isinstance(outputs, ast.Call):
        outputs = functions[outputs.func.id]
    made = [call for call in calls(outputs) if ast.unparse(call.func).endswith(".Output")]
    titles = [next(k.value.value for k in call.keywords if k.arg == "display_name") for call in made]
    return Node(given["node_id"].value, given["display_name"].value, inputs, titles)


def calls(tree):
    return sorted(
        (n for n in ast.walk(tree) if isinstance(n, ast.Call)), key=lambda n: (n.lineno, n.col_offset)
    )


NODES = read_nodes()
each_node = pytest.mark.parametrize("node", NODES, ids=str)
each_language = pytest.mark.parametrize("language", LANGUAGES)


def definitions(language):
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def page(node, language):
    return (DOCS / node.id / f"{language}.md").read_text(encoding="utf-8")


def tables(text):
    """The tables of a page, each a list of rows of cells, without header and rule."""
    found, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.lstrip().startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif rows:
            found.append(rows[2:])
            rows = []
    return found


def named(rows):
    """The identifiers in backticks that a table's rows begin with."""
    return [re.search(r"`([^`]+)`", row[0]).group(1) for row in rows]


def test_sources_list_every_node():
    assert len(NODES) >= 7
    assert all(node.id.startswith("PureSVD") and node.inputs and node.outputs for node in NODES)


def test_pages_and_translations_are_of_nodes_that_exist():
    ids = {node.id for node in NODES}
    assert {path.name.removesuffix(".md") for path in DOCS.iterdir()} == ids | {"pictures"}
    for language in LANGUAGES:
        assert set(definitions(language)) == ids


@each_node
def test_page_without_language_is_the_english_one(node):
    assert (DOCS / f"{node.id}.md").read_text(encoding="utf-8") == page(node, "en")


@each_language
@each_node
def test_page_explains_every_input_and_output(node, language):
    inputs, outputs, *_ = tables(page(node, language))
    assert named(inputs) == node.inputs
    assert named(outputs) == node.outputs
    assert all(all(row) for row in inputs + outputs), "an empty cell"


@each_language
@each_node
def test_page_uses_the_names_of_the_editor(node, language):
    entry, text = definitions(language)[node.id], page(node, language)
    assert text.startswith(f"# {entry['display_name']}\n")
    inputs, outputs, *_ = tables(text)
    shown = [entry["inputs"][name]["name"] for name in node.inputs]
    shown += [entry["outputs"][str(i)]["name"] for i in range(len(node.outputs))]
    assert [row[0] for row in inputs + outputs if not any(name in row[0] for name in shown)] == []


@each_language
@each_node
def test_translation_covers_every_name_and_tooltip(node, language):
    entry = definitions(language)[node.id]
    extra = [EXTRA_WIDGET] if "seed" in node.inputs else []
    assert sorted(entry["inputs"]) == sorted(node.inputs + extra)
    assert list(entry["outputs"]) == [str(i) for i in range(len(node.outputs))]
    assert entry["display_name"]
    assert entry["description"]
    for name in node.inputs:
        assert entry["inputs"][name]["name"]
        assert entry["inputs"][name]["tooltip"]
    for i in entry["outputs"]:
        assert entry["outputs"][i]["name"]
        assert entry["outputs"][i]["tooltip"]


@each_node
def test_english_names_are_those_of_the_schema(node):
    entry = definitions("en")[node.id]
    assert entry["display_name"] == node.display_name
    assert [entry["inputs"][name]["name"] for name in node.inputs] == node.inputs
    assert [output["name"] for output in entry["outputs"].values()] == node.outputs


@each_language
def test_translations_hold_nothing_the_editor_would_interpret(language):
    """Braces, at signs and bars are syntax of its message format."""
    texts = re.findall(
        r'"((?:[^"\\]|\\.)*)"', (LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8")
    )
    assert [text for text in texts if set(text) & set("@{}|")] == []


@pytest.mark.parametrize("language", LANGUAGES[1:])
@each_node
def test_other_languages_are_translated(node, language):
    """Each description and tooltip holds letters of its language, and no two languages share a page."""
    letters = re.compile({"ja": "[\u3040-\u30ff\u4e00-\u9fff]", "zh": "[\u4e00-\u9fff]"}[language])
    entry = definitions(language)[node.id]
    texts = [entry["description"], entry["display_name"]]
    texts += [item["tooltip"] for name, item in entry["inputs"].items() if name != EXTRA_WIDGET]
    assert [text for text in texts if not letters.search(text)] == []
    assert language != "zh" or not re.search(
        "[\u3040-\u30ff]", json.dumps(entry, ensure_ascii=False) + page(node, "zh")
    )
    assert len(set(map(len, (page(node, other) for other in LANGUAGES)))) == len(LANGUAGES)


@each_language
@each_node
def test_page_mentions_only_nodes_by_the_names_they_have(node, language):
    """Bold words without code in them are names of nodes, ours or the host's."""
    own = {entry["display_name"] for entry in definitions(language).values()}
    host = {"en": {"Create Video"}, "ja": {"動画を作成"}, "zh": {"创建视频"}}[language]
    bold = {name for name in re.findall(r"\*\*(.+?)\*\*", page(node, language)) if "`" not in name}
    assert bold - {"AnimateLCM-SVD"} <= own | host


def test_categories_are_named_in_every_language():
    for language in LANGUAGES:
        main = json.loads((LOCALES / language / "main.json").read_text(encoding="utf-8"))
        assert list(main["nodeCategories"]) == ["svd"], "the host names its own"


def test_memory_limits_of_the_decode_page_are_the_decoders_own():
    decode, vae = pytest.importorskip("svd_core.decode.plan"), pytest.importorskip("svd_core.models.vae")
    config = vae.VAEConfig(
        ch=128,
        ch_mult=(1, 2, 4, 4),
        num_res_blocks=2,
        z_channels=4,
        temporal=True,
        embedder=True,
        native_encoder=True,
        quant_conv=False,
        post_quant_conv=False,
    )

    def limit(frames, bits, gpu, quickest=False):
        for memory in decode.TIERS:
            try:
                chosen = decode.plan(
                    config, frames, 72, 128, itemsize=bits // 8, memory=memory, can_offload=gpu
                )
            except ValueError:
                continue
            if chosen.keep == 1 or not quickest:
                return f"{memory / decode.GIB:g} GiB"

    wanted = [
        [limit(frames, *row) for frames in (14, 25)]
        for row in ((16, True), (32, True), (32, False), (16, True, True))
    ]
    for language in LANGUAGES:
        text = (DOCS / "PureSVDDecode" / f"{language}.md").read_text(encoding="utf-8")
        assert [row[1:] for row in tables(text)[2]] == wanted


def test_every_registered_node_was_read(host):
    assert {cls.define_schema().node_id for cls in host.pack("nodes").NODES} <= {node.id for node in NODES}


def test_english_tooltips_are_those_of_the_schema(host):
    for cls in host.pack("nodes").NODES:
        schema, entry = cls.define_schema(), definitions("en")[cls.define_schema().node_id]
        assert entry["description"] == schema.description
        assert {i.id: i.tooltip for i in schema.inputs} == {
            i.id: entry["inputs"][i.id]["tooltip"] for i in schema.inputs
        }
        assert [o.tooltip for o in schema.outputs] == [
            output["tooltip"] for output in entry["outputs"].values()
        ]


UNITS = re.compile(
    "pixel|degrees|frames|steps|GiB|no unit|standard deviation|seconds?|How many "
    "times|[Ss]hare|Likeness|Number of|Which noise"
)
SCHEDULED = (
    "PureSVDImageToVideo",
    "PureSVDSigmas",
    "PureSVDGuider",
    "PureSVDSample",
)  # nodes with trained values


def test_tooltips_of_numbers_tell_the_unit_and_the_trained_value(host):
    for cls in host.pack("nodes").NODES:
        schema = cls.define_schema()
        for entry in schema.inputs:
            if entry.io_type not in ("INT", "FLOAT"):
                continue
            where = f"{schema.node_id}.{entry.id}: {entry.tooltip}"
            assert UNITS.search(entry.tooltip), where
            if schema.node_id in SCHEDULED and entry.id != "seed":
                assert re.search(r"[Tt]rain|released|svd(_xt)? \d|checkpoint's own", entry.tooltip), where


@each_language
def test_pages_state_every_default_and_choice(host, language):
    for cls in host.pack("nodes").NODES:
        schema = cls.define_schema()
        path = DOCS / schema.node_id / f"{language}.md"
        rows = tables(path.read_text(encoding="utf-8"))[0]
        told = dict(zip(named(rows), (row[1] for row in rows)))
        for entry in schema.inputs:
            default, where = getattr(entry, "default", None), f"{path}: {entry.id}"
            if entry.io_type in ("INT", "FLOAT"):
                assert re.search(rf"(?<![\d.]){default:g}(?:\.0)?(?!\.?\d)", told[entry.id]), where
            if entry.io_type == "COMBO" and not entry.id.endswith("_name"):  # those list files
                assert [option for option in entry.options if f"`{option}`" not in told[entry.id]] == [], (
                    where
                )


def test_server_hands_out_pages_and_translations(server):
    found = server.client.get("/i18n")
    for language in LANGUAGES:
        assert definitions(language).items() <= found[language]["nodeDefs"].items()
    for node in NODES:
        for path in (f"{node.id}.md", *(f"{node.id}/{language}.md" for language in LANGUAGES)):
            with NO_PROXY.open(
                f"{server.client.server}/extensions/PureSVD/docs/{path}", timeout=30
            ) as answer:
                assert answer.read() == (DOCS / path).read_bytes()


def links(path):
    """(text, target) of the links and pictures of a page."""
    return re.findall(r"\[([^\]]*)\]\(([^)]+)\)", path.read_text(encoding="utf-8"))


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "svd_core").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_what_they_name(page):
    """A link whose text is the name of a test leads to the file that holds it."""
    found = [(text, target) for text, target in links(page) if not target.startswith(("http", "#"))]
    assert [target for _, target in found if not (page.parent / target).is_file()] == []
    tests = [(text.strip("`"), page.parent / target) for text, target in found if text.startswith("`test_")]
    assert [name for name, path in tests if f"def {name}(" not in path.read_text(encoding="utf-8")] == []


def test_comparison_with_the_native_nodes_rests_on_tests():
    rows = [row for row in tables((ROOT / "docs/native.md").read_text(encoding="utf-8"))[0] if row]
    assert len(rows) > 10
    assert all("](../" in row[-1] for row in rows)


def test_readme_is_short():
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") <= 100


def test_pictures_exist_are_small_and_stand_in_every_language():
    folder = DOCS / "pictures"
    shown = {}
    for language in LANGUAGES:
        for node in NODES:
            targets = [target for _, target in links(DOCS / node.id / f"{language}.md")]
            shown.setdefault(language, []).extend(
                target for target in targets if target.startswith("pictures/")
            )
    assert shown["en"] == shown["ja"] == shown["zh"]
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sorted(shown["en"]) == sorted(f"pictures/{name}" for name in files)
    assert max(files.values()) <= 60_000
    assert sum(files.values()) <= 1_000_000
    assert (ROOT / "assets" / "result.webp").stat().st_size <= 1_500_000
