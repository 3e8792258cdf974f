"""Network sizes from tensor shapes, and the check that every tensor is there in its shape.

Sizes are those of most tensors that show them, so that one wrong tensor is named instead of believed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..models.configs import FAMILIES, CLIPConfig, UNetConfig, VAEConfig
from .header import show
from .names import indices, unet_layout, vae_layout
from .presets import Hints

Tensors = Mapping[str, Tensor]
Witnesses = Sequence[tuple[str, int]]  # names and axes
NAMED = 4  # how many names a sentence lists
LARGEST = 1 << 16  # of any one size; ViT-H has a layer of 5,120


@dataclass(frozen=True)
class Part:
    """What a message calls the tensors: their file, the network, and how the file spells a name."""

    where: str
    network: str
    spell: Callable[[str], str]
    embedder: str = ""  # where the file keeps the VAE's second encoder

    def fault(self, text: str) -> ValueError:
        """The sentence to raise."""
        return ValueError(f"{self.where}: the {self.network} {text}")


def _sizes(tensors: Tensors, witnesses: Witnesses) -> Iterable[int]:
    for name, axis in witnesses:
        if name in tensors and tensors[name].ndim > axis:
            yield tensors[name].shape[axis]


def _vote(part: Part, tensors: Tensors, witnesses: Witnesses, doubled: Witnesses = ()) -> int:
    """The size that most of the named axes have; `doubled` axes are twice as long."""
    votes = Counter([*_sizes(tensors, witnesses), *(n // 2 for n in _sizes(tensors, doubled))]).most_common(1)
    first = next(iter([*witnesses, *doubled]), None)
    name = show(part.spell(first[0])) if first else "the tensors that show its size"
    if votes and not 1 <= votes[0][0] <= LARGEST:
        raise part.fault(
            f"has {name} of size {votes[0][0]:,}, allowed are 1 to {LARGEST:,}; choose another file"
        )
    if not votes:
        raise part.fault(f"lacks {name}; the file is incomplete: download it again")
    return votes[0][0]


def _axes(tensors: Tensors, ends: tuple[str, ...], axis: int, start: str = "") -> list[tuple[str, int]]:
    return [(name, axis) for name in tensors if name.startswith(start) and name.endswith(ends)]


def _multiples(part: Part, widths: list[int], base: int, groups: int, divisor: int) -> tuple[int, ...]:
    for width in widths:
        if width % base:
            raise part.fault(f"has levels of {widths} channels, which are not multiples of {base}")
        if width % groups or width % divisor:
            found = f"{groups} norm groups and heads of {divisor}" if divisor > 1 else f"{groups} norm groups"
            raise part.fault(
                f"has {width} channels, which {found} do not divide; state them in puresvd metadata"
            )
    return tuple(width // base for width in widths)


def _check_layout(part: Part, levels: int, blocks: int) -> None:
    if levels > 6 or blocks > 4:
        raise part.fault(
            f"has {levels} levels of {blocks} blocks; SVD has 4 levels of 2: choose another file"
        )


def unet_config(tensors: Tensors, hints: Hints, part: Part) -> UNetConfig:
    """The configuration of a U-Net in single-file names."""
    layout = unet_layout(tensors)
    _check_layout(part, layout.levels, layout.res_blocks)
    first = [("input_blocks.0.0.weight", 0), ("input_blocks.0.0.bias", 0), ("time_embed.0.weight", 1)]
    base = _vote(part, tensors, [*first, ("input_blocks.1.0.in_layers.0.weight", 0)])
    ends = tuple(
        f"{name}.{kind}"
        for name in ("in_layers.2", "out_layers.0", "out_layers.3")
        for kind in ("weight", "bias")
    )
    widths = []
    for level in range(layout.levels):
        start = 1 + level * (layout.res_blocks + 1)
        blocks = [f"input_blocks.{start + j}.0." for j in range(layout.res_blocks)]
        widths.append(
            _vote(part, tensors, [w for block in blocks for w in _axes(tensors, ends, 0, block)] or first)
        )
    adm = _vote(part, tensors, [("label_emb.0.0.weight", 1)])
    if adm not in FAMILIES:
        raise part.fault(
            f"takes {adm} conditioning values; SVD takes 768, SV3D 256 or 1280: choose another file"
        )
    latent = _vote(part, tensors, [("out.2.weight", 0), ("out.2.bias", 0)])
    taken = _vote(part, tensors, [("input_blocks.0.0.weight", 1)])
    if taken != 2 * latent:
        raise part.fault(f"takes {taken} channels and gives {latent}; an SVD U-Net takes 8 and gives 4")
    return UNetConfig(
        model_channels=base,
        channel_mult=_multiples(part, widths, base, hints.unet_norm_groups, hints.head_dim),
        num_res_blocks=layout.res_blocks,
        attention_levels=layout.attention,
        context_dim=_vote(
            part, tensors, _axes(tensors, ("attn2.to_k.weight", "attn2.to_v.weight"), 1) or first
        ),
        adm_in_channels=adm,
        in_channels=taken,
        out_channels=latent,
        head_dim=hints.head_dim,
        norm_groups=hints.unet_norm_groups,
    )


def vae_config(tensors: Tensors, hints: Hints, part: Part) -> VAEConfig:
    """The configuration of a VAE in `embedder.` and `first_stage_model.` names."""
    layout = vae_layout(name.partition(".")[2] for name in tensors)
    _check_layout(part, layout.levels, layout.res_blocks)
    if not any(".encoder." in name for name in tensors):
        raise part.fault("has a decoder but no encoder; choose a file with both")
    if not any(".decoder." in name for name in tensors):
        raise part.fault("has an encoder but no decoder; choose a file with both")
    base = _vote(part, tensors, _axes(tensors, ("encoder.conv_in.weight", "encoder.conv_in.bias"), 0))
    ends = tuple(f"{name}.{kind}" for name in ("norm2", "conv1", "conv2") for kind in ("weight", "bias"))
    widths = []
    for level in range(layout.levels):
        places = [f"embedder.encoder.down.{level}.block.", f"first_stage_model.encoder.down.{level}.block."]
        places.append(f"first_stage_model.decoder.up.{level}.block.")
        witnesses = [w for place in places for w in _axes(tensors, ends, 0, place)]
        widths.append(_vote(part, tensors, witnesses or [(places[0] + "0.conv1.weight", 0)]))
    latents = _axes(tensors, ("decoder.conv_in.weight",), 1)
    moments = _axes(tensors, ("encoder.conv_out.weight", "encoder.conv_out.bias"), 0)

    def has(start: str) -> bool:
        return any(name.startswith(start) for name in tensors)

    temporal = any("time_stack" in name or "mix_factor" in name for name in tensors)
    image_decoder = not temporal and part.embedder.startswith("conditioner.embedders.3.")  # not SV3D's
    return VAEConfig(
        ch=base,
        ch_mult=_multiples(part, widths, base, hints.vae_norm_groups, 1),
        num_res_blocks=layout.res_blocks,
        z_channels=_vote(part, tensors, latents, moments),
        temporal=temporal,
        embedder=has("embedder."),
        native_encoder=has("first_stage_model.encoder."),
        quant_conv=has("first_stage_model.quant_conv."),
        post_quant_conv=has("first_stage_model.post_quant_conv.") or image_decoder,
        norm_groups=hints.vae_norm_groups,
    )


def clip_config(tensors: Tensors, hints: Hints, part: Part) -> CLIPConfig:
    """The configuration of an image encoder in transformers names."""
    layers = max(indices(tensors, r"vision_model\.encoder\.layers\.(\d{1,6})\."), default=-1) + 1
    if not 1 <= layers <= 100:
        raise part.fault(f"has {layers} layers; ViT-H has 32: choose another file")
    start = "vision_model.embeddings."
    patches = [(start + "patch_embedding.weight", 0), ("vision_model.pre_layrnorm.weight", 0)]
    width = _vote(
        part, tensors, [*patches, (start + "class_embedding", 0), (start + "position_embedding.weight", 1)]
    )
    patch = _vote(
        part, tensors, [(start + "patch_embedding.weight", 2), (start + "patch_embedding.weight", 3)]
    )
    positions = _vote(part, tensors, [(start + "position_embedding.weight", 0)])
    side = math.isqrt(positions - 1)
    if side * side != positions - 1 or not side:
        name = part.spell(start + "position_embedding.weight")
        raise part.fault(f"has {positions} rows in {name}, not a square number and one; choose another file")
    heads = hints.clip.get("heads", 16)
    if width % heads:
        raise part.fault(
            f"has width {width}, which {heads} heads do not divide; state them in puresvd metadata"
        )
    return CLIPConfig(
        width=width,
        layers=layers,
        heads=heads,
        mlp=_vote(part, tensors, _axes(tensors, ("mlp.fc1.weight", "mlp.fc1.bias"), 0) or patches),
        patch=patch,
        image_size=side * patch,
        projection=_vote(part, tensors, [("visual_projection.weight", 0)]),
    )


class _Unfilled(TorchFunctionMode):
    """Leaves out the filling of new weights; on the meta device it would only import torch's compiler."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init" or func in (Tensor.fill_, Tensor.zero_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def without_values(build: Callable[..., nn.Module], config: Any, **kw: Any) -> nn.Module:
    """A network on the meta device, which takes no memory and almost no time."""
    with _Unfilled():
        return build(config, device="meta", **kw)


def check(network: nn.Module, tensors: Tensors, part: Part) -> list[str]:
    """Stop on missing, mis-shaped or quantised tensors of a network; return names it has no use for."""
    expected = network.state_dict()
    missing = [part.spell(name) for name in expected if name not in tensors]
    wrong, quantised = [], []
    for name in expected.keys() & tensors.keys():
        found, needed = tuple(tensors[name].shape), tuple(expected[name].shape)
        if found != needed:
            wrong.append(f"{part.spell(name)}: {list(found)} instead of {list(needed)}")
        elif not tensors[name].is_floating_point():
            quantised.append(f"{part.spell(name)}: {str(tensors[name].dtype).removeprefix('torch.')}")
    for names, what in (
        (missing, "missing"),
        (wrong, "in a wrong shape"),
        (quantised, "not in floating point"),
    ):
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            listed = ", ".join(show(name) for name in sorted(names)[:NAMED])
            count = f"{len(names)} of its {len(expected)} tensors"
            raise part.fault(
                f"has {count} {what} ({listed}{more}); download the file again or choose another"
            )
    return [name for name in tensors if name not in expected]
