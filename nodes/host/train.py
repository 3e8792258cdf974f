"""Training in the host's process: weights loaded anew outside inference mode, progress, curve and cancel."""

from __future__ import annotations

import hashlib
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths
import torch
from PIL.Image import Image
from torch import Tensor

from ...svd_core.checkpoint.load import load
from ...svd_core.checkpoint.presets import Preset
from ...svd_core.checkpoint.read import read
from ...svd_core.training import pictures, tune
from ...svd_core.training.loop import Training
from .say import show

FOLDER = "puresvd_training"  # in the host's output folder: what a stopped run goes on from
stopped = 0  # runs that were cancelled: they may go on, so the host must not take their results for final


def train(
    path: str,
    clips: list[Tensor],
    plan: tune.Plan,
    *,
    size: tuple[int, int],
    fps: float,
    bucket: float | None,
) -> tuple[dict[str, Tensor], Image, list[str]]:
    """LoRA, curve and report, from a checkpoint file and clips t 3 H W in [0, 1]; `size` is height, width.

    The host runs nodes in inference mode, whose tensors know no gradients.
    """
    comfy.model_management.unload_all_models()
    device = comfy.model_management.get_torch_device()
    told: list[str] = []
    with torch.inference_mode(False), torch.enable_grad():
        svd = load(read(path), dtype=_dtype(device), device=device)
        taken = []
        for clip in clips:
            comfy.model_management.throw_exception_if_processing_interrupted()
            x = clip.clone().to(device)  # an inference tensor no longer
            taken.append(tune.take(svd, x, fps=fps, bucket=bucket, height=size[0], width=size[1]))
        if unknown := tune.warning(svd, bucket):
            told.append(unknown)
        place = state_file(path, clips, plan, size)
        heard = Heard(plan.steps)
        try:
            training, lora = tune.tune(
                svd, taken, plan, place, say=told.append, on_step=heard, on_sheet=heard.draw
            )
        except FloatingPointError as error:
            raise ValueError(str(error)) from error
    comfy.model_management.soft_empty_cache()
    return {name: tensor.cpu() for name, tensor in lora.items()}, curves(training), told


def preset(path: str) -> Preset:
    """How a checkpoint was trained"""
    return read(path).preset


def curves(training: Training) -> Image:
    return pictures.curves(training.history, title="lora")


def _dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def state_file(path: str, clips: list[Tensor], plan: tune.Plan, size: tuple[int, int]) -> Path:
    """Where a run on these clips goes on from; another length of the same run is the same file."""
    what = (Path(path).name, plan.parts, plan.rank, plan.seed, size, [tuple(clip.shape) for clip in clips])
    found = hashlib.sha256(repr(what).encode())
    for clip in clips:
        found.update((clip[[0, -1]] * 255).round().byte().cpu().numpy().tobytes())
    folder = Path(folder_paths.get_output_directory()) / FOLDER
    return folder / f"{found.hexdigest()[:16]}.safetensors"


class Heard:
    """Progress bar and curve on the node; a cancel ends the run, whose result is kept."""

    def __init__(self, steps: int):
        self.bar = comfy.utils.ProgressBar(steps)
        self.picture: Image | None = None

    def __call__(self, step: int, steps: int, facts: dict[str, float]) -> None:
        global stopped
        show(f"step {step} of {steps}, loss {facts['loss']:.4g}")
        preview = ("JPEG", self.picture, 640) if self.picture else None
        self.picture = None
        self.bar.update_absolute(step, steps, preview)
        if comfy.model_management.processing_interrupted():
            comfy.model_management.interrupt_current_processing(False)
            stopped += 1
            raise tune.Stop

    def draw(self, training: Training) -> None:
        self.picture = curves(training)
