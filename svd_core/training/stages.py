"""What each command trains: its network, where the weights come from, its loss and its pictures.

Every stage starts from the embedded file's weights, overlaid by the averages of the stages before it that
were run here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..adapters.change import change
from ..adapters.lora import read
from ..adapters.names import Layers
from ..checkpoint import read as checkpoint
from ..checkpoint.presets import Preset
from ..checkpoint.write import write_safetensors
from ..models.configs import VAEConfig
from ..models.image_encoder import CLIPVision
from ..models.unet import VideoUNet
from ..models.vae import VAE
from . import autoencoder, diffusion, export, footage, library, lora, nano, pictures, state
from .camera import MOVEMENTS
from .loop import Loss, OnTrained, Run, Training, train

VAE_STAGES, UNET_STAGES = ("vae", "temporal", "decoder"), ("camera", "finish")
ORDER = ("vae", "temporal", "decoder", "footage", "camera", "finish")


def averaged(home: Path, name: str) -> dict[str, torch.Tensor]:
    """The EMA weights of a run, none if it was not run here."""
    path = home / f"{name}.safetensors"
    return state.take(state.read(path)[0], "ema.") if path.is_file() else {}


def overlay(
    model: nn.Module, shipped: dict[str, torch.Tensor], home: Path, runs: tuple[str, ...]
) -> nn.Module:
    """Load the embedded file's weights, then what the runs made of them;
    parts that the model leaves out are left out.
    """
    known = model.state_dict()
    for weights in (shipped, *(averaged(home, name) for name in runs)):
        model.load_state_dict({n: t.float() for n, t in weights.items() if n in known}, strict=False)
    return model


def before(name: str | None, stages: tuple[str, ...]) -> tuple[str, ...]:
    """The stages before the named one; all of them for a stage of the other network, or none named."""
    return stages[: stages.index(name)] if name in stages else stages


def build_vae(home: Path, shipped: Path, name: str | None = None) -> VAE:
    """The autoencoder that a stage starts from, or uses; frame-wise for the stage `vae`,
    whose decoder then changes.
    """
    config: VAEConfig = nano.IMAGE_VAE if name == "vae" else replace(nano.IMAGE_VAE, temporal=True)
    model = VAE(config)
    overlay(model, checkpoint.read(shipped).network("vae").tensors, home, before(name, VAE_STAGES))
    return model


def build_unet(home: Path, shipped: Path, name: str | None = None) -> VideoUNet:
    """The U-Net that a stage starts from."""
    model = VideoUNet(nano.UNET)
    overlay(model, checkpoint.read(shipped).network("unet").tensors, home, before(name, UNET_STAGES))
    return model


def build_clip(shipped: Path) -> CLIPVision:
    """The image tower, which no stage trains."""
    model = CLIPVision(nano.CLIP)
    tensors = checkpoint.read(shipped).network("clip").tensors
    model.load_state_dict({n: t.float() for n, t in tensors.items()})
    return model


def build_footage(home: Path, shipped: Path, *, on_step: OnTrained | None = None) -> None:
    """Encode the stills once, by the autoencoder as it is now."""
    with torch.no_grad():
        footage.build(home, build_vae(home, shipped), build_clip(shipped), on_step=on_step)


def build_loss(name: str, model: VideoUNet | VAE, home: Path, shipped: Path) -> Loss:
    """What the stage minimises."""
    if name in UNET_STAGES:
        vae = build_vae(home, shipped)
        return diffusion.DiffusionLoss(footage.load(home), nano.STAGES[name], vae.encode)
    _, stills = library.stills(size=footage.SIZE, judging=False)
    if name == "vae":
        return autoencoder.ImageLoss(stills, sizes=(64, 64, 64, 96, 128), pixels=24576, guided_steps=200)
    assert isinstance(model, VAE), name
    films = autoencoder.TemporalLoss(stills, frames=8, size=64, batch=1)
    if name == "decoder":
        autoencoder.freeze_encoder(model)
        images = autoencoder.ImageLoss(stills, sizes=(96, 128), pixels=32768, guided_steps=1)
        return autoencoder.DecoderLoss(images, films)
    autoencoder.freeze_space(model)
    return films


def trained(model: nn.Module, loss: Loss, run: Run, home: Path, on_step: OnTrained | None) -> Training:
    """A run to its last step, from its resume file if there is one, with its curves drawn."""
    training = Training(model, run, home / f"{run.name}.safetensors")
    train(training, loss, on_step=on_step, on_sheet=lambda t: draw(t, home))
    return training


def train_stage(
    name: str,
    home: Path,
    *,
    shipped: Path,
    changes: Mapping[str, Any],
    on_step: OnTrained | None = None,
) -> Training:
    """Run one stage to its last step, or go on with it."""
    model = (build_unet if name in UNET_STAGES else build_vae)(home, shipped, name)
    loss = build_loss(name, model, home, shipped)
    return trained(model, loss, replace(nano.RUNS[name], **changes), home, on_step)


def train_camera(
    movement: str,
    home: Path,
    *,
    shipped: Path,
    changes: Mapping[str, Any],
    on_step: OnTrained | None = None,
) -> Training:
    """Train the LoRA that makes the embedded model's camera go one way, and write it.

    It goes on from the file that there is, which nearly fits a base model that was trained on; else anew.
    """
    run = replace(nano.camera_run(movement), **changes)
    unet, vae = build_unet(home, shipped), build_vae(home, shipped)
    loss = diffusion.DiffusionLoss(footage.load(home), nano.camera_stage(movement), vae.encode)
    known = changes_of(nano.camera_lora(movement), unet)
    if MOVEMENTS[movement].zoom:
        if known:
            weights = unet.state_dict()
            unet.load_state_dict({n: t + known.get(n.removesuffix(".weight"), 0) for n, t in weights.items()})
        elif movement == "out":
            unet.load_state_dict(averaged(home, nano.camera_run("in").name), strict=False)
        training = trained(unet, loss, run, home, on_step)
        adapted = nearest(movement, build_unet(home, shipped), training.averaged())
    else:
        nano.attach_camera(unet, movement)
        lora.begin(unet, known)
        training = trained(unet, loss, run, home, on_step)
        adapted = training.ema
    facts = dict(movement=movement, model="svd-nano", steps=run.steps)
    factors = {name: t.half() for name, t in lora.tensors(adapted).items()}
    nano.LORAS.mkdir(exist_ok=True)
    write_safetensors(nano.camera_lora(movement), factors, {"puresvd_lora": json.dumps(facts)})
    return training


def changes_of(path: Path, unet: VideoUNet) -> dict[str, torch.Tensor]:
    """What a LoRA adds to each weight, by the name of its layer; nothing where there is no file."""
    if not path.is_file():
        return {}
    sizes = {name: tuple(t.shape) for name, t in unet.state_dict().items()}
    layers = read(path, Layers(sizes)).layers
    found = {name: change(layer, sizes[f"{name}.weight"]) for name, layer in layers.items()}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def nearest(movement: str, unet: VideoUNet, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The factors that bring a network nearest to these weights."""
    before = {name: t.clone() for name, t in unet.state_dict().items()}
    names = nano.attach_camera(unet, movement)
    lora.begin(unet, {name: weights[f"{name}.weight"] - before[f"{name}.weight"] for name in names})
    return {name: p.detach() for name, p in unet.named_parameters() if p.requires_grad}


@torch.no_grad()
def draw(training: Training, home: Path) -> None:
    """The curves of the run, and for autoencoders a sheet of pictures above their reconstructions."""
    name = training.run.name
    pictures.save(home / f"{name}-curves.png", pictures.curves(training.history, title=name))
    if not isinstance(training.model, VAE):
        return
    vae = VAE(training.model.config)
    vae.load_state_dict(training.averaged())
    x = library.to_tensor(np.stack([library.read(path, size=128) for path in library.files()[::50]]))
    y = torch.cat([vae.decode(vae.encode(picture[None]), t=1) for picture in x])
    pictures.save(home / f"{name}-sheet.png", pictures.sheet([x, y]))


@torch.no_grad()
def export_file(home: Path, path: Path, *, preset: Preset, shipped: Path) -> None:
    """Join the averaged weights of the last runs into the embedded file;
    what was not run here stays as it was.
    """
    vae, unet, clip = build_vae(home, shipped), build_unet(home, shipped), build_clip(shipped)
    _, stills = library.stills(size=256, judging=False)
    export.write(path, unet, vae, clip, preset=preset, factors=export.rgb_factors(vae, stills))
