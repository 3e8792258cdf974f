"""The manifest: what it names, what it hashes and when, and where it is written."""

import hashlib
import json
import os

import pytest
import torch

from svd_core.training.nano import CAMERAS

CLIP = torch.linspace(0, 1, 2 * 4 * 6 * 3).reshape(2, 4, 6, 3)


@pytest.fixture(scope="module")
def manifest(host):
    return host.pack("nodes.manifest")


@pytest.fixture
def write(host, manifest):
    """write(prompt, node id, images) -> outputs of the node and the manifest that it wrote"""

    def run(prompt, node_id="end", images=CLIP, prefix="clip", model=None):
        import comfy_api.latest

        hidden = comfy_api.latest.io.Hidden
        held = {"hidden_inputs": {hidden.prompt: prompt, hidden.unique_id: node_id}}
        node = manifest.PureSVDManifest.PREPARE_CLASS_CLONE(held)
        out = node.execute(images=images, filename_prefix=prefix, model=model)
        (file,) = out.ui["files"]
        path = host.base / "output" / file["subfolder"] / file["filename"]
        return out, json.loads(path.read_text(encoding="utf-8"))

    return run


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_only_what_leads_to_the_node_is_written_down(write):
    prompt = {
        "a": node("LoadImage", image="none.png"),
        "b": node("Unrelated", seed=3),
        "end": node("PureSVDManifest", images=["a", 0], points=[[1, 2], [3, 4]], names=["x", 1]),
        "later": node("SaveVideo", video=["end", 0], noise_seed=4),
    }
    _, found = write(prompt)
    assert list(found["graph"]) == ["a", "end"]
    assert found["graph"]["a"] == {"class_type": "LoadImage", "inputs": {"image": "none.png"}}
    assert found["seeds"] == {}


def test_clip_is_passed_on_and_the_text_is_the_files(write):
    out, found = write({})
    assert out.args[0] is CLIP
    assert json.loads(out.args[1]) == found
    assert found["frames"] == {
        "shape": [2, 4, 6, 3],
        "sha256": hashlib.sha256(CLIP.numpy().tobytes()).hexdigest(),
    }


def test_frames_are_hashed_by_their_values_alone(write):
    wide = torch.zeros(2, 4, 6, 6)[..., :3].copy_(CLIP)
    assert write({}, images=wide)[1]["frames"] == write({})[1]["frames"]
    assert write({}, images=CLIP.double())[1]["frames"] == write({})[1]["frames"]
    assert write({}, images=CLIP.flip(0))[1]["frames"] != write({})[1]["frames"]


def test_every_kind_of_weights_and_input_is_hashed(host, make, write):
    whole, folder = make("hashed.safetensors"), make("hashed", kind="diffusers")
    models = host.base / "models"
    (host.base / "input" / "hashed.png").write_bytes(b"photo")
    prompt = {
        "load": node("PureSVDLoadCheckpoint", ckpt_name=whole, weight_dtype="fp32"),
        "parts": node(
            "PureSVDLoadParts",
            unet_name=f"checkpoints/{whole}",
            vae_name="gone.safetensors",
            link=["load", 0],
        ),
        "folder": node("PureSVDLoadCheckpoint", ckpt_name=folder, link=["parts", 0]),
        "photo": node("LoadImage", image="hashed.png", link=["folder", 0]),
        "end": node("PureSVDManifest", images=["photo", 0], seed=7),
    }
    _, found = write(prompt)
    files = [path for path in (models / folder).rglob("*") if path.suffix in (".safetensors", ".json")]
    wanted = {
        f"diffusers/hashed/{path.relative_to(models / folder).as_posix()}": sha256(path) for path in files
    }
    assert found["weights"] == wanted | {f"checkpoints/{whole}": sha256(models / "checkpoints" / whole)}
    assert found["inputs"] == {"hashed.png": hashlib.sha256(b"photo").hexdigest()}
    assert found["seeds"] == {"end.seed": 7}


def test_weights_that_are_not_in_the_hosts_lists_are_hashed_too(host, write):
    files = host.pack("nodes.files")
    statistics = host.base / "models" / files.STATISTICS / "mean.safetensors"
    statistics.parent.mkdir(exist_ok=True)
    statistics.write_bytes(b"mean")
    loras = files.embedded_loras()
    prompt = {name: node("PureSVDLoadLora", lora_name=name, model=["load", 0]) for name in loras} | {
        "load": node("PureSVDLoadCheckpoint", ckpt_name=files.EMBEDDED),
        "moved": node("PureSVDMotion", statistics_name="mean.safetensors"),
    }
    _, found = write(prompt)
    statistics.unlink()
    assert len(loras) == len(CAMERAS)
    assert found["weights"] == {name: sha256(path) for name, path in loras.items()} | {
        files.EMBEDDED: sha256(files.EMBEDDED_FILE),
        f"{files.STATISTICS}/mean.safetensors": hashlib.sha256(b"mean").hexdigest(),
    }


def test_file_is_read_again_only_when_its_size_or_time_changes(host, manifest, make):
    path = host.base / "models" / "checkpoints" / make("once.safetensors")
    first = manifest.hashes({"x": path})
    reads = manifest.file_hash.cache_info().misses
    assert manifest.hashes({"x": path}) == first
    assert manifest.file_hash.cache_info().misses == reads
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    os.utime(path, (1, 1))
    assert manifest.hashes({"x": path}) != first


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", "..", "", "a\0b", "x" * 9999])
def test_files_outside_the_folders_are_not_looked_at(host, manifest, name):
    (host.base / "secret.txt").write_text("secret")
    assert manifest.input_files(name) == {}
    assert manifest.weight_files(name) == {}


def test_seed_that_is_wired_in_is_written_down(write):
    prompt = {
        "number": node("PrimitiveInt", value=7, control_after_generate="fixed"),
        "sum": node("Sum", a=["number", 0], b=3, rounding=True),
        "plain": node("PureSVDSample", seed=0),
        "one": node("PureSVDSample", seed=["number", 0], link=["plain", 0]),
        "computed": node("RandomNoise", noise_seed=["sum", 0], link=["one", 0]),
        "nowhere": node("RandomNoise", noise_seed=["absent", 0], link=["computed", 0]),
        "end": node("PureSVDManifest", images=["nowhere", 0]),
    }
    assert write(prompt)[1]["seeds"] == {
        "plain.seed": 0,
        "one.seed": 7,
        "number.value": 7,
        "number.control_after_generate": "fixed",
        "sum.b": 3,
        "sum.rounding": True,
    }
    prompt["sum"]["inputs"]["a"] = ["sum", 0]  # a ring, which the host refuses, must not hang
    assert write(prompt)[1]["seeds"]["sum.b"] == 3


def test_size_of_the_frames_may_be_part_of_the_name(host, write):
    write({}, prefix="sized/%width%x%height%")
    assert [path.name for path in (host.base / "output" / "sized").iterdir()] == ["6x4_00001_.json"]


@pytest.mark.parametrize("prefix", ["../outside", "/outside", "", ".", "a/../../outside", "a\0b", "x" * 300])
def test_places_outside_the_output_folder_are_refused(host, write, prefix):
    with pytest.raises(ValueError, match="filename_prefix .* use "):
        write({}, prefix=prefix)
    assert not (host.base / "outside_00001_.json").exists()


def test_number_format_is_that_of_the_wired_model(write, ours):
    found = write({}, model=ours.model)[1]["machine"]
    assert found["U-Net weights"] == found["U-Net arithmetic"] == "float32"
    assert found["threads"] == torch.get_num_threads()


def test_cancel_stops_the_hashing_of_a_big_file(host, manifest, tmp_path):
    import comfy.model_management as mm

    path = tmp_path / "big"
    path.write_bytes(bytes(2 * manifest.BLOCK))
    mm.interrupt_current_processing(True)
    with pytest.raises(mm.InterruptProcessingException):
        manifest.hashes({"big": path})
    assert manifest.hashes({"big": path})["big"] == sha256(path), "half a hash must not be remembered"
