"""One LoRA on clips that are in memory, whoever asks for it: the command or the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint.load import SVD
from ..models.ops import runs_bfloat16
from . import films, lora
from .camera import GUESS, motion_bucket
from .loop import Run, Training, train

LOW = 400  # lines below which the noise of the earlier stages serves better
NANO = "svd_nano"  # the checkpoint whose motion buckets are known
Say = Callable[[str], object]


def check_side(name: str, value: int) -> None:
    """Refuse a width or height in pixels that the U-Net cannot halve three times."""
    if value < 64 or value % 64:
        raise ValueError(f"{name} {value} is not a multiple of 64; use {max(64, value // 64 * 64)}")


class Stop(Exception):
    """Raised by `on_step`: what is trained so far is kept and returned."""


@dataclass(frozen=True)
class Plan:
    parts: tuple[str, ...]  # of `lora.TRAINABLE`
    rank: int
    steps: int
    lr: float
    batch: int = 4  # clips that share a step, one after the other
    seed: int = 0
    save_memory: bool = False
    sheet_steps: int = 1000


@torch.no_grad()
def take(svd: SVD, x: Tensor, *, fps: float, bucket: float | None, height: int, width: int) -> films.Clip:
    """A clip t 3 H W in [0, 1] encoded, cropped and not squashed; without a bucket, as it moves."""
    weight = next(svd.vae.parameters())
    x = films.crop(x * 2 - 1, height=height, width=width)
    return films.encode(
        x.to(weight),
        fps=fps,
        bucket=motion_bucket(films.speed(x), fps=fps) if bucket is None else bucket,
        image_size=svd.clip.config.image_size,
        vae_encoder=svd.vae.encode,
        image_encoder=svd.clip,
    )


def warning(svd: SVD, bucket: float | None) -> str | None:
    """What is not known about motion buckets of this checkpoint"""
    return GUESS if bucket is None and svd.preset.name != NANO else None


def tune(
    svd: SVD,
    clips: list[films.Clip],
    plan: Plan,
    path: Path,
    *,
    say: Say,
    on_step: Callable[..., None] | None = None,
    on_sheet: Callable[[Training], None] | None = None,
) -> tuple[Training, dict[str, Tensor]]:
    """Train, resuming what `path` holds of the same run; the run, and the averaged LoRA in native names

    `on_step` may raise `Stop`. The U-Net of `svd` is changed.
    """
    weight = next(svd.vae.parameters())
    device = weight.device.type
    low = device == "cuda" or runs_bfloat16()
    names = lora.attach(svd.unet, parts=plan.parts, rank=plan.rank, seed=plan.seed)
    if plan.save_memory:
        lora.save_memory(svd.unet)
    t, _, h, w = clips[0].z.shape if clips else (0, 0, 0, 0)
    say(lora.memory(svd.unet, frames=t, height=8 * h, width=8 * w))
    draw = films.Draw(P_mean=0.7 if 8 * h < LOW else 1.0)
    loss = films.FilmLoss(clips, draw, lambda x: svd.vae.encode(x.to(weight)))
    settings = Run(
        "lora", plan.steps, plan.lr, warmup=min(100, plan.steps // 10 + 1), ema=0.99, bf16=low,
        parts=plan.batch, seed=plan.seed, sheet_steps=plan.sheet_steps,
    )  # fmt: skip
    training = Training(svd.unet, settings, path)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=low):
        before = films.watch(svd.unet, loss) if not training.path.exists() else {}
    try:
        train(training, loss, on_step=on_step, on_sheet=on_sheet)
    except Stop:
        training.save()
        say(f"stopped after step {training.step} of {plan.steps}; what was trained so far is kept")
    training.load(training.ema, training.parameters)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=low):
        after = films.watch(svd.unet, loss)
    for sigma, value in after.items():
        was = f" (before: {before[sigma]:.4g})" if before else ""
        say(f"error at noise level {sigma}: {value:.4g}{was}")
    say(f"{len(names)} layers trained in {training.step} steps")
    return training, lora.tensors(training.ema)
