"""python -m svd_core.training statistics: what clips have in common, for a start below level 700."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint.load import SVD, load
from ..checkpoint.read import read
from ..checkpoint.write import write_safetensors
from ..control import motion
from . import adapt, command, films

FEW = 100  # clips; with fewer the mean is a picture of its own

Say = Callable[[str], object]


def options(arguments: list[str], shipped: Path) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m svd_core.training statistics",
        description="Mean and variance of the latents of clips, for `statistics` of More Motion (SVD): put "
        "the file into ComfyUI/models/svd_statistics. It serves videos of one size and length.",
    )
    adapt.clips_options(parser, shipped)
    parser.add_argument("--out", type=Path, required=True, help="the statistics to write, .safetensors")
    return adapt.checked(parser.parse_args(arguments))


@torch.no_grad()
def latents(svd: SVD, args: argparse.Namespace, say: Say) -> Iterator[Tensor]:
    """Scaled latents t 4 h w of every clip that is long enough, one in memory at a time."""
    weight = next(svd.vae.parameters())
    height, width = adapt.size(svd, args)
    for name, x, *_ in adapt.long_enough(svd, args, say):
        x = films.crop(x * 2 - 1, height=height, width=width).to(weight)
        say(name)
        yield films.latents(x, svd.vae.encode)


def run(arguments: list[str], *, shipped: Path, say: Say) -> Path:
    """Encode the clips and write their statistics."""
    args = options(arguments, shipped)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    svd = load(read(args.model), dtype=torch.float32, device=device)
    start, count = motion.gather(latents(svd, args, say))
    if count < 2:
        raise ValueError(
            f"{args.clips} has {count} clips of {adapt.length(svd, args)} frames; make at least 2, "
            "and better hundreds"
        )
    if count < FEW:
        say(f"{count} clips are few: their mean still looks like them; use hundreds")
    tensors = {motion.MEAN: start.mean.cpu(), motion.VARIANCE: torch.tensor(start.variance)}
    write_safetensors(args.out, tensors, {"clips": str(count)})
    t, _, h, w = start.mean.shape
    say(f"{args.out} holds the statistics of {count} clips, for {t} frames of {8 * w}x{8 * h}")
    return args.out


def main(arguments: list[str], *, shipped: Path) -> int:
    """The command; 1 and a sentence where something does not fit."""
    stopped = "nothing was written"
    return command.ended(lambda: run(arguments, shipped=shipped, say=command.say), stopped=stopped)
