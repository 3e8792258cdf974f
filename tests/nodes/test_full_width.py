"""The full 2.3-billion-parameter architecture with random half-precision weights:
our graph against the native one.
"""

import gc
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.slow  # writes 4.8 GB and runs 1.5 billion parameters in float32, needs 24 GiB

SIZE = dict(width=64, height=64, motion_bucket_id=127, fps=7, augmentation_level=0.0)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def checkpoint(host, make):
    configs = host.pack("svd_core.models.configs")
    name = make(
        "full.safetensors",
        dtype=torch.float16,
        preset=None,
        unet=configs.UNetConfig(320, (1, 2, 4, 4), 2, (True, True, True, False), 1024, 768),
        vae=configs.VAEConfig(128, (1, 2, 4, 4), 2, 4, True, True, True, False, False),
        clip=configs.CLIPConfig(width=1280, layers=32, mlp=5120, patch=14, projection=1024),
    )
    yield name
    (host.base / "models" / "checkpoints" / name).unlink()


def native_video(host, checkpoint, photo):
    model, clip_vision, vae = host.run("ImageOnlyCheckpointLoader", ckpt_name=checkpoint)
    positive, negative, latent = host.run(
        "SVD_img2vid_Conditioning", clip_vision=clip_vision, init_image=photo, vae=vae, video_frames=3, **SIZE
    )
    (model,) = host.run("VideoLinearCFGGuidance", model=model, min_cfg=1.0)
    (samples,) = host.run(
        "KSampler",
        model=model,
        positive=positive,
        negative=negative,
        latent_image=latent,
        seed=3,
        steps=2,
        cfg=2.5,
        sampler_name="euler",
        scheduler="karras",
        denoise=1.0,
    )
    return samples["samples"], host.run("VAEDecode", vae=vae, samples=samples)[0]


def our_video(host, checkpoint, photo):
    model, clip_vision, vae = host.run("PureSVDLoadCheckpoint", ckpt_name=checkpoint, weight_dtype="fp32")
    given = dict(image=photo, frames=3, seed=0, fit="crop", compatibility="native", **SIZE)
    described = host.run("PureSVDImageToVideo", clip_vision=clip_vision, vae=vae, **given)
    positive, negative, latent = (items[0] for items in described[:3])
    (samples,) = host.run(
        "PureSVDSample",
        model=model,
        positive=positive,
        negative=negative,
        latent=latent,
        seed=3,
        steps=2,
        min_cfg=1.0,
        max_cfg=2.5,
        curve="linear",
        schedule="karras",
        sampler="euler",
    )
    return samples["samples"], host.run("PureSVDDecode", vae=vae, samples=samples, memory=0.0)[0]


def free():
    import comfy.model_management as mm

    mm.unload_all_models()
    gc.collect()


def test_our_nodes_give_the_native_graphs_result(host, checkpoint, photo, error, record_property):
    wanted = native_video(host, checkpoint, photo)
    free()
    found = our_video(host, checkpoint, photo)
    free()
    latent, frames = (error(a, b) for a, b in zip(found, wanted))
    record_property("relative error, latent and frames", (latent, frames))
    assert latent < 1e-4
    assert frames < 1e-4


def test_a_lora_trains_at_full_width(host, checkpoint, tmp_path, record_property):
    """Two steps on two frames of 64 pixels, by the command itself: of each of the 16 temporal blocks four
    matrices of self-attention and two of cross-attention, whose queries and keys do nothing for one token.
    """
    free()
    clip, out = tmp_path / "clips" / "one", tmp_path / "mine.safetensors"
    clip.mkdir(parents=True)
    for i in range(2):
        picture = Image.linear_gradient("L").resize((96, 64)).crop((8 * i, 0, 64 + 8 * i, 64))
        picture.convert("RGB").save(clip / f"{i}.png")
    command = ["lora", "--model", str(host.base / "models" / "checkpoints" / checkpoint), "--clips"]
    command += [str(clip.parent), "--out", str(out), "--steps", "2", "--batch", "1", "--save-memory"]
    command += ["--frames", "2", "--width", "64", "--height", "64"]
    done = subprocess.run(
        [sys.executable, "-m", "svd_core.training", *command], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    record_property("said", done.stderr)
    assert f"{out} holds 96 layers" in done.stderr


def test_loading_as_stored_needs_little_more_than_the_file(host, checkpoint, monkeypatch, record_property):
    spec = importlib.util.spec_from_file_location("load_benchmark", ROOT / "benchmarks" / "load.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    monkeypatch.setenv("COMFYUI_PATH", str(host.path))
    file = host.base / "models" / "checkpoints" / checkpoint
    found = benchmark.compare(file)
    record_property("bytes and seconds", found)
    assert found["PureSVD, as stored"][0] <= 1.15 * file.stat().st_size
