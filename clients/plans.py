"""What a batch's command line asks for: the items, who makes them, and what is noted beside each result."""

import argparse
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients import graph, items, render
from clients.comfyui import address
from clients.crew import Crew
from clients.items import Item
from clients.pool import Maker, Task
from clients.served import Served, prompt_of
from scripts import cache

EMBEDDED = cache.ROOT / "svd_core" / "nano" / "svd_nano.safetensors"


@dataclass(frozen=True)
class Plan:
    items: list[Item]
    makers: list[Maker]
    note: dict[str, Any]  # of what made it, for every result


def make(args: argparse.Namespace, photos: Sequence[Path], crew: Crew) -> Plan:
    """ValueError where a setting, a checkpoint or a workflow cannot be used."""
    return _of_servers(args, photos) if args.server else _of_checkpoint(args, photos, crew)


def _of_servers(args: argparse.Namespace, photos: Sequence[Path]) -> Plan:
    if args.format != "webp" or args.dtype or args.workers or args.checkpoint != EMBEDDED:
        raise ValueError(
            "--checkpoint, --format, --dtype and --workers do not reach a server; use --workflow"
        )
    prompt = graph.read(args.workflow)
    settings, seeds = items.choices(args.set), args.seeds or [None]
    makers = [
        Served(address(url), prompt, args.seed_input, args.timeout) for url in dict.fromkeys(args.server)
    ]
    for photo in photos:
        graph.loaders(prompt, photo.name)
    found = items.plan(photos, settings, seeds, {"workflow": prompt})
    for item in {(str(i.settings), i.seed): i for i in found}.values():  # what cannot be set is said before
        prompt_of(makers[0], Task("", b"", "", item.settings, item.seed, ""), f"photo{item.photo.suffix}")
    return Plan(found, makers, {"workflow": args.workflow.name})


def _of_checkpoint(args: argparse.Namespace, photos: Sequence[Path], crew: Crew) -> Plan:
    if args.format == "mp4" and not importlib.util.find_spec("av"):
        raise ValueError("--format mp4 needs PyAV: pip install av, or choose webp")
    checkpoint = args.checkpoint.absolute()
    preset = importlib.import_module("svd_core.checkpoint.read").read(checkpoint).preset
    settings = [changed(preset, values) for values in items.choices(args.set)]
    dtype = args.dtype or ("float16" if crew.device == "cuda" else "float32")
    sha = items.digest(checkpoint)
    how = render.Renderer(str(checkpoint), sha, args.format, dtype, crew.device, crew.threads)
    note = {"checkpoint": checkpoint.name, "checkpoint_sha256": sha, "dtype": dtype, "format": args.format}
    recipe = {"checkpoint": sha, "dtype": dtype, "format": args.format}
    return Plan(items.plan(photos, settings, args.seeds or [0], recipe), [how] * crew.workers, note)


def changed(preset: Any, values: dict[str, str]) -> dict[str, Any]:
    """All settings of a result, those of the checkpoint's preset among them: they decide its content."""
    found = dict(vars(render.preset(preset, values)))
    del found["name"]
    return found
