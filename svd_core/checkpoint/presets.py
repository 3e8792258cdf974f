"""Metadata that shapes cannot reveal: head size, norm groups, trained frames and sizes;
from metadata or the name.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

CHOICES = {  # the names that a preset may hold
    "curve": ("linear", "triangle", "constant", "trapezoid"),
    "schedule": ("karras", "ays", "exponential", "consistency"),
    "sampler": ("euler", "heun", "dpmpp_2m", "euler_ancestral", "lcm"),
}
# Key in a file's metadata, and last part of the name of a uint8 tensor with the same JSON.
METADATA = "puresvd"


@dataclass(frozen=True)
class Preset:
    """How a checkpoint was trained and is best sampled. `fps` counts frames; the model is told fps - 1."""

    name: str
    frames: int
    width: int = 1024
    height: int = 576
    fps: int = 7
    motion_bucket_id: int = 127
    augmentation_level: float = 0.02
    steps: int = 25
    min_cfg: float = 1.0
    max_cfg: float = 2.5
    curve: str = "linear"
    schedule: str = "karras"
    sampler: str = "euler"


_ORBIT = Preset("sv3d", 21, 576, 576, augmentation_level=1e-5, steps=50, curve="triangle")
_XT = Preset("svd_xt", 25, steps=30, min_cfg=1.5, max_cfg=3.0)
_LCM = replace(
    _XT,
    name="animatelcm_svd_xt",
    motion_bucket_id=80,
    steps=4,
    min_cfg=1.0,
    max_cfg=1.2,
    schedule="consistency",
    sampler="lcm",
)
PRESETS = {
    preset.name: preset
    for preset in (
        Preset("svd", 14),
        _XT,
        replace(_XT, name="svd_xt_1_1"),
        replace(_ORBIT, name="sv3d_u"),
        replace(_ORBIT, name="sv3d_p"),
        _LCM,
    )
}
_RANGES = {
    **dict.fromkeys(("frames", "steps"), (1, 1000)),
    **dict.fromkeys(("width", "height"), (8, 16384)),
    "fps": (1, 240),
    "motion_bucket_id": (0, 1023),
    "augmentation_level": (0.0, 10.0),
    **dict.fromkeys(("min_cfg", "max_cfg"), (0.0, 100.0)),
}
# Tried in order on the lower-cased file or folder name.
_NAMES = (
    (r"animate-?_?lcm", "animatelcm_svd_xt"),
    (r"(svd|img2vid)[-_.]?xt[-_.]?(v)?1[-_.]1", "svd_xt_1_1"),
    (r"(svd|img2vid)[-_.]?xt", "svd_xt"),
)


@dataclass(frozen=True)
class Hints:
    """The `puresvd` entry; each default is what the released checkpoints have."""

    head_dim: int = 64
    unet_norm_groups: int = 32
    vae_norm_groups: int = 32
    clip: dict[str, int] = field(default_factory=dict)  # heads
    preset: Preset | None = None
    latent_rgb_factors: list[list[float]] | None = None


def parse_hints(text: str, where: str) -> Hints:
    """The `puresvd` JSON of a file; unknown entries are left to newer versions, wrong values are refused."""
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{where} has a puresvd entry that is not JSON; save the file again") from None
    if not isinstance(entry, dict):
        raise ValueError(f"{where} has a puresvd entry that is not a JSON object; save the file again")
    numbers = {}
    for name in ("head_dim", "unet_norm_groups", "vae_norm_groups"):
        if name in entry:
            numbers[name] = _whole(entry[name], name, where)
    clip = entry.get("clip") or {}
    if not isinstance(clip, dict):
        raise ValueError(
            f'{where} says puresvd clip = {str(clip)[:60]}; it must be an object such as {{"heads": 16}}'
        )
    clip = {
        name: _whole(clip[name], f"clip.{name}", where)
        for name in ("heads", "patch", "image_size")
        if name in clip
    }
    preset = None if entry.get("preset") is None else _preset(entry["preset"], where)
    return Hints(**numbers, clip=clip, preset=preset, latent_rgb_factors=_factors(entry, where))


def _whole(value: Any, name: str, where: str) -> int:
    if type(value) is not int or not 1 <= value <= 1 << 20:
        raise ValueError(f"{where} says {name} = {str(value)[:60]}; it must be a whole number of at least 1")
    return value


def _preset(entry: Any, where: str) -> Preset:
    known = {f.name for f in fields(Preset)}
    if not isinstance(entry, dict) or not known >= entry.keys() or "frames" not in entry:
        raise ValueError(
            f"{where} has an unreadable puresvd preset; it needs frames and may have {sorted(known)}"
        )
    for name, value in entry.items():
        if name in _RANGES:
            low, high = _RANGES[name]
            good = (
                type(value) in ((int, float) if isinstance(high, float) else (int,)) and low <= value <= high
            )
            allowed = f"{low} to {high}"
        else:
            good = isinstance(value, str) and len(value) <= 100 and value in CHOICES.get(name, (value,))
            allowed = ", ".join(CHOICES.get(name, ("a text",)))
        if not good:
            raise ValueError(f"{where} says puresvd preset {name} = {str(value)[:60]}; allowed: {allowed}")
    return Preset(**{"name": "custom", **entry})


def _factors(entry: dict[str, Any], where: str) -> list[list[float]] | None:
    rows = entry.get("latent_rgb_factors")
    if rows is None:
        return None
    good = (
        isinstance(rows, list)
        and len(rows) <= 64
        and all(isinstance(row, list) and len(row) == 3 for row in rows)
    )
    if not good or not all(type(v) in (int, float) and math.isfinite(v) for row in rows for v in row):
        raise ValueError(
            f"{where} says puresvd latent_rgb_factors = {str(rows)[:60]}; it must be rows of three numbers"
        )
    return rows


def choose_preset(name: str, hints: Hints, *, family: str, frames: int | None = None) -> Preset:
    """The file's own preset, else the one its name stands for, else the family's: svd, sv3d_u or sv3d_p."""
    if hints.preset is not None:
        return hints.preset
    if family != "svd":
        return PRESETS[family]
    named = next((preset for pattern, preset in _NAMES if re.search(pattern, name.lower())), family)
    if frames and frames != PRESETS[named].frames:
        return replace(_XT if frames == 25 else PRESETS["svd"], frames=frames)
    return PRESETS[named]


def hints_from_configs(configs: dict[str, dict[str, Any]], where: str) -> Hints:
    """What the config.json files of a diffusers folder say."""
    hints = Hints()
    unet, vae, clip = (configs.get(name, {}) for name in ("unet", "vae", "clip"))
    heads, widths = unet.get("num_attention_heads"), unet.get("block_out_channels")
    if heads is not None and isinstance(widths, list):
        heads = heads if isinstance(heads, list) else [heads] * len(widths)
        dims = {_whole(w, "channels", where) / _whole(n, "heads", where) for w, n in zip(widths, heads)}
        if len(dims) != 1 or not (dim := dims.pop()).is_integer():
            found = f"{widths} channels in {heads} heads"
            raise ValueError(
                f"{where} has {found}; every head must have the same size: use the released config"
            )
        hints = replace(hints, head_dim=int(dim))
    if "norm_num_groups" in vae:
        hints = replace(hints, vae_norm_groups=_whole(vae["norm_num_groups"], "norm_num_groups", where))
    if "num_attention_heads" in clip:
        hints = replace(
            hints, clip={"heads": _whole(clip["num_attention_heads"], "num_attention_heads", where)}
        )
    if clip.get("hidden_act", "gelu") != "gelu":
        raise ValueError(
            f"{where} has a CLIP image encoder with {clip['hidden_act']}, not gelu; use CLIP-ViT-H-14"
        )
    return hints


def hints_json(hints: Hints) -> str:
    """The `puresvd` entry for a file that is written."""
    entry = {name: value for name, value in asdict(hints).items() if value not in (None, {})}
    return json.dumps(entry)


def to_tensor(text: str) -> Tensor:
    """The entry as bytes, uint8, for files that are saved by others and lose their metadata."""
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def from_tensor(tensor: Tensor, where: str) -> str:
    """The text of such a tensor, also after it was cast to another number format."""
    if tensor.ndim != 1 or tensor.numel() > 1 << 20:
        raise ValueError(f"{where} has a puresvd tensor of shape {tuple(tensor.shape)}; save the file again")
    values = tensor.float().round()
    if not bool(((values >= 0) & (values < 256)).all()):
        raise ValueError(f"{where} has a puresvd tensor that is not text; save the file again")
    return bytes(values.to(torch.uint8).tolist()).decode("utf-8", "replace")
