"""Diffusers folders: which files hold each network, in which variant, whole or in shards."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .header import AGAIN, open_tensors, read_json, show

PARTS = {"unet": "unet", "vae": "vae", "image_encoder": "clip"}
VARIANTS = ("", "fp16", "bf16", "fp32")  # in order of preference
_STEM = r"(?:diffusion_pytorch_model|model)"
_WHOLE = re.compile(rf"{_STEM}(?:\.(?P<variant>\w+))?\.safetensors")
_INDEX = re.compile(rf"{_STEM}(?:\.(?P<a>\w+))?\.safetensors(?:\.(?P<b>\w+))?\.index(?:\.(?P<c>\w+))?\.json")
_SHARD = re.compile(rf"{_STEM}(?:\.[\w-]+)?-\d+-of-(\d+)(?:\.[\w-]+)?\.safetensors")
Open = Callable[[str], tuple[dict[str, Tensor], dict[str, str]]]


@dataclass
class Component:
    """The tensors of one sub-folder, the metadata of their files, and its config.json."""

    folder: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    config: dict[str, Any]


def open_folder(folder: Path, opened: Open = open_tensors) -> dict[str, Component]:
    """The networks of a diffusers folder, by our names; the folder may also be one such network."""
    if (folder / "model_index.json").exists():
        name = str(read_json(folder / "model_index.json").get("_class_name"))
        if name != "StableVideoDiffusionPipeline":
            raise ValueError(
                f"{folder} is a {show(name)} folder; choose a StableVideoDiffusionPipeline folder"
            )
    subfolders = {part: folder / name for name, part in PARTS.items() if (folder / name).is_dir()}
    if subfolders:
        return {part: open_component(subfolder, opened) for part, subfolder in subfolders.items()}
    if not any(_WHOLE.fullmatch(name) or _INDEX.fullmatch(name) for name in _listed(folder)):
        found = ", ".join(map(show, _listed(folder)[:4])) or "nothing"
        raise ValueError(
            f"{folder} is a folder without unet, vae and image_encoder (it holds {found}); "
            "choose a diffusers folder of Stable Video Diffusion or a .safetensors file"
        )
    return {"": open_component(folder, opened)}


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as problem:
        raise ValueError(f"{folder} cannot be listed ({problem.strerror}); check its permissions") from None


def open_component(folder: Path, opened: Open = open_tensors) -> Component:
    """One network: the plain files if they are there, else those of a known variant such as fp16."""
    config = read_json(folder / "config.json") if (folder / "config.json").exists() else {}
    found: dict[str, str] = {}
    for name in _listed(folder):
        if match := _WHOLE.fullmatch(name) or _INDEX.fullmatch(name):
            found.setdefault("".join(part or "" for part in match.groups()), name)
    variant = next((v for v in VARIANTS if v in found), None)
    if variant is None:
        raise ValueError(f"{folder} {_absent(folder, found)}")
    name = found[variant]
    if name.endswith(".json"):
        return Component(folder, *_open_shards(folder, name, opened), config)
    return Component(folder, *opened(str(folder / name)), config)


def _absent(folder: Path, found: dict[str, str]) -> str:
    if found:
        have = ", ".join(show(variant) for variant in found)
        return f"holds only the variant {have}; known are fp16, bf16, fp32 or none: download one of those"
    names = _listed(folder)
    if any(_SHARD.fullmatch(name) for name in names):
        return f"holds shards without their .index.json; {AGAIN}"
    pickles = [name for name in names if name.endswith((".bin", ".ckpt", ".pt", ".pth"))]
    if pickles:
        return f"holds its weights as a pickle ({show(pickles[0])}); download the .safetensors version"
    return f"holds no .safetensors weights; {AGAIN}"


def _open_shards(folder: Path, index: str, opened: Open) -> tuple[dict[str, Tensor], dict[str, str]]:
    weight_map = read_json(folder / index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise ValueError(f"{folder / index} has no weight_map of file names; {AGAIN}")
    files = sorted(set(weight_map.values()))
    for file in files:
        if not file.endswith(".safetensors") or re.search(r"[/\\:\0]|^\.", file):
            raise ValueError(
                f"{folder / index} points to {show(file)}; a shard must lie in the same folder: {AGAIN}"
            )
    absent = [file for file in files if not (folder / file).exists()]
    if absent:
        found = f"{len(files) - len(absent)} of {len(files)} shards, {show(absent[0])} is missing"
        raise ValueError(f"{folder} is incomplete: it holds {found}; download the rest")
    tensors, metadata = {}, {}
    for file in files:
        shard, shard_metadata = opened(str(folder / file))
        metadata.update(shard_metadata)
        for name in (name for name, place in weight_map.items() if place == file):
            if name not in shard:
                raise ValueError(f"{folder / file} lacks {show(name)}, which {index} places there; {AGAIN}")
            tensors[name] = shard[name]
    return tensors, metadata
