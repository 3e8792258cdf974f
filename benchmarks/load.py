"""Anonymous memory and time of loading a checkpoint, by our node and by the host's:
python -m benchmarks --load FILE

Each loader runs in a fresh process. Memory is the peak of anonymous pages above what imports took,
so mapped file pages do not count. COMFYUI_PATH names the host, which sees the file through a link in a folder
of its own.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOADERS = {
    "PureSVD, as stored": ("PureSVDLoadCheckpoint", {"weight_dtype": "as stored"}),
    "PureSVD, default": ("PureSVDLoadCheckpoint", {"weight_dtype": "default"}),
    "native": ("ImageOnlyCheckpointLoader", {}),
}


def anonymous() -> int:
    """Bytes of anonymous memory of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not report anonymous memory; run on Linux")


class Peak(threading.Thread):
    """Watches anonymous memory until stopped."""

    def __init__(self):
        super().__init__(daemon=True)
        self.start_value = self.peak = anonymous()
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(0.01):
            self.peak = max(self.peak, anonymous())


def measure(file: Path, name: str) -> None:
    """Load in this process and print bytes and seconds."""
    node, options = LOADERS[name]
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    args = importlib.import_module("comfy.cli_args").args
    with tempfile.TemporaryDirectory() as base:
        args.cpu, args.base_directory = True, base
        importlib.import_module("utils.extra_config")  # before `nodes`: older hosts shadow `utils`
        folder = Path(base, "models", "checkpoints")
        folder.mkdir(parents=True)
        (folder / file.name).symlink_to(file.resolve())
        nodes = importlib.import_module("nodes")
        asyncio.run(nodes.init_builtin_extra_nodes())
        asyncio.run(nodes.load_custom_node(str(ROOT)))
        cls = nodes.NODE_CLASS_MAPPINGS[node]
        load = cls.execute if hasattr(cls, "define_schema") else getattr(cls(), cls.FUNCTION)
        watch = Peak()
        watch.start()
        start = time.perf_counter()
        kept = load(ckpt_name=file.name, **options)
        seconds = time.perf_counter() - start
        watch.done.set()
        watch.join()
        del kept
    print(watch.peak - watch.start_value, seconds)


def compare(file: Path, rounds: int = 1) -> dict[str, tuple[float, list[float]]]:
    """Loader -> peak of anonymous memory in bytes, seconds of every round; the loaders alternate."""
    peak, times = dict.fromkeys(LOADERS, 0), {name: [] for name in LOADERS}
    for _ in range(rounds):
        for name in LOADERS:
            line = [sys.executable, __file__, str(file), name]
            done = subprocess.run(line, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr)
            used, seconds = done.stdout.split()[-2:]
            peak[name] = max(peak[name], int(used))
            times[name].append(float(seconds))
    return {name: (peak[name], times[name]) for name in LOADERS}


if __name__ == "__main__":
    measure(Path(sys.argv[1]), sys.argv[2])
