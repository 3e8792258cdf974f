"""Diffusers folders: variants, shards, links, and what is wrong with them."""

import json
import shutil
import time

import pytest

from svd_core.checkpoint.load import load
from svd_core.checkpoint.read import read
from tests.make_checkpoint import write_checkpoint


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("made") / "sharded", kind="diffusers_sharded")


@pytest.fixture
def folder(sharded, tmp_path):
    return shutil.copytree(sharded, tmp_path / "folder")


def folder_refusal(folder):
    start = time.process_time()
    with pytest.raises(ValueError) as caught:  # noqa: PT011, the sentence is checked by the caller
        read(folder)
    assert time.process_time() - start < 2
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_half_of_the_shards_is_named(folder):
    next((folder / "unet").glob("*-00002-*")).unlink()
    assert "1 of 2 shards, diffusion_pytorch_model-00002-of-00002.safetensors is missing" in folder_refusal(
        folder
    )


@pytest.mark.parametrize(
    "name",
    [
        "../vae/x.safetensors",
        "/etc/x.safetensors",
        "sub/x.safetensors",
        "..\\x.safetensors",
        "C:x.safetensors",
        "..safetensors",
        "config.json",
        "a\0.safetensors",
    ],
)
def test_shard_outside_the_folder_is_refused(name, folder):
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": dict.fromkeys(places, name)}))
    assert "a shard must lie in the same folder" in folder_refusal(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"weight_map": 3}', '{"weight_map": {"a": 3}}'])
def test_damaged_index_is_refused(content, folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(content)
    folder_refusal(folder)


def test_tensor_absent_from_its_shard_is_named(folder):
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": {**places, "conv_in.other": next(iter(places.values()))}}))
    assert "lacks conv_in.other" in folder_refusal(folder)


def test_shards_and_folders_may_be_links(folder, tmp_path):
    for path in [*(folder / "unet").glob("*.safetensors"), folder / "vae"]:
        target = tmp_path / f"blob-{path.name}"
        path.rename(target)
        path.symlink_to(target)
    assert read(folder).kind == "diffusers folder"


def test_other_folders_are_refused(folder):
    (folder / "unet").rename(folder / "elsewhere")
    with pytest.raises(ValueError, match="missing: U-Net"):
        load(read(folder))
    (folder / "elsewhere").rename(folder / "unet")
    for file in (folder / "unet").glob("diffusion*"):
        file.unlink()
    assert "holds no .safetensors weights" in folder_refusal(folder)
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"")
    assert "as a pickle" in folder_refusal(folder)
    (folder / "unet" / "diffusion_pytorch_model.non_ema.safetensors").write_bytes(b"")
    assert "only the variant non_ema" in folder_refusal(folder)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    assert "is a StableDiffusionXLPipeline folder" in folder_refusal(folder)


def test_swapped_components_are_refused(folder):
    (folder / "unet").rename(folder / "x")
    (folder / "vae").rename(folder / "unet")
    (folder / "x").rename(folder / "vae")
    assert "holds VAE weights, not the U-Net's" in folder_refusal(folder)


def test_heads_that_differ_in_size_are_refused(folder):
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_attention_heads": [2, 3]}))
    assert "every head must have the same size" in folder_refusal(folder)
