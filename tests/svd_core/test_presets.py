"""What tensors cannot tell: presets by name, folder and metadata, and wrong metadata."""

import json

import pytest
import torch

from svd_core.checkpoint.presets import PRESETS, to_tensor
from svd_core.checkpoint.read import read
from tests.make_checkpoint import UNET, Maker, write_checkpoint

TINY = Maker().single_file("svd")


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("svd.safetensors", "svd"),
        ("svd_xt.safetensors", "svd_xt"),
        ("svd_xt_image_decoder-fp16.safetensors", "svd_xt"),
        ("svd_xt_1_1.safetensors", "svd_xt_1_1"),
        ("SVD-XT-1.1.safetensors", "svd_xt_1_1"),
        ("my merge.safetensors", "svd"),
        ("AnimateLCM-SVD-xt.safetensors", "animatelcm_svd_xt"),
        ("sv3d_u.safetensors", "svd"),
    ],
)
def test_preset_comes_from_the_file_name(name, preset):
    hints = to_tensor(Maker().hints(preset=None))
    assert read(name, tensors=TINY | {"puresvd": hints}).preset == PRESETS[preset]


def test_preset_of_a_folder_comes_from_its_frames_and_name(tmp_path):
    folder = write_checkpoint(tmp_path / "stable-video-diffusion-img2vid-xt-1-1", kind="diffusers")
    config = json.loads((folder / "unet/config.json").read_text())
    (folder / "unet/config.json").write_text(json.dumps({**config, "num_frames": 25}))
    assert read(folder).preset == PRESETS["svd_xt_1_1"]
    assert read(folder.rename(tmp_path / "video")).preset.frames == 25


@pytest.mark.parametrize(
    "hints",
    [
        "no json",
        "[]",
        '{"head_dim": 0}',
        '{"head_dim": "16"}',
        '{"clip": 3}',
        '{"clip": {"heads": -1}}',
        '{"preset": {"frames": 0}}',
        '{"preset": {"frames": 4, "curve": "wild"}}',
        '{"preset": {"frame": 4}}',
        '{"preset": {"frames": 4, "augmentation_level": NaN}}',
        '{"latent_rgb_factors": [[1, 2]]}',
        "[" * 9999,
        '{"head_dim": 7}',
        '{"unet_norm_groups": 7}',
        '{"vae_norm_groups": 7}',
        '{"clip": {"heads": 7}}',
    ],
)
def test_wrong_metadata_is_a_sentence(hints):
    with pytest.raises(ValueError, match=r"^svd\.safetensors.*"):
        read("svd.safetensors", tensors=TINY | {"puresvd": to_tensor(hints)})


def test_hints_survive_a_cast_of_the_tensor_to_other_formats():
    hints = to_tensor(Maker().hints())
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.uint8):
        found = read("x.safetensors", tensors=TINY | {UNET + "puresvd": hints.to(dtype)})
        assert found.unet_config.head_dim == 16
