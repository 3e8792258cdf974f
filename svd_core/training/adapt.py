"""python -m svd_core.training lora: a LoRA on clips of one's own, for any SVD checkpoint."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from ..adapters.names import NATIVE
from ..checkpoint.load import SVD, load
from ..checkpoint.read import read
from ..checkpoint.write import write_safetensors
from ..quality.read import PICTURES
from ..quality.read import Clip as Source
from . import collection, command, films, lora, pictures, tune
from .loop import Training

Say = Callable[[str], object]
Take = tuple[str, Tensor, float | None, float | None]


def options(arguments: list[str], shipped: Path) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m svd_core.training lora",
        description="Train a LoRA of the video U-Net on clips. A run that was stopped goes on with the same "
        "command.",
    )
    clips_options(parser, shipped)
    parser.add_argument("--out", type=Path, required=True, help="the LoRA to write, .safetensors")
    parser.add_argument(
        "--parts",
        nargs="+",
        default=["temporal attention"],
        choices=lora.TRAINABLE,
        help="default: temporal attention",
    )
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--batch", type=int, default=4, help="clips that share a step, one after the other")
    parser.add_argument(
        "--fps", type=float, help="of folders of pictures (default: as the checkpoint was trained)"
    )
    parser.add_argument(
        "--bucket", type=float, help="one motion bucket for all clips (default: as they move)"
    )
    parser.add_argument("--save-memory", action="store_true", help="slower, with the memory of one block")
    parser.add_argument("--seed", type=int, default=0)
    return checked(parser.parse_args(arguments))


def clips_options(parser: argparse.ArgumentParser, shipped: Path) -> None:
    """Which clips, and how the model that encodes them is to see them."""
    parser.add_argument(
        "--clips",
        type=Path,
        required=True,
        help="clips.jsonl of the command `clips`, or a folder of videos or of folders of pictures",
    )
    parser.add_argument(
        "--camera", choices=collection.CAMERAS, help="of clips.jsonl, only those with this movement"
    )
    parser.add_argument(
        "--model", type=Path, default=shipped, help="an SVD checkpoint (default: the embedded one)"
    )
    parser.add_argument("--frames", type=int, help="default: as the checkpoint was trained")
    parser.add_argument("--width", type=int, help="pixels, a multiple of 64")
    parser.add_argument("--height", type=int, help="pixels, a multiple of 64")


def checked(args: argparse.Namespace) -> argparse.Namespace:
    """The same, or a sentence about the first number that cannot be"""
    for name in ("width", "height"):
        if (value := getattr(args, name)) is not None:
            tune.check_side(name, value)
    for name in ("rank", "steps", "batch", "frames", "lr"):
        if (value := getattr(args, name, None)) is not None and value <= 0:
            raise ValueError(f"{name} {value} is not above 0; use at least 1, for lr 1e-4")
    return args


def sources(folder: Path) -> list[Path]:
    """Videos, and folders of pictures, in the order of their names."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; name one that holds videos or folders of pictures")
    known = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
    if any(p.suffix.lower() in PICTURES for p in known):
        return [folder]
    return [
        p
        for p in known
        if p.is_dir() or p.suffix.lower() in (".mp4", ".webm", ".mkv", ".mov", ".avi", ".gif")
    ]


def footage(args: argparse.Namespace, *, frames: int) -> Iterator[Take]:
    """Name, frames t 3 H W in [0, 1], fps and motion bucket of every clip; the last two where known."""
    if args.clips.suffix == ".jsonl":
        for record, x in collection.footage(args.clips, collection.kept(args.clips, args.camera)):
            yield f"{record['source']}, frame {record['start']}", x[:frames], record["fps"], record["bucket"]
        return
    if args.camera:
        raise ValueError(f"--camera {args.camera} needs labels; make clips.jsonl with the command `clips`")
    for path in sources(args.clips):
        source = Source(path)
        seen = list(islice(source, frames))
        yield path.name, torch.stack(seen) if seen else torch.zeros(0, 3, 1, 1), source.fps, None


def long_enough(svd: SVD, args: argparse.Namespace, say: Say) -> Iterator[Take]:
    """`footage` of clips that have all the frames; the others are named."""
    frames = length(svd, args)
    for take in footage(args, frames=frames):
        if len(take[1]) == frames:
            yield take
        else:
            say(f"{take[0]} is left out: it has {len(take[1])} of {frames} frames")


@torch.no_grad()
def gather(svd: SVD, args: argparse.Namespace, say: Say) -> list[films.Clip]:
    """Every clip encoded, cropped and not squashed."""
    preset, found = svd.preset, []
    height, width = size(svd, args)
    for name, x, known, measured in long_enough(svd, args, say):
        fps = known or args.fps or preset.fps
        bucket = measured if args.bucket is None else args.bucket
        found.append(tune.take(svd, x, fps=fps, bucket=bucket, height=height, width=width))
        say(f"{name}: {fps:g} fps, motion bucket {found[-1].bucket:.0f}")
    if unknown := tune.warning(svd, args.bucket):
        say(unknown)
    return found


def length(svd: SVD, args: argparse.Namespace) -> int:
    """Frames of a clip."""
    return args.frames or svd.preset.frames


def size(svd: SVD, args: argparse.Namespace) -> tuple[int, int]:
    """Height and width in pixels."""
    return args.height or svd.preset.height, args.width or svd.preset.width


def run(arguments: list[str], *, shipped: Path, on_step: Callable[..., None] | None, say: Say) -> Path:
    """Train, resuming if the same run was stopped, and write the LoRA."""
    args = options(arguments, shipped)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    svd = load(read(args.model), dtype=torch.bfloat16 if device == "cuda" else torch.float32, device=device)
    clips = gather(svd, args, say)
    plan = tune.Plan(
        tuple(args.parts), args.rank, args.steps, args.lr, args.batch, args.seed, args.save_memory
    )
    _, tensors = tune.tune(
        svd, clips, plan, args.out.with_suffix(".training.safetensors"), say=say, on_step=on_step,
        on_sheet=lambda t: _curves(t, args.out),
    )  # fmt: skip
    height, width = size(svd, args)
    facts = dict(model=args.model.name, parts=args.parts, rank=args.rank, steps=args.steps)
    facts |= dict(frames=len(clips[0].z), width=width, height=height, layers=len(tensors) // 3)
    facts |= dict(buckets=[round(c.bucket) for c in clips])
    write_safetensors(args.out, tensors, {"puresvd_lora": json.dumps(facts)})
    say(
        f"{args.out} holds {facts['layers']} layers under {NATIVE} names; Load LoRA (SVD) and ComfyUI's own"
        " loader take it"
    )
    return args.out


def _curves(training: Training, out: Path) -> None:
    pictures.save(out.with_name(f"{out.stem}-curves.png"), pictures.curves(training.history, title="lora"))


def main(arguments: list[str], *, shipped: Path, on_step: Callable[..., None]) -> int:
    """The command; 1 and a sentence where something does not fit."""
    return command.ended(lambda: run(arguments, shipped=shipped, on_step=on_step, say=command.say))
