"""One way from a checkpoint to frames, stage by stage, in a process of its own, for scripts/report.py:
python -m benchmarks.stages WAY CHECKPOINT FOLDER, with COMFYUI_PATH and FOLDER/job.json.

The first way that ends well leaves its results in FOLDER. Later ones take each stage's input from there, so
that one stage's difference does not grow in the next, and say how far their results are from them.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from svd_core.checkpoint.read import read

from . import by_hand, measure
from .host import start

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "assets" / "sample.jpg"
WEIGHTS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
Results = dict[str, Tensor]


@dataclass(frozen=True)
class Job:
    """What every way does alike."""

    frames: int
    width: int
    height: int
    steps: int
    min_cfg: float = 1.0
    max_cfg: float = 2.5
    fps: int = 7
    motion_bucket_id: int = 127
    seed: int = 0


@dataclass
class Way:
    """What is written down of one way."""

    name: str
    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int | None] = field(default_factory=dict)  # bytes, of the device or of this process
    errors: dict[str, float] = field(default_factory=dict)  # beside the first way
    notes: list[str] = field(default_factory=list)
    dtype: str = ""
    failed: str = ""
    about: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time and peak memory of what runs inside."""
        self.at = name
        _settle(forget=True)
        start = time.perf_counter()
        yield
        _settle()
        self.seconds[name] = time.perf_counter() - start
        self.peaks[name] = _peak()


def _settle(forget: bool = False) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        if forget:
            torch.cuda.reset_peak_memory_stats()
    elif forget:
        with suppress(OSError):  # only Linux has one to forget
            measure.forget_peak()


def _peak() -> int | None:
    """Peak bytes since it was forgotten, weights included; None where the system does not tell."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        return measure.resident("VmHWM:")
    except OSError:
        return None


def photo(job: Job) -> Tensor:
    """IMAGE 1 H W 3 of the sample photo, already of the video's size."""
    with Image.open(SAMPLE) as file:
        picture = file.convert("RGB").resize((job.width, job.height), Image.Resampling.BICUBIC)
    x = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return x.view(1, job.height, job.width, 3).float() / 255


def relative_error(a: Tensor, b: Tensor) -> float:
    a, b = a.double().cpu(), b.double().cpu()
    return ((a - b).norm() / b.norm()).item()


# Through the host's nodes


def native(run: Callable, checkpoint: Path, job: Job, way: Way, first: Results) -> Results:
    """The host's own loader, nodes and classes; its classes by hand where it does not know the width."""
    with way.stage("load"):
        try:
            trio = run("ImageOnlyCheckpointLoader", ckpt_name=checkpoint.name)
        except Exception as error:
            way.notes.append(f"its loader does not take this file; its classes were filled ({line(error)})")
            trio = by_hand.trio(read(checkpoint))
    model, clip_vision, vae = trio
    way.dtype = str(model.model.get_dtype_inference()).removeprefix("torch.")
    size = dict(width=job.width, height=job.height, motion_bucket_id=job.motion_bucket_id, fps=job.fps)
    given = dict(clip_vision=clip_vision, init_image=photo(job), vae=vae, video_frames=job.frames, **size)
    with way.stage("describe the photo"):
        described = run("SVD_img2vid_Conditioning", augmentation_level=0.0, **given)

    def sample(positive: Any, negative: Any, latent: Any, steps: int) -> Tensor:
        (scaled,) = run("VideoLinearCFGGuidance", model=model, min_cfg=job.min_cfg)
        how = dict(cfg=job.max_cfg, sampler_name="euler", scheduler="karras", denoise=1.0)
        about = dict(positive=positive, negative=negative, latent_image=latent)
        (out,) = run("KSampler", model=scaled, seed=job.seed, steps=steps, **how, **about)
        return out["samples"]

    return _finish(described, sample, lambda z: run("VAEDecode", vae=vae, samples=z)[0], job, way, first)


def ours(run: Callable, checkpoint: Path, job: Job, way: Way, first: Results) -> Results:
    """Our nodes, in the number format of the way before."""
    with way.stage("load"):
        weights = WEIGHTS.get(way.dtype, "default")
        model, clip_vision, vae = run(
            "PureSVDLoadCheckpoint", ckpt_name=checkpoint.name, weight_dtype=weights
        )
    way.dtype = str(model.model.get_dtype_inference()).removeprefix("torch.")
    size = dict(width=job.width, height=job.height, motion_bucket_id=job.motion_bucket_id, fps=job.fps)
    how = dict(frames=job.frames, seed=job.seed, fit="crop", compatibility="native", augmentation_level=0.0)
    given = dict(clip_vision=clip_vision, vae=vae, image=photo(job), **size, **how)
    with way.stage("describe the photo"):
        described = [items[0] for items in run("PureSVDImageToVideo", **given)[:3]]

    def sample(positive: Any, negative: Any, latent: Any, steps: int) -> Tensor:
        scale = dict(min_cfg=job.min_cfg, max_cfg=job.max_cfg, curve="linear")
        about = dict(model=model, positive=positive, negative=negative, latent=latent, seed=job.seed)
        out = run("PureSVDSample", steps=steps, schedule="karras", sampler="euler", **scale, **about)
        return out[0]["samples"]

    def decode(z: Any) -> Tensor:
        return run("PureSVDDecode", vae=vae, samples=z, memory=0.0)[0]

    return _finish(described, sample, decode, job, way, first)


def _finish(
    described: Any, sample: Callable, decode: Callable, job: Job, way: Way, first: Results
) -> Results:
    positive, negative, latent = described
    text, extra = positive[0]
    found = {"image embedding": text, "photo latent": extra["concat_latent_image"]}
    if first:
        extra = {**extra, "concat_latent_image": first["photo latent"].to(extra["concat_latent_image"])}
        positive = [[first["image embedding"].to(text), extra]]
    if torch.cuda.is_available():
        sample(positive, negative, latent, 1)  # kernels are chosen
    with way.stage("sample"):
        found["latent"] = sample(positive, negative, latent, job.steps)
    with way.stage("decode"):
        found["frames"] = decode({"samples": first.get("latent", found["latent"])})
    return found


def line(error: BaseException) -> str:
    """The first line of what it says, for a page."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


# One process


def walk(steps: Callable[..., Results], way: Way, folder: Path, **given: Any) -> Way:
    """Run a way and compare, or leave its results for the next; a failure is a result, too."""
    saved = folder / "first.safetensors"
    first = load_file(saved) if saved.exists() else {}
    try:
        with torch.inference_mode():
            found = steps(way=way, first=first, **given)
    except Exception as error:
        way.failed = f"{getattr(way, 'at', 'start')}: {line(error)}"
        return way
    way.errors = {name: relative_error(x, first[name]) for name, x in found.items() if name in first}
    if not first:
        save_file({name: x.detach().float().cpu().contiguous() for name, x in found.items()}, saved)
    return way


def main() -> None:
    name, checkpoint, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    given = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    way = Way(name, dtype=given.pop("dtype", ""))
    job = Job(**given)
    if name == "diffusers":
        steps = importlib.import_module("benchmarks.stages_diffusers").steps
        walk(steps, way, folder, checkpoint=checkpoint, job=job)
    else:
        run = start(Path(os.environ["COMFYUI_PATH"]), str(folder / "base"), checkpoint.parent)
        walk({"native": native, "PureSVD": ours}[name], way, folder, run=run, checkpoint=checkpoint, job=job)
    written = json.dumps({key: value for key, value in vars(way).items() if key != "at"})
    (folder / f"{name}.json").write_text(written.replace(str(checkpoint.parent), "…"), encoding="utf-8")


if __name__ == "__main__":
    with torch.inference_mode(False):
        main()
