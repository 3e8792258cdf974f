"""Writing: safetensors files one tensor at a time, and the diffusers folder of a checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint import Checkpoint, require_whole
from .convert import unet_to_diffusers, vae_to_diffusers
from .header import BITS
from .presets import METADATA
from .whole import replace_file

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.uint8: "U8",
}


def write_safetensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a file in the memory of one tensor; it appears under its name only when it is whole."""
    replace_file(path, lambda partial: _fill(partial, tensors, metadata))


def _fill(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> None:
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    ordered = sorted(
        tensors, key=lambda name: -BITS[_DTYPES[tensors[name].dtype]]
    )  # keeps every tensor aligned
    at = 0
    for name in ordered:
        tensor = tensors[name]
        size = tensor.numel() * tensor.element_size()
        dtype = _DTYPES[tensor.dtype]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in ordered:
            flat = tensors[name].detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data if flat.numel() else b"")


def to_diffusers_folder(checkpoint: Checkpoint, folder: str | os.PathLike[str]) -> Path:
    """Write what diffusers' StableVideoDiffusionPipeline.from_pretrained reads;
    the folder must be new or empty.
    """
    require_whole(checkpoint)
    if checkpoint.family != "svd":
        raise ValueError(
            f"diffusers has no pipeline for {checkpoint.family}; only SVD checkpoints become a folder"
        )
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{target} is not empty; choose a new folder")
    components = {
        "unet": (_unet_config(checkpoint), unet_to_diffusers(checkpoint.unet or {})[0]),
        "vae": (_vae_config(checkpoint), _vae_tensors(checkpoint)),
        "image_encoder": (_clip_config(checkpoint), dict(checkpoint.clip or {})),
    }
    for name, (config, tensors) in components.items():
        (target / name).mkdir(parents=True)
        _write_json(target / name / "config.json", config)
        stem = "model" if name == "image_encoder" else "diffusion_pytorch_model"
        entry = {"format": "pt", METADATA: checkpoint.hints_json()}
        write_safetensors(target / name / f"{stem}.safetensors", tensors, entry)
    size = checkpoint.clip_config.image_size if checkpoint.clip_config else 224
    for name, file, content in (
        ("scheduler", "scheduler_config.json", _SCHEDULER),
        ("feature_extractor", "preprocessor_config.json", _preprocessor(size)),
    ):
        (target / name).mkdir()
        _write_json(target / name / file, content)
    _write_json(target / "model_index.json", _index(components["vae"][0]["_class_name"]))
    return target


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _index(vae: str) -> dict[str, Any]:
    return {
        "_class_name": "StableVideoDiffusionPipeline",
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "unet": ["diffusers", "UNetSpatioTemporalConditionModel"],
        "vae": ["diffusers", vae],
    }


def _unet_config(checkpoint: Checkpoint) -> dict[str, Any]:
    config = checkpoint.unet_config
    assert config
    if config.norm_groups != 32:
        raise ValueError(f"the U-Net has {config.norm_groups} norm groups; diffusers can only have 32")
    widths = [config.model_channels * m for m in config.channel_mult]
    down = [("CrossAttn" if on else "") + "DownBlockSpatioTemporal" for on in config.attention_levels]
    up = [("CrossAttn" if on else "") + "UpBlockSpatioTemporal" for on in reversed(config.attention_levels)]
    return {
        "_class_name": "UNetSpatioTemporalConditionModel",
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "block_out_channels": widths,
        "down_block_types": down,
        "up_block_types": up,
        "num_attention_heads": [width // config.head_dim for width in widths],
        "cross_attention_dim": config.context_dim,
        "layers_per_block": config.num_res_blocks,
        "transformer_layers_per_block": 1,
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": config.adm_in_channels,
        "num_frames": checkpoint.preset.frames,
        "sample_size": 96,
    }


def _vae_config(checkpoint: Checkpoint) -> dict[str, Any]:
    config = checkpoint.vae_config
    assert config
    common = {
        "block_out_channels": [config.ch * m for m in config.ch_mult],
        "down_block_types": ["DownEncoderBlock2D"] * len(config.ch_mult),
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": config.z_channels,
        "layers_per_block": config.num_res_blocks,
        "scaling_factor": 0.18215,
        "sample_size": 768,
        "force_upcast": True,
    }
    if config.temporal:
        if (config.norm_groups, config.num_res_blocks) != (
            32,
            2,
        ):  # it counts the middle's blocks like a level's
            found = f"{config.norm_groups} norm groups and {config.num_res_blocks} blocks a level"
            raise ValueError(f"the VAE has {found}; diffusers' temporal decoder can only have 32 and 2")
        return {"_class_name": "AutoencoderKLTemporalDecoder", **common}
    up = ["UpDecoderBlock2D"] * len(config.ch_mult)
    return {
        "_class_name": "AutoencoderKL",
        **common,
        "up_block_types": up,
        "norm_num_groups": config.norm_groups,
    }


def _vae_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The reference's encoder and the decoder; convolutions that were folded away come back as identities."""
    tensors, config = checkpoint.vae or {}, checkpoint.vae_config
    assert config
    encoder = "embedder." if config.embedder else "first_stage_model."
    starts = (
        f"{encoder}encoder.",
        f"{encoder}quant_conv.",
        "first_stage_model.decoder.",
        "first_stage_model.post_",
    )
    single = {name.partition(".")[2]: tensor for name, tensor in tensors.items() if name.startswith(starts)}
    like = single["encoder.conv_out.weight"]
    wanted = [("quant_conv", 2 * config.z_channels)]
    wanted += [] if config.temporal else [("post_quant_conv", config.z_channels)]
    for name, channels in wanted:
        if f"{name}.weight" not in single:
            single[f"{name}.weight"] = torch.eye(channels, dtype=like.dtype)[:, :, None, None]
            single[f"{name}.bias"] = torch.zeros(channels, dtype=like.dtype)
    return vae_to_diffusers(single)[0]


def _clip_config(checkpoint: Checkpoint) -> dict[str, Any]:
    config = checkpoint.clip_config
    assert config
    return {
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
        "hidden_size": config.width,
        "intermediate_size": config.mlp,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "patch_size": config.patch,
        "image_size": config.image_size,
        "projection_dim": config.projection,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
    }


_SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "sigma_min": 0.002,
    "sigma_max": 700.0,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
}


def _preprocessor(size: int) -> dict[str, Any]:
    return {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_processor_type": "CLIPImageProcessor",
        "crop_size": {"height": size, "width": size},
        "size": {"shortest_edge": size},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "rescale_factor": 1 / 255,
    }
