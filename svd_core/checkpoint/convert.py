"""Tensors from one checkpoint layout to another; what must change shape becomes a view, little is copied."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from .names import clip_table, indices, inverse, rename, unet_layout, unet_table, vae_layout, vae_table

_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
Renamed = tuple[dict[str, Tensor], list[str]]  # known tensors under their new names, and the names left over


def unet_from_diffusers(tensors: Mapping[str, Tensor]) -> Renamed:
    """Diffusers names -> single-file names (after `model.diffusion_model.`)."""
    return _renamed(tensors, inverse(unet_table(unet_layout(tensors))))


def unet_to_diffusers(tensors: Mapping[str, Tensor]) -> Renamed:
    """Single-file names -> diffusers names."""
    return _renamed(tensors, unet_table(unet_layout(tensors)))


def _renamed(tensors: Mapping[str, Tensor], table: Mapping[str, str]) -> Renamed:
    renamed, unknown = {}, []
    for name, tensor in tensors.items():
        new = rename(name, table)
        if new is None:
            unknown.append(name)
        else:
            renamed[new] = tensor
    return renamed, unknown


def vae_from_diffusers(tensors: Mapping[str, Tensor]) -> Renamed:
    """Diffusers names -> single-file names; the attention's linears become 1x1 convolutions."""
    temporal = any("temporal_res_block" in name for name in tensors)
    table = inverse(vae_table(vae_layout(tensors), temporal=temporal))
    for new, single in list(table.items()):
        for suffix, old in _OLD_ATTENTION.items():
            if new.endswith(f"attentions.0.{suffix}"):
                table[new.removesuffix(suffix) + old] = single
    renamed, unknown = _renamed(tensors, table)
    for name, tensor in renamed.items():
        if ".attn_1." in name and name.endswith(".weight") and tensor.ndim == 2:
            renamed[name] = tensor[:, :, None, None]
    return renamed, unknown


def vae_to_diffusers(tensors: Mapping[str, Tensor]) -> Renamed:
    """Single-file names -> diffusers names; the attention's 1x1 convolutions become linears."""
    temporal = any(name.endswith("mix_factor") for name in tensors)
    renamed, unknown = _renamed(tensors, vae_table(vae_layout(tensors), temporal=temporal))
    for name, tensor in renamed.items():
        if ".attentions.0." in name and tensor.ndim == 4:
            renamed[name] = tensor[:, :, 0, 0]
    return renamed, unknown


def clip_to_transformers(tensors: Mapping[str, Tensor]) -> Renamed:
    """OpenCLIP image encoder -> transformers; q, k and v are views of the fused tensor's thirds."""
    layers = max(indices(tensors, r"transformer\.resblocks\.(\d{1,3})\."), default=-1) + 1
    table, split = clip_table(layers), {}
    for name, tensor in tensors.items():
        fused = re.fullmatch(r"transformer\.resblocks\.(\d{1,3})\.attn\.in_proj_(weight|bias)", name)
        if fused and tensor.ndim:
            layer = f"vision_model.encoder.layers.{fused[1]}.self_attn"
            for letter, third in zip("qkv", tensor.tensor_split(3)):
                split[f"{layer}.{letter}_proj.{fused[2]}"] = third
        elif name == "proj" and tensor.ndim == 2:
            split["visual_projection.weight"] = tensor.t().contiguous()
    renamed, unknown = _renamed(tensors, table)
    return renamed | split, [name for name in unknown if name != "proj" and "in_proj_" not in name]


def clip_to_openclip(tensors: Mapping[str, Tensor]) -> Renamed:
    """transformers -> OpenCLIP image encoder; q, k and v are joined."""
    layers = max(indices(tensors, r"vision_model\.encoder\.layers\.(\d{1,3})\."), default=-1) + 1
    joined = {"proj": tensors["visual_projection.weight"].t().contiguous()}
    for i in range(layers):
        layer = f"vision_model.encoder.layers.{i}.self_attn"
        for kind in ("weight", "bias"):
            thirds = [tensors[f"{layer}.{letter}_proj.{kind}"] for letter in "qkv"]
            joined[f"transformer.resblocks.{i}.attn.in_proj_{kind}"] = torch.cat(thirds)
    renamed, unknown = _renamed(tensors, inverse(clip_table(layers)))
    fused = re.compile(r"visual_projection\.weight|.*\.self_attn\.[qkv]_proj\.(weight|bias)")
    return renamed | joined, [name for name in unknown if not fused.fullmatch(name)]


def fold_quant_conv(
    weight: Tensor, bias: Tensor, quant_weight: Tensor, quant_bias: Tensor
) -> tuple[Tensor, Tensor]:
    """The encoder's conv_out and the 1x1 quant_conv behind it as one convolution, exactly: QW and Qb + q.

    The result is float32, whatever the inputs: rounded to their format it would no longer give the same
    latents.
    """
    Q = quant_weight.float().flatten(1)
    return torch.einsum("oi,ichw->ochw", Q, weight.float()), Q @ bias.float() + quant_bias.float()
