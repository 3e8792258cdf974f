"""Promise: importing and running the pack touches nothing but the host's folders,
and leaves the host as it was.
"""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import cache
from scripts.server import make_base
from tests.conftest import NANO, host_path
from tests.contract.graphs import SAMPLE, every_node
from tests.make_checkpoint import write_checkpoint, write_controlnet, write_lora

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("isolated_run.py")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What one import and one run of a graph with every node did, in a process of its own."""
    base = make_base(tmp_path_factory.mktemp("isolated"))
    shutil.copy(SAMPLE, base / "input" / "photo.jpg")
    write_checkpoint(base / "models" / "checkpoints" / "tiny.safetensors")
    write_lora(base / "models" / "loras" / "nano.safetensors", NANO)
    write_controlnet(base / "models" / "controlnet" / "nano.safetensors", NANO)
    prompt = base / "prompt.json"
    prompt.write_text(json.dumps(every_node("photo.jpg")), encoding="utf-8")
    line = [sys.executable, str(SCRIPT), str(host_path()), str(base), str(prompt)]
    done = subprocess.run(line, cwd=base, env=cache.clean(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.rpartition("REPORT ")[2])


def test_pack_loads_and_every_node_runs_with_everything_forbidden(report):
    assert report["loaded"]
    assert report["success"], report["fault"]
    assert set(report["added"]) == {
        node["class_type"] for node in every_node("").values() if "PureSVD" in node["class_type"]
    }


def test_import_opens_no_connection_starts_no_process_writes_no_file(report):
    assert report["tried_by_import"] == []


def test_run_opens_no_connection_starts_no_process_unpickles_nothing_and_writes_below_the_base_alone(report):
    assert report["tried"] == []


def test_no_function_of_the_host_or_of_torch_is_replaced(report):
    assert report["patched"] == []
    assert report["replaced"] == [], "a node of the host went away"
    assert report["compared"] > 10_000, "the host's functions were not found"


def test_random_states_settings_and_environment_are_as_before(report):
    assert report["spoiled"] == []


def test_what_is_forbidden_would_have_been_seen(report):
    assert report["seen"] == ["socket", "subprocess", "pickle", "write", "folder"]
    assert "comfy.samplers.KSAMPLER.sample" in report["seen_patches"]


BANNED = {
    "pickle",
    "shelve",
    "marshal",
    "subprocess",
    "multiprocessing",
    "socket",
    "ssl",
    "http",
    "urllib",
    "requests",
    "another library",
}


def named(path):
    """Parts of the modules a source imports, and the calls that would hide from that."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (part for alias in node.names for part in alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            yield from [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("ctypes."):
            if ast.unparse(node) != "ctypes.CDLL(None)":  # the C library that Python itself runs on
                yield "another library"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "os.system", "os.popen"):
            yield "subprocess" if node.value.id == "os" else "pickle"


def test_sources_name_nothing_that_unpickles_connects_or_starts_processes():
    """The guard sees what runs; this sees every line, and torch.load, whose unpickler no guard sees."""
    sources = [*ROOT.glob("nodes/**/*.py"), *ROOT.glob("svd_core/**/*.py"), ROOT / "__init__.py"]
    assert len(sources) > 40
    assert {path.name: BANNED & set(named(path)) for path in sources if BANNED & set(named(path))} == {}
