"""What a set of tensors is: U-Net, VAE and CLIP image encoder under canonical names, or why it is neither."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .convert import clip_to_transformers, unet_from_diffusers, vae_from_diffusers
from .header import show
from .names import clip_table, inverse, rename, unet_layout, unet_table, vae_layout, vae_table
from .presets import METADATA, from_tensor

Tensors = dict[str, Tensor]
Spell = Callable[[str], str]

UNET = "model.diffusion_model."
TEXT = "conditioner.embedders.0.open_clip.model."
VISUAL = TEXT + "visual."
FIRST = "first_stage_model."
EMBEDDERS = ("conditioner.embedders.3.encoder.", "conditioner.embedders.1.encoder.")
_HOST_KEYS = re.compile(r"edm_vpred\.sigma_(max|min)|v_pred|ztsnr|denoiser\.sigmas")
_HOST = "noise range written by ComfyUI"
_WRAPPERS = ("diffusion_model.", "unet.", "vae.", "image_encoder.", "module.")
_SVD = re.compile(r"\.time_stack\.|temporal_transformer_blocks\.|temporal_res_block\.")
_CHOOSE = "choose an SVD or SV3D checkpoint"
# What others call their tensors; the first match wins.
_NEVER_SVD = (
    (r"time_mix_blocks\.", f"an SV4D model, which is another network; {_CHOOSE}"),
    (
        r"[._]lora[._]|[._]lora_|^lora_|\.hada_w1|\.lokr_w1",
        "a LoRA; load it with a LoRA loader behind an SVD model",
    ),
    (r"^control_model\.|(^|\.)controlnet_|input_hint_block\.", f"a ControlNet; {_CHOOSE}"),
    (
        r"\.(scale_weight|weight_scale|comfy_quant|absmax|quant_map)$|(^|\.)scaled_fp8$",
        "quantised with separate scales; use an fp32, fp16, bf16 or plain fp8 version",
    ),
)
# The same for names that a file of the SVD family may hold as well.
_UNLESS_SVD = (
    (r"^conditioner\.embedders\.1\.model\.", f"an SDXL checkpoint; {_CHOOSE}"),
    (r"^conditioner\.embedders\.0\.model\.", f"an SDXL refiner checkpoint; {_CHOOSE}"),
    (r"^cond_stage_model\.model\.", f"a Stable Diffusion 2 checkpoint; {_CHOOSE}"),
    (r"^cond_stage_model\.", f"a Stable Diffusion 1 checkpoint; {_CHOOSE}"),
    (r"motion_modules\.", f"an AnimateDiff motion module; {_CHOOSE}"),
    (
        r"^(model\.diffusion_model\.|unet\.)?(input_blocks|down_blocks)\.",
        f"an image U-Net, without SVD's layers over time; {_CHOOSE}",
    ),
    (
        r"(double|joint|single_transformer)_blocks\.|^(model\.diffusion_model\.)?(transformer_)?blocks\.\d",
        f"a diffusion transformer; {_CHOOSE}",
    ),
)


@dataclass(frozen=True)
class Named:
    """Tensors of one network under canonical names, and how their file spells such a name."""

    tensors: Tensors
    spell: Spell
    embedder: str = ""  # where the file keeps the VAE's second encoder: SVD and SV3D differ there


@dataclass
class Contents:
    """The networks found; what was left aside, why."""

    networks: dict[str, Named] = field(default_factory=dict)  # unet, vae, clip
    unused: dict[str, list[str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    hints: str | None = None

    def leave(self, reason: str, names: list[str]) -> None:
        """Note known tensors that nothing here needs."""
        if names:
            self.unused.setdefault(reason, []).extend(names)


def refuse_unsupported(names: list[str], where: str) -> None:
    """Raise ValueError with the name of a model that is not of the SVD family."""
    known = any(_SVD.search(name) for name in names)
    for pattern, what in _NEVER_SVD if known else _NEVER_SVD + _UNLESS_SVD:
        if any(re.search(pattern, name) for name in names):
            raise ValueError(f"{where} is {what}")


def sort(tensors: Mapping[str, Tensor], where: str) -> Contents:
    """The networks in the tensors of one file, in whichever layout."""
    refuse_unsupported(list(tensors), where)
    contents = Contents()
    groups: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        if name.endswith(METADATA):
            contents.hints = from_tensor(tensor, where)
        elif _HOST_KEYS.fullmatch(name):
            contents.leave(_HOST, [name])
        else:
            prefix = next((p for p in (UNET, VISUAL, TEXT, FIRST, *EMBEDDERS) if name.startswith(p)), "")
            groups.setdefault(prefix, {})[name[len(prefix) :]] = tensor
    bare = groups.pop("", {})
    if groups:
        contents.unknown += bare
        _sort_single_file(contents, groups)
    else:
        _sort_bare(contents, bare, where)
    return contents


def _sort_single_file(contents: Contents, groups: dict[str, Tensors]) -> None:
    contents.leave("remains of the text tower", [TEXT + name for name in groups.get(TEXT, ())])
    if UNET in groups:
        contents.networks["unet"] = Named(groups[UNET], lambda name: UNET + name)
    if VISUAL in groups:
        _add_clip(contents, groups[VISUAL], VISUAL)
    embedder, *others = [prefix for prefix in EMBEDDERS if prefix in groups] or [""]
    contents.unknown += [prefix + name for prefix in others for name in groups[prefix]]
    if embedder or FIRST in groups:
        _add_vae(contents, groups.get(FIRST, {}), groups.get(embedder, {}), embedder)


def _add_vae(contents: Contents, first: Tensors, embedder: Tensors, prefix: str) -> None:
    """Decoder and native encoder, and the condition embedder's encoder; its own decoder is not needed."""
    origin = FIRST
    if not any(
        name.startswith("decoder.") for name in first
    ):  # SV3D as ComfyUI saves it: all under the embedder
        first, embedder, origin = embedder, {}, prefix
    kept = {name: t for name, t in embedder.items() if name.startswith(("encoder.", "quant_conv."))}
    contents.leave("plain decoder of the condition embedder", [prefix + n for n in embedder if n not in kept])
    vae = {f"embedder.{name}": tensor for name, tensor in kept.items()}
    vae.update({FIRST + name: tensor for name, tensor in first.items()})

    def spell(name: str) -> str:
        head, _, tail = name.partition(".")
        return (prefix if head == "embedder" else origin) + tail

    contents.networks["vae"] = Named(vae, spell, embedder=prefix if kept else "")


def _add_diffusers_vae(contents: Contents, tensors: Tensors, prefix: str) -> None:
    renamed, unknown = vae_from_diffusers(tensors)
    contents.unknown += [prefix + name for name in unknown]
    temporal = any(name.endswith("mix_factor") for name in renamed)
    # diffusers keeps the condition embedder's encoder with its quant_conv, and SVD's temporal decoder
    reference = ("encoder.", "quant_conv.") if temporal else ()
    table = vae_table(vae_layout(renamed), temporal=temporal)
    vae = {
        ("embedder." if name.startswith(reference) else FIRST) + name: tensor
        for name, tensor in renamed.items()
    }
    contents.networks["vae"] = Named(
        vae, lambda name: prefix + (rename(name.partition(".")[2], table) or name)
    )


def _add_diffusers_unet(contents: Contents, tensors: Tensors, prefix: str) -> None:
    unet, unknown = unet_from_diffusers(tensors)
    contents.unknown += [prefix + name for name in unknown]
    table = unet_table(unet_layout(tensors))
    contents.networks["unet"] = Named(unet, lambda name: prefix + (rename(name, table) or name))


def _add_clip(contents: Contents, tensors: Tensors, prefix: str) -> None:
    """The image encoder, OpenCLIP's or transformers' names; either may come with the text tower."""
    text = re.compile(r"text_model\.|text_projection|logit_(scale|bias)|.*\.position_ids$|position_ids$")
    contents.leave("text tower and position numbers", [prefix + name for name in tensors if text.match(name)])
    tensors = {name: tensor for name, tensor in tensors.items() if not text.match(name)}
    if any(name.startswith("vision_model.") for name in tensors):
        contents.networks["clip"] = Named(tensors, lambda name: prefix + name)
        return
    clip, unknown = clip_to_transformers(tensors)
    contents.unknown += [prefix + name for name in unknown]
    contents.networks["clip"] = Named(clip, lambda name: prefix + _openclip_name(name))


def _openclip_name(name: str) -> str:
    layer = re.fullmatch(r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.[qkv]_proj\.(weight|bias)", name)
    if layer:
        return f"transformer.resblocks.{layer[1]}.attn.in_proj_{layer[2]}"
    if name == "visual_projection.weight":
        return "proj"
    number = re.search(r"\d+", name)
    return rename(name, inverse(clip_table(int(number[0]) + 1 if number else 0))) or name


def _sort_bare(contents: Contents, tensors: Tensors, where: str) -> None:
    prefix = next((p for p in _WRAPPERS if tensors and all(name.startswith(p) for name in tensors)), "")
    tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}

    def has(*starts: str) -> bool:
        return any(name.startswith(starts) for name in tensors)

    if has("input_blocks."):
        contents.networks["unet"] = Named(tensors, lambda name: prefix + name)
    elif has("encoder.conv_in.", "decoder.conv_in.") and has("encoder.down_blocks.", "decoder.up_blocks."):
        _add_diffusers_vae(contents, tensors, prefix)
    elif has("encoder.conv_in.", "decoder.conv_in."):
        vae = {FIRST + name: tensor for name, tensor in tensors.items()}
        contents.networks["vae"] = Named(vae, lambda name: prefix + name.partition(".")[2])
    elif has("down_blocks.", "up_blocks.", "mid_block."):
        _add_diffusers_unet(contents, tensors, prefix)
    elif has("vision_model."):
        _add_clip(contents, tensors, prefix)
    elif has("visual.", "transformer.resblocks.") and (has("visual.") or has("class_embedding")):
        tower = {name.removeprefix("visual."): t for name, t in tensors.items() if name.startswith("visual.")}
        contents.leave(
            "text tower and position numbers", [name for name in tensors if tower and name[:7] != "visual."]
        )
        _add_clip(contents, tower or tensors, "visual." if tower else prefix)
    elif has("text_model.", "transformer.resblocks.", "token_embedding."):
        raise ValueError(f"{where} is a CLIP text encoder; SVD needs an image encoder (CLIP-ViT-H-14)")
    else:
        names = ", ".join(show(name) for name in list(tensors)[:3]) or "none at all"
        raise ValueError(
            f"{where} is not an SVD checkpoint, U-Net, VAE or CLIP image encoder (its tensors: {names}); "
            f"{_CHOOSE}"
        )
