"""The host's own classes filled with a checkpoint's tensors, where its loader does not know the width."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from svd_core.checkpoint.checkpoint import Checkpoint
from svd_core.models.configs import UNetConfig


def trio(checkpoint: Checkpoint) -> tuple[Any, Any, Any]:
    """MODEL, CLIP_VISION and VAE in float32."""
    return model(checkpoint), clip_vision(checkpoint), vae(checkpoint)


def model(checkpoint: Checkpoint) -> Any:
    base, patcher, mm, supported = (
        importlib.import_module(f"comfy.{name}")
        for name in ("model_base", "model_patcher", "model_management", "supported_models")
    )
    c = checkpoint.unet_config
    keys = unet_keys(c)
    config = supported.SVD_img2vid(keys)
    config.unet_config["num_head_channels"] = c.head_dim
    config.set_inference_dtype(torch.float32, None)
    made = base.SVD_img2vid(config, device=mm.unet_offload_device())
    _fill(made.diffusion_model, checkpoint.unet, c.norm_groups)
    return patcher.CoreModelPatcher(made, mm.get_torch_device(), mm.unet_offload_device())


def unet_keys(c: UNetConfig) -> dict[str, Any]:
    """What the host's U-Net calls the numbers of ours."""
    levels = [int(a) for a in c.attention_levels]
    return dict(
        image_size=32,
        in_channels=c.in_channels,
        out_channels=c.out_channels,
        model_channels=c.model_channels,
        channel_mult=list(c.channel_mult),
        num_res_blocks=[c.num_res_blocks] * len(levels),
        context_dim=c.context_dim,
        transformer_depth=[a for a in levels for _ in range(c.num_res_blocks)],
        transformer_depth_output=[a for a in levels for _ in range(c.num_res_blocks + 1)],
        transformer_depth_middle=1,
        num_classes="sequential",
        adm_in_channels=c.adm_in_channels,
        num_head_channels=c.head_dim,
        use_spatial_transformer=True,
        use_linear_in_transformer=True,
        legacy=False,
        use_checkpoint=False,
        extra_ff_mix_layer=True,
        use_spatial_context=True,
        merge_strategy="learned_with_images",
        merge_factor=0.0,
        video_kernel_size=[3, 1, 1],
        use_temporal_resblock=True,
        use_temporal_attention=True,
        disable_temporal_crossattention=False,
    )


def vae(checkpoint: Checkpoint) -> Any:
    sd, patcher, mm, autoencoder = (
        importlib.import_module(f"comfy.{name}")
        for name in ("sd", "model_patcher", "model_management", "ldm.models.autoencoder")
    )
    c = checkpoint.vae_config
    sizes = dict(z_channels=c.z_channels, ch=c.ch, ch_mult=list(c.ch_mult), num_res_blocks=c.num_res_blocks)
    sizes |= dict(double_z=True, in_channels=3, out_ch=3, resolution=256, attn_resolutions=[], dropout=0.0)
    time, parts = dict(video_kernel_size=[3, 1, 1], alpha=0.0), "comfy.ldm.modules."
    made = sd.VAE(sd={})
    made.first_stage_model = autoencoder.AutoencodingEngine(
        regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
        encoder_config={"target": parts + "diffusionmodules.model.Encoder", "params": sizes},
        decoder_config={"target": parts + "temporal_ae.VideoDecoder", "params": sizes | time},
    ).eval()
    prefix = "first_stage_model."
    first = {k.removeprefix(prefix): v for k, v in checkpoint.vae.items() if k.startswith(prefix)}
    _fill(made.first_stage_model, first, c.norm_groups)
    made.device, made.vae_dtype, made.output_device = mm.vae_device(), torch.float32, torch.device("cpu")
    made.patcher = patcher.CoreModelPatcher(made.first_stage_model, made.device, mm.vae_offload_device())
    return made


def clip_vision(checkpoint: Checkpoint) -> Any:
    c = checkpoint.clip_config
    config = dict(hidden_size=c.width, num_hidden_layers=c.layers, num_attention_heads=c.heads)
    config |= dict(intermediate_size=c.mlp, patch_size=c.patch, image_size=c.image_size)
    config |= dict(projection_dim=c.projection, hidden_act="gelu", num_channels=3)
    made = importlib.import_module("comfy.clip_vision").ClipVisionModel(
        config | {"model_type": "clip_vision_model"}
    )
    missing, unexpected = made.load_sd(dict(checkpoint.clip))
    if missing or unexpected:
        raise ValueError(f"the host's image encoder lacks {missing} and knows nothing of {unexpected}")
    return made


def _fill(network: torch.nn.Module, tensors: Any, groups: int) -> None:
    network.load_state_dict(dict(tensors), strict=True)
    for module in network.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.num_groups = groups
