"""What every test may ask for: the real host in this process, a real server, slow tests on request."""

import asyncio
import contextlib
import importlib
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from clients import command
from clients.comfyui import Client
from scripts import server as real_server

ROOT = Path(__file__).resolve().parent.parent
NANO = ROOT / "svd_core" / "nano" / "svd_nano.safetensors"


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests too")
    parser.addoption("--screenshots", metavar="FOLDER", help="keep the editor's screenshots here")


def pytest_configure():
    command.leave_on_signals()  # a terminal that is closed must not leave servers behind


def pytest_collection_modifyitems(config, items):
    for item in items:
        if {"host", "server", "start_server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.host)
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))
        if "gpu" in item.keywords and not cuda_available():
            item.add_marker(pytest.mark.skip(reason="gpu: no CUDA device here"))


def cuda_available():
    torch = importlib.import_module("torch")
    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def seeded():
    """What a test draws without a generator of its own is the same in every run."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@dataclass(frozen=True)
class Host:
    """The real ComfyUI in this process, on the CPU, with the pack loaded by its own loader."""

    path: Path
    base: Path  # models, input, output and temp of this run
    nodes: ModuleType  # ComfyUI's own `nodes`
    folder_paths: ModuleType
    pack_name: str

    def pack(self, name=""):
        """A module of the loaded pack, e.g. pack("nodes.load"); `svd_core` on the path is another object."""
        return importlib.import_module(f"{self.pack_name}.{name}" if name else self.pack_name)

    def node(self, node_id):
        return self.nodes.NODE_CLASS_MAPPINGS[node_id]

    def run(self, node_id, **inputs):
        """Execute one node, native or ours, and return its outputs as a tuple."""
        node = self.node(node_id)
        if hasattr(node, "define_schema"):
            out = node.execute(**inputs)
            return tuple(out.args) if hasattr(out, "args") else tuple(out)
        out = getattr(node(), node.FUNCTION)(**inputs)
        return out["result"] if isinstance(out, dict) else out


def host_path():
    found = os.environ.get("PURESVD_HOST") or os.environ.get("COMFYUI_PATH")
    if not found:
        pytest.skip("no ComfyUI: run scripts/test.py, or set COMFYUI_PATH")
    if not (Path(found) / "main.py").is_file():
        pytest.fail(f"{found} holds no main.py; PURESVD_HOST or COMFYUI_PATH must name a ComfyUI folder")
    return Path(found)


@pytest.fixture(scope="session")
def host(tmp_path_factory):
    """The real host, imported once; its model, input and output folders are temporary."""
    path, base = host_path(), real_server.make_base(tmp_path_factory.mktemp("host"))
    sys.path.insert(0, str(path))  # ahead of the repository, whose own folder `nodes` must not be found first
    args = importlib.import_module("comfy.cli_args").args
    args.cpu, args.base_directory = True, str(base)
    importlib.import_module("utils.extra_config")  # before `nodes`: older hosts shadow `utils`
    nodes = importlib.import_module("nodes")
    assert Path(nodes.__file__).parent == path, f"`import nodes` gave {nodes.__file__}, not the host's"
    asyncio.run(nodes.init_builtin_extra_nodes())
    assert asyncio.run(nodes.load_custom_node(str(ROOT))), "the host could not load the pack; see its log"
    return Host(path, base, nodes, importlib.import_module("folder_paths"), str(ROOT).replace(".", "_x_"))


@dataclass(frozen=True)
class Server:
    """A real server process; its checkpoint folder holds `tiny.safetensors`, reduced-width and random."""

    client: Client
    base: Path

    @property
    def log(self):
        return (self.base / "server.log").read_text(encoding="utf-8", errors="replace")


@pytest.fixture(scope="session")
def start_server(tmp_path_factory):
    """Starts one: `with start_server(host folder) as server`."""

    @contextlib.contextmanager
    def start(path):
        base = real_server.make_base(tmp_path_factory.mktemp("server"))
        make = importlib.import_module("tests.make_checkpoint")
        make.write_checkpoint(base / "models" / "checkpoints" / "tiny.safetensors")
        make.write_lora(base / "models" / "loras" / "nano.safetensors", NANO)
        make.write_controlnet(base / "models" / "controlnet" / "nano.safetensors", NANO)
        with real_server.running(path, base, python=Path(sys.executable)) as client:
            yield Server(client, base)

    return start


@pytest.fixture(scope="session")
def server(start_server):
    """One server for all tests that ask for it."""
    with start_server(host_path()) as running:
        yield running


@pytest.fixture(scope="session")
def chromium():
    """Path of a Chromium; missing it is a skip on a desk and a failure in continuous integration."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium found: apt install chromium")
    return found
