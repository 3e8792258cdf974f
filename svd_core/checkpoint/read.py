"""File or folder -> tensors under canonical names, their configurations and a report -> networks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..models.configs import FAMILIES
from ..models.image_encoder import CLIPVision
from ..models.unet import VideoUNet
from ..models.vae import VAE
from .checkpoint import Checkpoint, Network, Tensors
from .folder import open_folder
from .header import open_tensors, read_header
from .identify import Contents, sort
from .presets import METADATA, Hints, Preset, choose_preset, hints_from_configs, parse_hints
from .report import TITLES, Report
from .sizes import Part, check, clip_config, unet_config, vae_config, without_values

FAMILY_TITLES = {"svd": "Stable Video Diffusion", "sv3d_u": "SV3D_u", "sv3d_p": "SV3D_p"}
NETWORKS: dict[str, tuple[Callable[..., Any], Callable[..., nn.Module]]] = {
    "unet": (unet_config, VideoUNet),
    "vae": (vae_config, VAE),
    "clip": (clip_config, CLIPVision),
}
Source = str | os.PathLike[str]
Given = Mapping[str, Tensor] | Callable[[str], Mapping[str, Tensor]] | None


def read(path: Source, *, tensors: Given = None) -> Checkpoint:
    """A single file, a diffusers folder, or the file or folder of one network, checked; nothing is copied.

    `tensors` lets a host bring the state dict itself, or a function that loads a file once its header is
    checked.
    """
    where = os.fspath(path)
    if isinstance(tensors, Mapping) or not os.path.isdir(path):
        found, metadata = _open(where, tensors)
        return _assemble({where: sort(found, where)}, where, metadata, {})
    contents, merged, configs = {}, {}, {}
    for name, component in open_folder(Path(path), lambda file: _open(file, tensors)).items():
        place = os.fspath(component.folder)
        contents[place] = sort(component.tensors, place)
        networks = list(contents[place].networks)
        if networks != [name or networks[0]]:
            raise ValueError(
                f"{place} holds {TITLES[networks[0]]} weights, not the {TITLES[name]}'s; download it again"
            )
        configs[networks[0]] = component.config
        merged.update(component.metadata)
    return _assemble(contents, where, merged, configs)


def _open(path: str, tensors: Given) -> tuple[Tensors, dict[str, str]]:
    if tensors is None:
        return open_tensors(path)
    if isinstance(tensors, Mapping):
        return dict(tensors), read_header(path).metadata if os.path.isfile(path) else {}
    metadata = read_header(path).metadata
    return dict(tensors(path)), metadata


def _assemble(
    contents: dict[str, Contents], where: str, metadata: dict[str, str], configs: dict[str, Any]
) -> Checkpoint:
    """Configure and check each network found, and say what the whole is."""
    saved = [found.hints for found in contents.values() if found.hints] + [metadata.get(METADATA)]
    hints = parse_hints(saved[0], where) if saved[0] else hints_from_configs(configs, where)
    networks: dict[str, Network] = {}
    report = Report(where)
    for place, found in contents.items():
        report.leave(found.unused, found.unknown)
        for name, named in found.networks.items():
            part = Part(place, TITLES[name], named.spell, named.embedder)
            configure, network = NETWORKS[name]
            config = configure(named.tensors, hints, part)
            extra = set(check(without_values(network, config), named.tensors, part))
            report.leave({}, [part.spell(key) for key in named.tensors if key in extra])
            kept = {key: tensor for key, tensor in named.tensors.items() if key not in extra}
            networks[name] = Network(kept, config)
    family = FAMILIES[networks["unet"].config.adm_in_channels] if "unet" in networks else "svd"
    kind = "diffusers folder" if len(configs) > 1 else family if len(networks) > 1 else next(iter(networks))
    frames = configs.get("unet", {}).get("num_frames")
    label = "/".join(Path(where).parts[-3:]) if configs else Path(where).stem
    preset = choose_preset(label, hints, family=family, frames=frames if type(frames) is int else None)
    return _checkpoint(kind, networks, preset, metadata, report, hints)


def _checkpoint(
    kind: str,
    networks: dict[str, Network],
    preset: Preset,
    metadata: dict[str, str],
    report: Report,
    hints: Hints,
) -> Checkpoint:
    report.count({name: network.tensors for name, network in networks.items()})
    checkpoint = Checkpoint(kind, networks, preset, metadata, report, hints)
    titles = [f"{FAMILY_TITLES[checkpoint.family]} {TITLES['unet']}"] if checkpoint.family else []
    titles += [TITLES[name] for name in ("vae", "clip") if name in networks]
    report.what = f"{kind} with {', '.join(titles)}" if len(titles) > 1 else titles[0]
    if vae := checkpoint.vae_config:
        report.notes.append("decoder: over time" if vae.temporal else "decoder: frame by frame")
        report.notes.append(
            "encoder: " + ("the reference's" if vae.embedder else "the autoencoder's own, the only one")
        )
    if checkpoint.family:
        report.notes.append(
            f"preset: {preset.name}, {preset.frames} frames of {preset.width} x {preset.height}"
        )
    _check_fit(checkpoint)
    return checkpoint


def _check_fit(checkpoint: Checkpoint) -> None:
    """The networks must agree on latents and embeddings."""
    where, unet = checkpoint.report.where, checkpoint.unet_config
    if unet and (vae := checkpoint.vae_config) and vae.z_channels != unet.out_channels:
        found = f"the VAE has {vae.z_channels} latent channels, the U-Net {unet.out_channels}"
        raise ValueError(f"{where}: {found}; choose the VAE of an SVD checkpoint")
    if unet and (clip := checkpoint.clip_config) and clip.projection != unet.context_dim:
        found = f"the CLIP image encoder gives {clip.projection} values, the U-Net takes {unet.context_dim}"
        raise ValueError(f"{where}: {found}; choose CLIP-ViT-H-14")


def read_parts(unet: Source | Checkpoint, vae: Source | Checkpoint, clip: Source | Checkpoint) -> Checkpoint:
    """U-Net, VAE and CLIP image encoder from three files, each of which may also hold more."""
    networks, sources = {}, {}
    report = Report("")
    for name, source in (("unet", unet), ("vae", vae), ("clip", clip)):
        sources[name] = part = source if isinstance(source, Checkpoint) else read(source)
        networks[name] = part.network(name)
        report.leave({}, part.report.unknown)
    report.where = ", ".join(dict.fromkeys(part.report.where for part in sources.values()))
    first = sources["unet"]
    return _checkpoint("parts", networks, first.preset, first.metadata, report, first.hints)
