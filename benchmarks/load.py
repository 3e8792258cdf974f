"""Time and anonymous memory of loading a full-width fp16 checkpoint: the core, our node, and the native loader.

    COMFYUI_PATH=... python benchmarks/load.py

The file is sparse (all weights zero), so the disk plays no part; each loader runs in its own process, and what is
imported before is not counted. The U-Net keeps the file's format.
"""

import argparse
import asyncio
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOADERS = ("core", "node", "native")


def anonymous():
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("RssAnon:")[1].split()[0]) << 10


class Peak:
    """The highest anonymous memory between enter and exit, sampled every 2 ms, above the start."""

    def __enter__(self):
        self.start = self.highest = anonymous()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        self.began = time.perf_counter()
        return self

    def watch(self):
        while not self.stop.wait(0.002):
            self.highest = max(self.highest, anonymous())

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self.began
        self.stop.set()
        self.thread.join()
        self.bytes = max(self.highest, anonymous()) - self.start


def write_sparse(path):
    """A file with the released svd's names and shapes in fp16; returns its size."""
    sys.path.insert(0, str(ROOT))
    full_width = importlib.import_module("tests.svd_core.full_width").full_width
    header, at = {}, 0
    for name, tensor in full_width("svd").items():
        size = tensor.numel() * 2
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return os.path.getsize(path)


def loader(name):
    """A function of the path, its modules imported."""
    if name == "core":
        sys.path.insert(0, str(ROOT))
        return importlib.import_module("svd_core.checkpoint").load
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    args = importlib.import_module("comfy.cli_args").args
    args.cpu, args.base_directory = True, tempfile.mkdtemp()
    importlib.import_module("utils.extra_config")  # before `nodes`: older hosts shadow `utils`
    nodes = importlib.import_module("nodes")
    if name == "native":
        sd = importlib.import_module("comfy.sd")
        options = {"output_clip": False, "output_clipvision": True}
        half = {"dtype": importlib.import_module("torch").float16}
        return lambda path: sd.load_checkpoint_guess_config(path, **options, model_options=half)
    assert asyncio.run(nodes.load_custom_node(str(ROOT)))
    ours = importlib.import_module(str(ROOT).replace(".", "_x_") + ".nodes.host.load")
    return lambda path: ours.load(ours.Source(path=path), ours.AS_STORED)


def measure(name, path):
    load = loader(name)
    with Peak() as peak:
        kept = load(path)
    assert kept
    return {"seconds": round(peak.seconds, 2), "anonymous_bytes": peak.bytes}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--loader", choices=LOADERS)
    parser.add_argument("--path")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    if given.loader:
        print(json.dumps(measure(given.loader, given.path)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "svd.safetensors")
        size = write_sparse(path)
        print(f"file of {size / 1e9:.2f} GB, fp16")
        names = LOADERS if os.environ.get("COMFYUI_PATH") else LOADERS[:1]
        runs = {name: [] for name in names}
        for _ in range(given.repeat):  # in turn, so that all meet the same load of the machine
            for name in names:
                command = [sys.executable, __file__, "--loader", name, "--path", path]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                runs[name].append(json.loads(done.stdout.splitlines()[-1]))
        for name in names:
            best = min(run["seconds"] for run in runs[name])
            share = max(run["anonymous_bytes"] for run in runs[name]) / size
            print(f"{name:7} {best:6.2f} s   {share:5.2f} x the file in anonymous memory")


if __name__ == "__main__":
    main()
