"""The host in this process, with the pack."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent


def start(path: Path, base: str, models: Path) -> Callable:
    """run(node id, **inputs) -> outputs, of the host at `path`; `models` holds checkpoints."""
    sys.path.insert(0, str(path))
    args = importlib.import_module("comfy.cli_args").args
    args.cpu, args.base_directory = not _accelerated(), base
    importlib.import_module("utils.extra_config")  # before `nodes`: older hosts shadow `utils`
    nodes = importlib.import_module("nodes")
    asyncio.run(nodes.init_builtin_extra_nodes())
    asyncio.run(nodes.load_custom_node(str(ROOT)))
    importlib.import_module("folder_paths").add_model_folder_path("checkpoints", str(models))
    return partial(_run, nodes)


def _accelerated() -> bool:
    xpu = getattr(torch, "xpu", None)
    return bool(
        torch.cuda.is_available() or torch.backends.mps.is_available() or (xpu and xpu.is_available())
    )


def _run(nodes: Any, node_id: str, **inputs: Any) -> tuple:
    node = nodes.NODE_CLASS_MAPPINGS[node_id]
    if hasattr(node, "define_schema"):
        out = node.execute(**inputs)
        return tuple(out.args) if hasattr(out, "args") else tuple(out)
    out = getattr(node(), node.FUNCTION)(**inputs)
    return out["result"] if isinstance(out, dict) else out
