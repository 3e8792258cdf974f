"""A LoRA file -> one adapter a layer under the U-Net's own names; what does not fit is refused."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint.header import open_tensors, read_json, show
from . import check
from .change import Layer, decomposed
from .names import NATIVE, SUFFIXES, Layers, part_of, split

LISTED = 3  # names that a refusal gives
CONFIG = "adapter_config.json"
# What else such files are trained for; the first match speaks.
_FOREIGN = (
    (r"(^|[._])(lora_te\d?_|text_encoder)", "text encoder layers, and SVD has no text encoder"),
    (r"motion_modules", "layers of an AnimateDiff motion module"),
    (
        r"(double|single|joint)_?(transformer_)?blocks|lora_transformer_|^transformer\.",
        "diffusion transformer layers",
    ),
    (r"(?<!temporal.)transformer_blocks[._][1-9]|conditioner", "SDXL layers"),
)
_TEXT_WIDTHS = {768: "Stable Diffusion 1", 2048: "SDXL", 1280: "the SDXL refiner"}


@dataclass
class Lora:
    """All adapters of a file by module, where it lies, and what had to be assumed or rewritten."""

    where: str
    layers: dict[str, Layer]
    notes: list[str] = field(default_factory=list)

    def native(self) -> dict[str, Tensor]:
        """Tensors under the names that ComfyUI's loaders look for in a model with the U-Net's own names."""
        found = {}
        for layer in self.layers.values():
            for role, tensor in layer.tensors.items():
                found[f"{NATIVE}{layer.module}.{SUFFIXES.get(role, role)}"] = tensor
            if layer.alpha is not None and layer.rank:
                found[f"{NATIVE}{layer.module}.alpha"] = torch.tensor(layer.alpha)
        return found

    def part(self, part: str) -> Lora:
        """Only the adapters of one of PARTS."""
        return Lora(self.where, {m: layer for m, layer in self.layers.items() if part_of(m) == part})

    def exact(self, weight: Callable[[str], Tensor], layers: Layers) -> Lora:
        """DoRA on the output axis as the difference it makes to `weight(name)`:
        the host divides by another norm.
        """
        found = dict(self.layers)
        for module, layer in self.layers.items():
            size = layers.shapes[layers.weight(module)]
            if "dora" in layer.tensors and (
                layer.tensors["dora"].shape[0] == size[0] or "diff" in layer.tensors
            ):
                kept = {role: t for role, t in layer.tensors.items() if role == "diff_b"}
                made = decomposed(layer, weight(layers.weight(module)))
                found[module] = Layer(module, {"diff": made, **kept})
        return replace(self, layers=found)


def read(path: str | os.PathLike[str], layers: Layers) -> Lora:
    """Read and check a safetensors file; ValueError for anything that is not whole or not ours."""
    tensors, metadata = open_tensors(path)
    config, origin = _config(Path(path), metadata)
    return translate(tensors, layers, where=os.fspath(path), config=config, origin=origin)


def translate(
    tensors: Mapping[str, Tensor],
    layers: Layers,
    *,
    where: str,
    config: Mapping[str, Any] | None = None,
    origin: str = "",
) -> Lora:
    """Tensors of a file -> adapters under the U-Net's names; `config` is PEFT's, read from `origin`."""
    grouped, called = _group(tensors, layers, where)
    found = {}
    for module, roles in grouped.items():
        alpha = roles.pop("alpha", None)
        if alpha is not None and (alpha.numel() != 1 or not math.isfinite(float(alpha))):
            raise ValueError(
                f"{where} has no usable alpha for {show(called[module])}; use another version of it"
            )
        found[module] = Layer(module, roles, None if alpha is None else float(alpha))
    check.refuse_values(found.values(), where)
    check.refuse_halves(found.values(), where)
    check.refuse_shapes(found.values(), layers, where, foreign=_trained_for(found))
    lora = Lora(where, found)
    unscaled = [module for module, layer in found.items() if layer.alpha is None]
    if config and unscaled:
        lora.layers |= {module: _scaled(found[module], config, called[module]) for module in unscaled}
        lora.notes.append(f"alpha from {origin}")
    lora.layers = {module: check.plain(layer, layers) for module, layer in lora.layers.items()}
    return lora


def _group(
    tensors: Mapping[str, Tensor], layers: Layers, where: str
) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
    """module -> role -> tensor, and what the file calls each module."""
    grouped: dict[str, dict[str, Tensor]] = {}
    called: dict[str, str] = {}
    unknown = []
    for name, tensor in tensors.items():
        parts = split(name)
        module = layers.find(parts[0]) if parts else None
        if parts is None or module is None:
            unknown.append(name)
            continue
        roles = grouped.setdefault(module, {})
        if parts[1] in roles:
            raise ValueError(f"{where} holds two adapters for {show(parts[0])}; keep one adapter a file")
        roles[parts[1]] = tensor
        called[module] = parts[0]
    if unknown or not grouped:
        raise ValueError(_strange(unknown, len(tensors), where))
    return grouped, called


def _strange(unknown: list[str], total: int, where: str) -> str:
    if not total:
        return f"{where} holds no tensors; use another version of it"
    what = next((told for rule, told in _FOREIGN if any(re.search(rule, name) for name in unknown)), "")
    if not what and all(re.fullmatch(r"\d+|(up|down|lora)?_?\d+", name) for name in unknown):
        what = "numbered tensors without the names of their layers, which cannot be told apart"
    named = ", ".join(show(name) for name in unknown[:LISTED])
    more = f" and {len(unknown) - LISTED} more" if len(unknown) > LISTED else ""
    found = f"{len(unknown)} of its {total} tensors fit no layer of this U-Net ({named}{more})"
    told = f"{where} holds {what}" if what else where
    return f"{told}: {found}; choose a LoRA trained on SVD"


def _trained_for(layers: Mapping[str, Layer]) -> str:
    """What the width of the text tells, or nothing."""
    for module, layer in layers.items():
        down = layer.tensors.get("down")
        if down is not None and re.search(r"attn2\.to_[kv]$", module) and down.shape[-1] in _TEXT_WIDTHS:
            return f"it was trained for {_TEXT_WIDTHS[down.shape[-1]]}"
    return ""


def _config(path: Path, metadata: Mapping[str, str]) -> tuple[dict[str, Any] | None, str]:
    """PEFT's settings from the file's metadata, or from the file that PEFT writes beside its own."""
    if text := metadata.get("lora_adapter_metadata"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ValueError(f"{path} has damaged lora_adapter_metadata; use another copy of it")
        return {key.removeprefix("unet."): value for key, value in found.items()}, "the file's metadata"
    beside = path.with_name(CONFIG)
    alone = path.name == "adapter_model.safetensors" or len(list(path.parent.glob("*.safetensors"))) == 1
    return (read_json(beside), CONFIG) if alone and beside.is_file() else (None, "")


def _scaled(layer: Layer, config: Mapping[str, Any], called: str) -> Layer:
    """The adapter with the alpha of PEFT's settings, as a number that is divided by the rank."""
    alpha = _setting(config, "alpha_pattern", called, config.get("lora_alpha", config.get("alpha")))
    rank = layer.rank or _setting(config, "rank_pattern", called, config.get("r"))
    if alpha is None or rank is None:
        return layer
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    if layer.rank is None and "lokr_w1" in layer.tensors:  # whole factors: nothing divides alpha there
        return replace(layer, tensors={**layer.tensors, "lokr_w1": layer.tensors["lokr_w1"] * scale})
    return replace(layer, alpha=scale * rank)


def _setting(config: Mapping[str, Any], table: str, called: str, default: Any) -> float | None:
    """A number of PEFT's settings for a layer: of the first pattern that ends its name, or the default."""
    patterns = config.get(table)
    for pattern, value in (patterns if isinstance(patterns, dict) else {}).items():
        if f".{called}".endswith("." + str(pattern).lstrip("^")):
            default = value
            break
    usable = isinstance(default, int | float) and math.isfinite(default) and default > 0
    return float(default) if usable else None
