"""The preset that our loaders' MODEL, CLIP_VISION and VAE carry, and what is assumed of others."""

from __future__ import annotations

import comfy.model_base

from ...svd_core.checkpoint.presets import PRESETS, Preset


def carried(*sockets) -> Preset | None:
    """The preset of the first of these MODEL, CLIP_VISION or VAE that has one.

    A MODEL keeps it in the network's class, which clones, LoRA and other patches share.
    """
    holders = [holder for socket in sockets for holder in (socket, getattr(socket, "model", None))]
    presets = [getattr(holder, "preset", None) for holder in holders]
    return next((preset for preset in presets if isinstance(preset, Preset)), None)


def of_model(model) -> tuple[Preset, list[str]]:
    """How a MODEL is best sampled, and what to tell the user where that had to be guessed.

    `model` None stands for a socket left empty.
    """
    if preset := carried(model):
        return preset, []
    orbits = model is not None and isinstance(model.model, comfy.model_base.SV3D_u)
    preset = PRESETS["sv3d_u" if orbits else "svd"]
    what = "No model is wired in" if model is None else "This model does not say how it was trained"
    return preset, [
        f"{what}: sampling as trained means as {preset.name}, {preset.steps} steps, {preset.schedule}, "
        f"{preset.sampler}, guidance {preset.curve} {preset.min_cfg:g} to {preset.max_cfg:g}. Wire in the "
        "model of Load Video Checkpoint, or choose the values yourself."
    ]


def of_video(vae, clip_vision) -> tuple[Preset, list[str]]:
    """What a VAE and a CLIP_VISION were trained for, and what to tell the user where neither says so."""
    if preset := carried(vae, clip_vision):
        return preset, []
    preset = PRESETS["svd"]
    return preset, [
        f"Neither vae nor clip_vision says how it was trained: 0 means as {preset.name}, {preset.frames} "
        f"frames of {preset.width}x{preset.height} at {preset.fps} fps. svd_xt makes 25 frames: wire in the "
        "vae of Load Video Checkpoint, or set the numbers yourself."
    ]
