"""One set of renaming rules, read both ways: single file <-> diffusers, OpenCLIP <-> transformers.

A table maps dotted prefixes of tensor names; a name is renamed by its longest known prefix, its tail stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Rules = tuple[tuple[str, str], ...]

# Inside a residual block: single file, diffusers.
_RES = (
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
)
_UNET_RES = (
    *((a, f"spatial_res_block.{b}") for a, b in _RES),
    *((f"time_stack.{a}", f"temporal_res_block.{b}") for a, b in _RES),
    ("skip_connection", "spatial_res_block.conv_shortcut"),
    ("time_mixer", "time_mixer"),
)
_UNET_ATTENTION = (
    *((name, name) for name in ("norm", "proj_in", "proj_out", "transformer_blocks.0", "time_mixer")),
    ("time_stack.0", "temporal_transformer_blocks.0"),
    ("time_pos_embed.0", "time_pos_embed.linear_1"),
    ("time_pos_embed.2", "time_pos_embed.linear_2"),
)
_VAE_RES = (
    *((name, name) for name in ("norm1", "conv1", "norm2", "conv2")),
    ("nin_shortcut", "conv_shortcut"),
)
_VAE_VIDEO_RES = (
    *((a, f"spatial_res_block.{b}") for a, b in _VAE_RES),
    *((f"time_stack.{a}", f"temporal_res_block.{b}") for a, b in _RES if a != "emb_layers.1"),
    ("mix_factor", "time_mixer.mix_factor"),
)
_VAE_ATTENTION = (
    ("norm", "group_norm"),
    ("q", "to_q"),
    ("k", "to_k"),
    ("v", "to_v"),
    ("proj_out", "to_out.0"),
)
_ENDS = (("conv_in", "conv_in"), ("norm_out", "conv_norm_out"), ("conv_out", "conv_out"))
_CLIP_LAYER = (
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
    ("attn.out_proj", "self_attn.out_proj"),
)
_CLIP = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "conv1": "vision_model.embeddings.patch_embedding",
    "ln_pre": "vision_model.pre_layrnorm",
    "ln_post": "vision_model.post_layernorm",
}


@dataclass(frozen=True)
class Layout:
    """How many levels and residual blocks per level, and which levels of the U-Net carry attention."""

    levels: int
    res_blocks: int
    attention: tuple[bool, ...] = ()


def rename(name: str, table: Mapping[str, str]) -> str | None:
    """The new name of a tensor, or None where no rule knows it."""
    head = name
    while head:
        if head in table:
            return table[head] + name[len(head) :]
        head = head.rpartition(".")[0]
    return None


def inverse(table: Mapping[str, str]) -> dict[str, str]:
    """The rules read from right to left."""
    return {new: old for old, new in table.items()}


def indices(names: Iterable[str], pattern: str) -> set[int]:
    """The numbers that the pattern's group takes over all names."""
    match = re.compile(pattern).match
    return {int(found[1]) for name in names if (found := match(name))}


def unet_layout(names: Iterable[str]) -> Layout:
    """The layout of a U-Net named either way."""
    names = list(names)
    downs = indices(names, r"down_blocks\.(\d{1,2})\.")
    if downs:
        res = len(indices(names, r"down_blocks\.0\.resnets\.(\d{1,2})\.")) or 1
        attention = indices(names, r"down_blocks\.(\d{1,2})\.attentions\.")
        return Layout(max(downs) + 1, res, tuple(level in attention for level in range(max(downs) + 1)))
    blocks = indices(names, r"input_blocks\.(\d{1,3})\.")
    steps = indices(names, r"input_blocks\.(\d{1,3})\.0\.op\.")
    per_level = min(steps) if steps else max(blocks, default=0) + 1
    levels = len(steps) + 1
    attention = {(i - 1) // per_level for i in indices(names, r"input_blocks\.(\d{1,3})\.1\.")}
    return Layout(levels, max(per_level - 1, 1), tuple(level in attention for level in range(levels)))


def _inside(single: str, diffusers: str, inner: Rules) -> list[tuple[str, str]]:
    return [(f"{single}.{a}", f"{diffusers}.{b}") for a, b in inner] or [(single, diffusers)]


def _unet_places(layout: Layout) -> Iterable[tuple[str, str, Rules]]:
    per_level = layout.res_blocks + 1
    for b in range(layout.levels):
        for j in range(layout.res_blocks):
            block = f"input_blocks.{1 + b * per_level + j}"
            yield f"{block}.0", f"down_blocks.{b}.resnets.{j}", _UNET_RES
            if layout.attention[b]:
                yield f"{block}.1", f"down_blocks.{b}.attentions.{j}", _UNET_ATTENTION
        attention = layout.attention[layout.levels - 1 - b]
        for j in range(per_level):
            block = f"output_blocks.{b * per_level + j}"
            yield f"{block}.0", f"up_blocks.{b}.resnets.{j}", _UNET_RES
            if attention:
                yield f"{block}.1", f"up_blocks.{b}.attentions.{j}", _UNET_ATTENTION
        if b < layout.levels - 1:
            step = (b + 1) * per_level
            yield f"input_blocks.{step}.0.op", f"down_blocks.{b}.downsamplers.0.conv", ()
            yield f"output_blocks.{step - 1}.{1 + attention}.conv", f"up_blocks.{b}.upsamplers.0.conv", ()
    yield "middle_block.0", "mid_block.resnets.0", _UNET_RES
    yield "middle_block.1", "mid_block.attentions.0", _UNET_ATTENTION
    yield "middle_block.2", "mid_block.resnets.1", _UNET_RES


def unet_table(layout: Layout) -> dict[str, str]:
    """Single file (after `model.diffusion_model.`) -> diffusers."""
    table = {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "label_emb.0.0": "add_embedding.linear_1",
        "label_emb.0.2": "add_embedding.linear_2",
        "input_blocks.0.0": "conv_in",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
    }
    for single, diffusers, inner in _unet_places(layout):
        table.update(_inside(single, diffusers, inner))
    return table


def vae_layout(names: Iterable[str]) -> Layout:
    """The layout of a VAE (after its prefix) named either way; `res_blocks` counts the encoder's."""
    names = list(names)
    levels = indices(names, r"(?:encoder\.down|decoder\.up)(?:_blocks)?\.(\d{1,2})\.")
    encoder = indices(names, r"encoder\.down(?:_blocks)?\.0\.(?:block|resnets)\.(\d{1,2})\.")
    decoder = indices(names, r"decoder\.up(?:_blocks)?\.0\.(?:block|resnets)\.(\d{1,2})\.")
    return Layout(max(levels, default=0) + 1, len(encoder) or max(len(decoder) - 1, 1))


def _vae_places(side: str, layout: Layout, res: Rules) -> Iterable[tuple[str, str, Rules]]:
    yield from ((name, other, ()) for name, other in _ENDS)
    yield from ((f"mid.block_{k + 1}", f"mid_block.resnets.{k}", res) for k in (0, 1))
    yield "mid.attn_1", "mid_block.attentions.0", _VAE_ATTENTION
    for level in range(layout.levels):
        if side == "encoder":
            single, diffusers, count = f"down.{level}", f"down_blocks.{level}", layout.res_blocks
            yield f"{single}.downsample.conv", f"{diffusers}.downsamplers.0.conv", ()
        else:
            top = layout.levels - 1
            single, diffusers, count = f"up.{level}", f"up_blocks.{top - level}", layout.res_blocks + 1
            yield f"{single}.upsample.conv", f"{diffusers}.upsamplers.0.conv", ()
        yield from ((f"{single}.block.{k}", f"{diffusers}.resnets.{k}", res) for k in range(count))


def vae_table(layout: Layout, *, temporal: bool) -> dict[str, str]:
    """Single file (after `first_stage_model.` or `conditioner.embedders.3.encoder.`) -> diffusers."""
    table = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    if temporal:
        table["decoder.conv_out.time_mix_conv"] = "decoder.time_conv_out"
    for side in ("encoder", "decoder"):
        res = _VAE_VIDEO_RES if temporal and side == "decoder" else _VAE_RES
        for single, diffusers, inner in _vae_places(side, layout, res):
            table.update({f"{side}.{a}": f"{side}.{b}" for a, b in _inside(single, diffusers, inner)})
    return table


def clip_table(layers: int) -> dict[str, str]:
    """OpenCLIP's image encoder -> transformers, but for `proj` and the fused q, k, v."""
    table = dict(_CLIP)
    for i in range(layers):
        one, other = f"transformer.resblocks.{i}", f"vision_model.encoder.layers.{i}"
        table.update({f"{one}.{a}": f"{other}.{b}" for a, b in _CLIP_LAYER})
    return table
