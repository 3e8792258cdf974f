"""ControlNet files -> checked tensors under our names: temporal ControlNets and ControlNeXt-SVD v2."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..checkpoint.convert import unet_from_diffusers
from ..checkpoint.header import open_tensors, read_header, show
from ..checkpoint.names import indices, rename, unet_layout, unet_table
from ..checkpoint.presets import METADATA, Hints, parse_hints
from ..checkpoint.sizes import Part, check, without_values
from ..models.configs import FAMILIES, UNetConfig
from ..models.controlnet import ControlNet
from ..models.controlnext import ControlNeXt

Tensors = Mapping[str, Tensor]
_PREFIXES = ("module.", "controlnet.", "control_model.")
_OWN = ("controlnet_cond_embedding.", "controlnet_down_blocks.", "controlnet_mid_block.")
_SVD = "choose a temporal ControlNet for SVD or ControlNeXt-SVD v2"
_FOREIGN = (  # what other files hold; the first match speaks
    (r"input_hint_block\.|zero_convs\.", "is an image ControlNet of Stable Diffusion"),
    (
        r"controlnet_cond_embedding\.|controlnet_down_blocks\.",
        "is an image ControlNet, without layers over time",
    ),
    (r"lora", "is a LoRA"),
    (r"down_blocks\.|input_blocks\.", "is a U-Net; load it with Load Video Checkpoint Parts"),
)


@dataclass(frozen=True)
class Control:
    """A control network as data: how to build it, and its tensors."""

    kind: str  # ControlNet, ControlNeXt
    build: Callable[..., nn.Module]  # takes ops, dtype and device
    tensors: dict[str, Tensor]
    where: str
    unknown: list[str]  # tensors of the file that the network has no use for


def read(path: str | os.PathLike[str], load: Callable[[str], Tensors] | None = None) -> Control:
    """Read and check a safetensors file; `load` lets a host bring the tensors once the header is checked."""
    where = os.fspath(path)
    tensors, metadata = (load(where), read_header(where).metadata) if load else open_tensors(where)
    hints = parse_hints(metadata[METADATA], where) if METADATA in metadata else Hints()
    return sort(tensors, where, hints)


def sort(tensors: Tensors, where: str, hints: Hints | None = None) -> Control:
    """What a file's tensors are; ValueError in a sentence where they are not a whole network of SVD's."""
    prefix = next((p for p in _PREFIXES if tensors and all(name.startswith(p) for name in tensors)), "")
    bare = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
    temporal = any("temporal_transformer_blocks." in name for name in bare)
    if temporal and any(name.startswith(_OWN) for name in bare):
        return _controlnet(bare, prefix, where, hints or Hints())
    if {"mid_convs.1.weight", "embedding.0.weight"} <= bare.keys():
        build = partial(ControlNeXt, bare["mid_convs.1.weight"].shape[0])
        return _control(
            "ControlNeXt", build, bare, Part(where, "ControlNeXt", lambda name: prefix + name), []
        )
    for pattern, what in _FOREIGN:
        if any(re.search(pattern, name) for name in bare):
            raise ValueError(f"{where} {what}; {_SVD}")
    names = ", ".join(show(name) for name in list(tensors)[:3]) or "none at all"
    raise ValueError(f"{where} is not a ControlNet (its tensors: {names}); {_SVD}")


def _controlnet(bare: Tensors, prefix: str, where: str, hints: Hints) -> Control:
    encoder = {name: t for name, t in bare.items() if not name.startswith(_OWN)}
    own = {name: t for name, t in bare.items() if name.startswith(_OWN)}
    renamed, unknown = unet_from_diffusers(encoder)
    table = unet_table(unet_layout(encoder))
    part = Part(where, "ControlNet", lambda name: prefix + (rename(name, table) or name))
    config = _config(renamed, own, hints, part)
    last = max(indices(own, r"controlnet_cond_embedding\.blocks\.(\d{1,2})\.weight"), default=-1)
    widths = [_size(own, "controlnet_cond_embedding.conv_in.weight", 0, part)]
    for i in range(1, last + 1, 2):
        widths.append(_size(own, f"controlnet_cond_embedding.blocks.{i}.weight", 0, part))
    build = partial(ControlNet, config, tuple(widths))
    return _control("ControlNet", build, {**renamed, **own}, part, unknown)


def _config(encoder: Tensors, own: Tensors, hints: Hints, part: Part) -> UNetConfig:
    layout = unet_layout(encoder)
    base = _size(encoder, "input_blocks.0.0.weight", 0, part)
    ends = [(level + 1) * (layout.res_blocks + 1) - 1 for level in range(layout.levels)]
    widths = [_size(own, f"controlnet_down_blocks.{i}.weight", 0, part) for i in ends]
    adm = _size(encoder, "label_emb.0.0.weight", 1, part)
    if adm not in FAMILIES or any(width % base for width in widths):
        raise part.fault(
            f"takes {adm} conditioning values at widths {widths}; SVD takes 768 at 320 to 1280: {_SVD}"
        )
    crossing = next((name for name in encoder if name.endswith("attn2.to_k.weight")), "attn2.to_k.weight")
    return UNetConfig(
        model_channels=base,
        channel_mult=tuple(width // base for width in widths),
        num_res_blocks=layout.res_blocks,
        attention_levels=layout.attention,
        context_dim=_size(encoder, crossing, 1, part),
        adm_in_channels=adm,
        in_channels=_size(encoder, "input_blocks.0.0.weight", 1, part),
        head_dim=hints.head_dim,
        norm_groups=hints.unet_norm_groups,
    )


def _size(tensors: Tensors, name: str, axis: int, part: Part) -> int:
    tensor = tensors.get(name)
    if tensor is None or tensor.ndim <= axis or not 1 <= tensor.shape[axis] <= 1 << 16:
        raise part.fault(f"lacks a usable {show(part.spell(name))}; {_SVD}")
    return tensor.shape[axis]


def _control(
    kind: str, build: Callable[..., Any], tensors: Tensors, part: Part, unknown: list[str]
) -> Control:
    extra = check(without_values(lambda _, **kw: build(**kw), None), tensors, part)
    kept = {name: tensor for name, tensor in tensors.items() if name not in set(extra)}
    return Control(kind, build, kept, part.where, unknown + extra)
