"""CLIP_VISION: the host's contract around our image encoder, with the reference's preprocessing too."""

from __future__ import annotations

import comfy.clip_vision
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch
from torch import Tensor

from ...svd_core.checkpoint.checkpoint import Checkpoint
from ...svd_core.models.image_encoder import MEAN, STD, CLIPVision
from . import finite, ops


class PureClipVision:
    """`encode_image` gives native nodes the native numbers; `embed` takes preprocessed pixels."""

    def __init__(self, checkpoint: Checkpoint, *, disable_dynamic: bool = False):
        mm, config = comfy.model_management, checkpoint.clip_config
        self.image_size = config.image_size
        self.image_mean, self.image_std, self.model_type = list(MEAN), list(STD), "clip_vision_model"
        self.preset, self.where = checkpoint.preset, checkpoint.report.where
        self.load_device = mm.text_encoder_device()
        offload = mm.text_encoder_offload_device()
        self.dtype = mm.text_encoder_dtype(self.load_device)
        self.model = CLIPVision(
            config, ops=ops.fast(comfy.ops.manual_cast), dtype=self.dtype, device=offload
        ).eval()
        self.model.requires_grad_(False)
        make = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
        self.patcher = make(self.model, load_device=self.load_device, offload_device=offload)
        self.load_sd(checkpoint.clip)

    def load_sd(self, state: dict[str, Tensor]):
        return self.model.load_state_dict(state, strict=True, assign=self.patcher.is_dynamic())

    def get_sd(self) -> dict[str, Tensor]:
        return self.model.state_dict()

    def embed(self, x: Tensor) -> Tensor:
        """n 3 s s, normalised -> n e"""
        comfy.model_management.load_model_gpu(self.patcher)
        out = self.model(x.to(self.load_device, torch.float32))
        return finite.check(out, self.model, self.where).to(comfy.model_management.intermediate_device())

    def encode_image(self, image: Tensor, crop: bool = True, **kwargs):
        """IMAGE n H W c -> the host's Output: its own centre crop, resize and 8-bit rounding."""
        mm = comfy.model_management
        mm.load_model_gpu(self.patcher)
        x = comfy.clip_vision.clip_preprocess(
            image.to(self.load_device),
            size=self.image_size,
            mean=self.image_mean,
            std=self.image_std,
            crop=crop,
        ).float()
        penultimate, last = self.model.hidden(x)
        device, out = mm.intermediate_device(), comfy.clip_vision.Output()
        out["last_hidden_state"] = last.to(device)
        out["penultimate_hidden_states"] = penultimate.to(device)
        out["image_embeds"] = self.model.project(last).to(device)
        out["image_sizes"] = [x.shape[1:]] * x.shape[0]
        out["mm_projected"] = None
        return out
