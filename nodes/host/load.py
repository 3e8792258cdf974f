"""Checkpoints from the host's model folders to MODEL, CLIP_VISION and VAE,
with the reload factories it asks for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import comfy.memory_management
import comfy.model_management
import comfy.utils
import torch

from ...svd_core.checkpoint import read as core_checkpoint
from ...svd_core.checkpoint.checkpoint import Checkpoint, require_whole
from .clip_vision import PureClipVision
from .model import make_model
from .vae import PureVAE

DTYPES = {
    "default": None,
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
}
AS_STORED = "as stored"


@dataclass(frozen=True)
class Source:
    """Where the weights lie: one file or folder, or three files."""

    path: str = ""
    unet: str = ""
    vae: str = ""
    clip: str = ""

    def read(self) -> Checkpoint:
        # with DynamicVRAM the host's own loader yields tensors that it can page in from disk
        tensors = comfy.utils.load_torch_file if comfy.memory_management.aimdo_enabled else None
        if self.path:
            found = core_checkpoint.read(self.path, tensors=tensors)
            require_whole(found)
            return found
        files = (self.unet, self.vae, self.clip)
        return core_checkpoint.read_parts(*(core_checkpoint.read(file, tensors=tensors) for file in files))


def load(source: Source, weight_dtype: str = "default"):
    """MODEL, CLIP_VISION and VAE of a source."""
    go_on = comfy.model_management.throw_exception_if_processing_interrupted
    checkpoint = source.read()
    logging.info("%s", checkpoint.report)
    go_on()
    model = make_model(checkpoint, dtype=_dtype(checkpoint, weight_dtype))
    go_on()
    clip, vae = PureClipVision(checkpoint), PureVAE(checkpoint)
    go_on()
    model.cached_patcher_init = (reload_model, (source, weight_dtype))
    clip.patcher.cached_patcher_init = (reload_clip, (source,))
    vae.patcher.cached_patcher_init = (reload_vae, (source,))
    return model, clip, vae


def reload_model(source: Source, weight_dtype: str, disable_dynamic: bool = False):
    checkpoint = source.read()
    return make_model(checkpoint, dtype=_dtype(checkpoint, weight_dtype), disable_dynamic=disable_dynamic)


def reload_clip(source: Source, disable_dynamic: bool = False):
    return PureClipVision(source.read(), disable_dynamic=disable_dynamic).patcher


def reload_vae(source: Source, disable_dynamic: bool = False):
    return PureVAE(source.read(), disable_dynamic=disable_dynamic).patcher


def _dtype(checkpoint, choice: str) -> torch.dtype | None:
    if choice == AS_STORED:
        return comfy.utils.weight_dtype(checkpoint.unet)
    return DTYPES[choice]
