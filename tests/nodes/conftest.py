"""Reduced-width models in the real host: ours from a checkpoint file,
and the host's own classes on the same tensors.
"""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

MAKER = Path(__file__).resolve().parents[1] / "make_checkpoint.py"


@dataclass(frozen=True)
class Trio:
    """MODEL, CLIP_VISION and VAE of one checkpoint."""

    model: Any
    clip_vision: Any
    vae: Any


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():  # as the host runs nodes
        yield


@pytest.fixture(scope="session")
def make(host):
    """make(name, **options) -> the name under which the loader lists a new reduced-width checkpoint."""
    spec = importlib.util.spec_from_file_location("make_checkpoint", MAKER)
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)

    def write(name, **options):
        folder = "diffusers" if options.get("kind", "").startswith("diffusers") else "checkpoints"
        path = host.base / "models" / folder / name
        if not path.exists():
            maker.write_checkpoint(path, **{"dtype": torch.float32, **options})
        return name if folder == "checkpoints" else f"diffusers/{name}"

    return write


@pytest.fixture(scope="session")
def load(host, make):
    """load(name, **options) -> Trio of our loader."""

    def run(name, weight_dtype="fp32", **options):
        return Trio(
            *host.run("PureSVDLoadCheckpoint", ckpt_name=make(name, **options), weight_dtype=weight_dtype)
        )

    return run


@pytest.fixture(scope="session")
def ours(load):
    return load("tiny.safetensors")


@pytest.fixture(scope="session")
def native(host, ours, tmp_path_factory):
    """The host's own classes, built directly because its detection knows only the full width."""
    return Trio(
        native_model(host, ours.model), native_clip(ours.clip_vision, tmp_path_factory), native_vae(ours.vae)
    )


def native_model(host, patcher):
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    network = patcher.model.diffusion_model
    config = comfy.supported_models.SVD_img2vid(host.pack("nodes.host.model").unet_keys(network.config))
    config.unet_config["num_head_channels"] = network.config.head_dim
    config.set_inference_dtype(torch.float32, None)
    model = comfy.model_base.SVD_img2vid(config, device=torch.device("cpu"))
    model.diffusion_model.load_state_dict(network.state_dict(), strict=True)
    return comfy.model_patcher.CoreModelPatcher(model, patcher.load_device, patcher.offload_device)


def native_clip(clip_vision, tmp_path_factory):
    import comfy.clip_vision

    config = clip_vision.model.config
    path = tmp_path_factory.mktemp("clip") / "config.json"  # older hosts take no dictionary
    path.write_text(
        json.dumps(
            {
                "hidden_size": config.width,
                "num_hidden_layers": config.layers,
                "num_attention_heads": config.heads,
                "intermediate_size": config.mlp,
                "patch_size": config.patch,
                "image_size": config.image_size,
                "projection_dim": config.projection,
                "hidden_act": "gelu",
                "num_channels": 3,
                "model_type": "clip_vision_model",
            }
        )
    )
    tower = comfy.clip_vision.ClipVisionModel(str(path))
    missing, unexpected = tower.load_sd(clip_vision.get_sd())
    assert not missing
    assert not unexpected
    return tower


def native_vae(vae):
    import comfy.model_patcher
    import comfy.sd
    from comfy.ldm.models.autoencoder import AutoencodingEngine

    config = vae.first_stage_model.config
    encoder = {
        "double_z": True,
        "z_channels": 4,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": config.ch,
        "ch_mult": list(config.ch_mult),
        "num_res_blocks": config.num_res_blocks,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    decoder = {**encoder, "video_kernel_size": [3, 1, 1], "alpha": 0.0}
    made = comfy.sd.VAE(sd={})
    made.first_stage_model = AutoencodingEngine(
        regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
        encoder_config={"target": "comfy.ldm.modules.diffusionmodules.model.Encoder", "params": encoder},
        decoder_config={"target": "comfy.ldm.modules.temporal_ae.VideoDecoder", "params": decoder},
    ).eval()
    state = vae.first_stage_model.state_dict()
    first = {
        k.removeprefix("first_stage_model."): v
        for k, v in state.items()
        if k.startswith("first_stage_model.")
    }
    made.first_stage_model.load_state_dict(first, strict=True)
    made.device, made.vae_dtype, made.output_device = vae.device, vae.vae_dtype, vae.output_device
    made.patcher = comfy.model_patcher.CoreModelPatcher(
        made.first_stage_model, vae.device, vae.patcher.offload_device
    )
    return made


@pytest.fixture(scope="session")
def photo():
    """IMAGE 1 72 96 3: smooth, so that resizing filters agree, with some detail."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 72), torch.linspace(0, 1, 96), indexing="ij")
    return torch.stack([x, y, (6 * x * y).sin() / 2 + 0.5], dim=-1)[None]


@pytest.fixture(scope="session")
def describe(host):
    """describe(trio, image, **changes) -> positive, negative, latent lists of our conditioning node."""

    def run(trio, image, **changes):
        given = {
            "width": 64,
            "height": 64,
            "frames": 4,
            "motion_bucket_id": 127,
            "fps": 7,
            "augmentation_level": 0.02,
            "seed": 1,
            "fit": "crop",
            "compatibility": "reference",
        }
        return host.run(
            "PureSVDImageToVideo",
            clip_vision=trio.clip_vision,
            vae=trio.vae,
            image=image,
            **{**given, **changes},
        )[:3]

    return run


@pytest.fixture(scope="session")
def video(host, describe):
    """video(trio, image, **changes) -> latent samples of our simple workflow, 3 steps."""

    def run(trio, image, model=None, conditioning=None, **changes):
        positive, negative, latent = conditioning or [item[0] for item in describe(trio, image)]
        given = {
            "seed": 3,
            "steps": 3,
            "min_cfg": 1.0,
            "max_cfg": 2.5,
            "curve": "linear",
            "schedule": "karras",
            "sampler": "euler",
        }
        (out,) = host.run(
            "PureSVDSample",
            model=model or trio.model,
            positive=positive,
            negative=negative,
            latent=latent,
            **{**given, **changes},
        )
        return out["samples"]

    return run


@pytest.fixture(scope="session")
def error():
    """error(a, b) -> relative error of a against b."""
    return lambda a, b: float((a - b).norm() / b.norm())
