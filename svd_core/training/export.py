"""Trained networks -> one file in the released single-file layout, float16, with what tensors cannot tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checkpoint.convert import clip_to_openclip, fold_quant_conv
from ..checkpoint.identify import EMBEDDERS, FIRST, UNET, VISUAL
from ..checkpoint.presets import METADATA, Hints, Preset, hints_json
from ..checkpoint.write import write_safetensors
from ..models.image_encoder import CLIPVision
from ..models.unet import VideoUNet
from ..models.vae import SCALE, VAE
from .library import to_tensor


def single_file(unet: VideoUNet, vae: VAE, clip: CLIPVision) -> dict[str, Tensor]:
    """All tensors under the released names; `first_stage_model.encoder` has its quant_conv folded in."""
    tensors = {UNET + name: t for name, t in unet.state_dict().items()}
    tower, _ = clip_to_openclip(clip.state_dict())
    tensors.update({VISUAL + name: t for name, t in tower.items()})
    for name, tensor in vae.state_dict().items():
        head, _, tail = name.partition(".")
        tensors[(EMBEDDERS[0] if head == "embedder" else FIRST) + tail] = tensor
    reference = vae.encoder_for(native=False)
    assert reference.encoder is not None
    assert reference.quant_conv is not None
    encoder, conv, quant = reference.encoder.state_dict(), reference.encoder.conv_out, reference.quant_conv
    folded = fold_quant_conv(conv.weight, conv.bias, quant.weight, quant.bias)
    encoder["conv_out.weight"], encoder["conv_out.bias"] = folded
    tensors.update({f"{FIRST}encoder.{name}": t for name, t in encoder.items()})
    return {name: t.detach().half().contiguous() for name, t in tensors.items()}


@torch.no_grad()
def rgb_factors(vae: VAE, pictures: np.ndarray, *, count: int = 32) -> list[list[float]]:
    """Least squares from scaled latents to colours in [-1, 1], for previews: z rows of red, green, blue.

    pictures n H W 3 uint8, of which about `count` are used.
    """
    frames = to_tensor(pictures[:: max(1, len(pictures) // count)])
    z = vae.encode(frames).float() * SCALE
    small = torch.nn.functional.avg_pool2d(frames, frames.shape[-1] // z.shape[-1])
    rows, colours = (v.movedim(1, -1).flatten(0, 2) for v in (z, small))
    rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
    return [
        [round(v, 4) for v in row]
        for row in torch.linalg.lstsq(rows, colours, driver="gelsd").solution[:-1].tolist()
    ]


def write(
    path: Path, unet: VideoUNet, vae: VAE, clip: CLIPVision, *, preset: Preset, factors: list[list[float]]
) -> None:
    """Save the file whole or not at all."""
    hints = Hints(
        head_dim=unet.config.head_dim,
        unet_norm_groups=unet.config.norm_groups,
        vae_norm_groups=vae.config.norm_groups,
        clip={"heads": clip.config.heads, "patch": clip.config.patch, "image_size": clip.config.image_size},
        preset=preset,
        latent_rgb_factors=factors,
    )
    tensors, metadata = single_file(unet, vae, clip), {METADATA: hints_json(hints), "format": "pt"}
    write_safetensors(path, tensors, metadata)
