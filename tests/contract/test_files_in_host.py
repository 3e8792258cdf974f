"""Promises about files that only a whole run shows: damaged weights at first use, and bounded memory."""

import tracemalloc

import pytest
import torch

from svd_core.checkpoint.header import MAX_HEADER, open_tensors
from svd_core.checkpoint.read import read
from svd_core.checkpoint.write import write_safetensors
from tests.make_checkpoint import write_checkpoint
from tests.svd_core.test_files import BROKEN

UNET, VAE = "model.diffusion_model.", "first_stage_model."
DAMAGED = {
    "U-Net": (UNET + "middle_block.0.in_layers.2.weight", "middle_block.0.in_layers.2.weight"),
    "decoder": (VAE + "decoder.conv_in.weight", "decoder.conv_in.weight"),
    "encoder": ("conditioner.embedders.3.encoder.encoder.conv_in.bias", "encoder.conv_in.bias"),
    "image encoder": (
        "conditioner.embedders.0.open_clip.model.visual.ln_post.weight",
        "post_layernorm.weight",
    ),
}


def video(host, name):
    model, clip_vision, vae = host.run("PureSVDLoadCheckpoint", ckpt_name=name, weight_dtype="fp32")
    size = {"width": 32, "height": 32, "frames": 2, "fit": "crop", "compatibility": "reference"}
    motion = {"motion_bucket_id": 127, "fps": 7, "augmentation_level": 0.02, "seed": 0}
    positive, negative, latent, _ = host.run(
        "PureSVDImageToVideo",
        clip_vision=clip_vision,
        vae=vae,
        image=torch.rand(1, 32, 32, 3),
        **size,
        **motion,
    )
    guidance = {"min_cfg": 1.0, "max_cfg": 2.0, "curve": "linear"}
    (made,) = host.run(
        "PureSVDSample",
        model=model,
        positive=positive[0],
        negative=negative[0],
        latent=latent[0],
        seed=0,
        steps=1,
        schedule="karras",
        sampler="euler",
        **guidance,
    )
    return host.run("PureSVDDecode", vae=vae, samples=made, memory=0.0)[0]


@pytest.mark.parametrize("part", DAMAGED)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_damaged_weights_are_named_at_first_use(host, part, value):
    name, told = DAMAGED[part]
    folder = host.base / "models" / "checkpoints"
    tensors, metadata = open_tensors(write_checkpoint(folder / "whole.safetensors", dtype=torch.float32))
    broken = tensors[name].clone()
    broken.view(-1)[1] = value
    write_safetensors(folder / "damaged.safetensors", {**tensors, name: broken}, metadata)
    with (
        torch.inference_mode(),
        pytest.raises(ValueError, match=rf"damaged\.safetensors is damaged: .*{told}.*; download"),
    ):
        video(host, "damaged.safetensors")


def test_undamaged_weights_make_a_video(host):
    write_checkpoint(host.base / "models" / "checkpoints" / "whole.safetensors", dtype=torch.float32)
    with torch.inference_mode():
        assert torch.isfinite(video(host, "whole.safetensors")).all()


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_files_take_little_memory(fault, tmp_path):
    """A header is parsed whole: its objects take a few times its size, and never what it claims."""
    content, _ = BROKEN[fault]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="bad.safetensors"):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MAX_HEADER
