"""Runs every node in a real host with all forbidden that it must not do; prints a report.

python isolated_run.py HOST BASE PROMPT.json    (a process of its own,
because an audit hook cannot be taken out)
"""

import asyncio
import importlib
import inspect
import json
import logging
import os
import pickle
import random
import socket
import subprocess
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True  # Python's own files beside each source are not the pack's doing
FORBIDDEN = (
    "socket.connect",
    "socket.bind",
    "socket.sendto",
    "socket.sendmsg",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pickle.find_class",
    "urllib.Request",
)
CHANGES_FILES = (
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.utime",
    "shutil.rmtree",
    "shutil.move",
    "shutil.copyfile",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Guard:
    """Forbids, and remembers what was tried; files may be written below `base` alone."""

    def __init__(self, base):
        self.base, self.tried = os.path.realpath(base), []
        sys.addaudithook(self)

    def __call__(self, event, args):
        if event in FORBIDDEN or (event in CHANGES_FILES or writes(event, args)) and self.outside(args[0]):
            self.tried.append(f"{event} {args[0] if args else ''}"[:200])
            raise PermissionError(f"forbidden here: {event}")

    def outside(self, path):
        if isinstance(path, int) or path is None or os.fspath(path) in (os.devnull, os.fsencode(os.devnull)):
            return False
        return not os.path.realpath(os.fsdecode(path)).startswith(self.base + os.sep)


def writes(event, args):
    return event == "open" and bool(set(args[1] or "") & set("wax+") or (args[2] or 0) & WRITING)


def start_host(path, base):
    """The host in this process, as its main.py starts it, without a server."""
    sys.path[:0] = [str(path)]
    args = importlib.import_module("comfy.cli_args").args
    args.cpu, args.base_directory = True, str(base)
    importlib.import_module("utils.extra_config")  # before `nodes`: older hosts shadow `utils`
    nodes = importlib.import_module("nodes")
    asyncio.run(nodes.init_builtin_extra_nodes())
    return nodes, importlib.import_module("execution")


def functions(path):
    """Every function, class and method of the host and torch's layers, by name; kept, so identity tells."""
    found = {}
    for name, module in list(sys.modules.items()):
        if not (name == "torch" or name.startswith("torch.nn") or is_inside(module, path)):
            continue
        found |= {f"{name}.{key}": value for key, value in vars(module).items() if is_code(value)}
        for cls in filter(inspect.isclass, vars(module).values()):
            if cls.__module__ == name:
                found |= {f"{name}.{cls.__qualname__}.{key}": v for key, v in vars(cls).items() if is_code(v)}
    return found


def is_inside(module, path):
    """Of the host, and not of the pack, which may lie among the host's custom nodes."""
    file = getattr(module, "__file__", None) or ""
    return file.startswith(f"{path}{os.sep}") and not file.startswith(f"{ROOT}{os.sep}")


def is_code(value):
    return isinstance(
        value,
        (
            type,
            types.FunctionType,
            types.MethodType,
            types.BuiltinFunctionType,
            classmethod,
            staticmethod,
            property,
        ),
    )


def differences(before, after):
    return sorted(name for name in before.keys() | after.keys() if before.get(name) is not after.get(name))


def settings():
    """What one pack could spoil for all others; random states among it."""
    import numpy
    import torch

    return {
        "torch random state": torch.get_rng_state().tolist(),
        "numpy random state": str(numpy.random.get_state()),
        "python random state": str(random.getstate()),
        "torch settings": [
            str(torch.get_default_dtype()),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
            torch.backends.mkldnn.enabled,
            torch.backends.cudnn.benchmark,
        ],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "sys.path": list(sys.path),
        "log filters": [str(item) for item in logging.getLogger().filters],
    }


def run(execution, prompt):
    server = types.SimpleNamespace(
        client_id=None, last_node_id=None, last_prompt_id=None, send_sync=lambda *a: None
    )
    limits = {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}
    executor = execution.PromptExecutor(server, execution.CacheType.CLASSIC, limits)
    ends = [key for key, node in prompt.items() if node["class_type"].startswith(("Save", "PureSVDManifest"))]
    executor.execute(prompt, "one", {}, ends)
    faults = [data for event, data in executor.status_messages if event == "execution_error"]
    return {"success": executor.success, "fault": faults[0]["exception_message"] if faults else ""}


def would_be_seen(guard, before, path):
    """That the guard and the comparison work: each forbidden thing is done once, last of all."""
    outside = str(Path(guard.base).parent / "outside")
    attempts = {
        "socket": lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
        "subprocess": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        "pickle": lambda: pickle.loads(pickle.dumps(Path())),
        "write": lambda: open(outside, "w"),
        "folder": lambda: os.mkdir(outside),
    }
    seen = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except PermissionError:
            seen.append(name)
    import comfy.samplers

    comfy.samplers.KSAMPLER.sample = lambda *args: None
    return seen, differences(before, functions(path))


def main(path, base, prompt):
    nodes, execution = start_host(path, base)
    known = dict(nodes.NODE_CLASS_MAPPINGS)
    before, earlier = functions(path), settings()
    guard = Guard(base)
    loaded = asyncio.run(nodes.load_custom_node(str(ROOT)))
    added = nodes.NODE_CLASS_MAPPINGS.keys() - known.keys()
    report = {"loaded": loaded, "added": sorted(added), "tried_by_import": list(guard.tried)}
    report |= run(execution, json.loads(Path(prompt).read_text(encoding="utf-8")))
    later = settings()
    report |= {
        "tried": list(guard.tried),
        "patched": differences(
            before, {key: value for key, value in functions(path).items() if key in before}
        ),
        "replaced": sorted(key for key in known if nodes.NODE_CLASS_MAPPINGS.get(key) is not known[key]),
        "spoiled": sorted(key for key in earlier if earlier[key] != later[key]),
        "compared": len(before),
    }
    report["seen"], report["seen_patches"] = would_be_seen(guard, before, path)
    print(f"REPORT {json.dumps(report)}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
