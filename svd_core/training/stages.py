"""What each command trains: its networks, where their weights come from, its loss and its pictures."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..checkpoint import read as checkpoint
from ..checkpoint.presets import Preset
from ..models.configs import VAEConfig
from ..models.image_encoder import CLIPVision
from ..models.unet import VideoUNet
from ..models.vae import VAE
from . import autoencoder, diffusion, export, nano, pictures, state
from .codes import LinearCode
from .loop import Loss, Run, Training, train

BEFORE = {
    "temporal": "vae",
    "video": "image",
    "i2v": "video",
}  # the run whose averaged weights a stage starts from
ORDER = ("vae", "temporal", "image", "video", "i2v")


def seeded(name: str, build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network whose initial weights depend on the stage's name alone."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(zlib.crc32(name.encode()))
        return build()


def video_config(image: VAEConfig) -> VAEConfig:
    return replace(image, temporal=True)


def build_vae(home: Path, shipped: Path, name: str) -> VAE:
    """The stage's autoencoder, with the weights of the run before it or of the shipped file."""
    config = nano.IMAGE_VAE if name == "vae" else video_config(nano.IMAGE_VAE)
    vae = seeded(name, lambda: VAE(config))
    if name == "vae":
        autoencoder.initialise(vae)
    else:
        autoencoder.initialise_time(vae)
    weights = averaged(home, BEFORE.get(name))
    if weights is None and shipped.is_file():
        weights = {n: t.float() for n, t in checkpoint.read(shipped).vae.items()}
    return fill(vae, weights, name)


def build_diffusion(home: Path, shipped: Path, name: str) -> diffusion.Diffusion:
    """U-Net and image encoder, with the weights of the run before or of the shipped file."""

    def build() -> diffusion.Diffusion:
        return diffusion.Diffusion(VideoUNet(nano.UNET), CLIPVision(nano.CLIP))

    model = seeded(name, build)
    diffusion.initialise(model.unet)
    diffusion.initialise_copy(model.unet)
    weights = averaged(home, BEFORE.get(name))
    if weights is None and shipped.is_file():
        found = checkpoint.read(shipped)
        weights = {
            f"{part}.{n}": t.float() for part in ("unet", "clip") for n, t in getattr(found, part).items()
        }
    return fill(model, weights, name)


def averaged(home: Path, name: str | None) -> dict[str, torch.Tensor] | None:
    """The EMA weights of an earlier run, if it has been run here."""
    path = home / f"{name}.safetensors"
    return state.take(state.read(path)[0], "ema.") if name and path.is_file() else None


def fill(model: nn.Module, weights: dict[str, torch.Tensor] | None, name: str) -> nn.Module:
    """Load what there is; a first stage may start from nothing, temporal layers may be new."""
    if weights is None:
        if name in BEFORE:
            raise ValueError(
                f"stage {name!r} starts from stage {BEFORE[name]!r}, which has not been run here; run it first"
            )
        return model
    known = model.state_dict()
    model.load_state_dict({n: t for n, t in weights.items() if n in known}, strict=False)
    return model


def train_stage(run: Run, home: Path, *, shipped: Path, on_step=None) -> Training:
    """Run one stage to its last step, or go on with it."""
    clips, path = nano.clips(home), home / f"{run.name}.safetensors"
    code = autoencoder.principal_colours(z=nano.IMAGE_VAE.z_channels)
    if run.name in ("vae", "temporal"):
        model: nn.Module = build_vae(home, shipped, run.name)
        loss: Loss = nano.vae_loss(run.name, model, clips, code)
    else:
        model = build_diffusion(home, shipped, run.name)
        loss = diffusion.DiffusionLoss(clips, nano.STAGES[run.name], code)
    training = Training(model, run, path)
    train(training, loss, on_step=on_step, on_sheet=lambda t: draw(t, home, code))
    return training


@torch.no_grad()
def draw(training: Training, home: Path, code: LinearCode) -> None:
    """The curves of the run, and for autoencoders a sheet of training pictures above their reconstructions."""
    name = training.run.name
    pictures.save(home / f"{name}-curves.png", pictures.curves(training.history, title=name))
    if not isinstance(training.model, VAE):
        return
    vae = VAE(training.model.config)
    vae.load_state_dict(training.averaged())
    clips = nano.clips(home)
    x = torch.stack([clips.crop(np.random.default_rng(i), frames=1, size=128)[0] for i in range(6)])
    y = vae.decode(vae.encode(x), t=1 if not vae.config.temporal else len(x))
    linear = vae.decode(code(x), t=1 if not vae.config.temporal else len(x))
    pictures.save(home / f"{name}-sheet.png", pictures.sheet([x, y, linear]))


@torch.no_grad()
def export_file(home: Path, path: Path, *, preset: Preset, shipped: Path) -> None:
    """Join the averaged weights of the last runs into the shipped file; what was not run here stays as it was."""
    vae, model = (
        VAE(video_config(nano.IMAGE_VAE)),
        diffusion.Diffusion(VideoUNet(nano.UNET), CLIPVision(nano.CLIP)),
    )
    autoencoder.initialise_time(vae)
    if shipped.is_file():
        found = checkpoint.read(shipped)
        vae.load_state_dict({n: t.float() for n, t in found.vae.items() if n in vae.state_dict()})
        model.unet.load_state_dict({n: t.float() for n, t in found.unet.items()})
        model.clip.load_state_dict({n: t.float() for n, t in found.clip.items()})
    for network, names in ((vae, ("vae", "temporal")), (model, ("image", "video", "i2v"))):
        for name in names:  # a later run overrides what it trained
            network.load_state_dict(averaged(home, name) or {}, strict=False)
    factors = export.rgb_factors(vae, nano.clips(home))
    export.write(path, model.unet, vae, model.clip, preset=preset, factors=factors)
