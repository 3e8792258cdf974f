"""python -m svd_core.training vae|temporal|footage|camera|finish|export|cameras|all|clips|lora|statistics"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from . import adapt, clips, command, nano, statistics
from .stages import ORDER, build_footage, export_file, train_camera, train_stage

SHIPPED = Path(__file__).resolve().parent.parent / "nano" / "svd_nano.safetensors"


class Progress:
    """One line that is rewritten on a terminal, or a line every half minute elsewhere."""

    def __init__(self, name: str):
        self.name, self.began, self.last = name, time.monotonic(), 0.0
        self.first: int | None = None

    def __call__(self, step: int, steps: int, facts: dict[str, float]) -> None:
        now = time.monotonic()
        self.first = step if self.first is None else self.first
        quiet = 1.0 if sys.stderr.isatty() else 30.0
        if now - self.last < quiet and step < steps:
            return
        self.last = now
        each = (now - self.began) / max(1, step - self.first) if step > self.first else 0.0
        left = time.strftime("%H:%M:%S", time.gmtime(each * (steps - step)))
        values = " ".join(f"{name} {value:.4g}" for name, value in facts.items())
        end = "\r" if sys.stderr.isatty() and step < steps else "\n"
        sys.stderr.write(f"{self.name} {step}/{steps} {values} {each:.2f} s/step ETA {left}{end}")
        sys.stderr.flush()


def main(arguments: list[str]) -> int:
    torch.set_num_threads(1)
    if arguments[:1] == ["lora"]:
        return adapt.main(arguments[1:], shipped=SHIPPED, on_step=Progress("lora"))
    if arguments[:1] == ["clips"]:
        return clips.main(arguments[1:], on_step=Progress("clips"))
    if arguments[:1] == ["statistics"]:
        return statistics.main(arguments[1:], shipped=SHIPPED)
    parser = argparse.ArgumentParser(
        prog="python -m svd_core.training",
        description="Train svd-nano, stage by stage; `clips` labels your own videos and `lora` trains a LoRA "
        "on them, `statistics` gathers what More Motion can start from (each has --help).",
    )
    parser.add_argument("stage", choices=(*ORDER, "export", "cameras", "all"))
    parser.add_argument(
        "--home",
        type=Path,
        default=nano.HOME,
        help="encoded stills, resume files and pictures (default: %(default)s)",
    )
    parser.add_argument(
        "--steps", type=int, help="end the stage at this step instead; the rate falls to zero there"
    )
    parser.add_argument("--lr", type=float, help="another learning rate")
    parser.add_argument("--workers", type=int, help="threads that share a batch, each on one core")
    parser.add_argument(
        "--only", nargs="+", choices=nano.CAMERAS, help="of `cameras`, the LoRAs to train (default: all)"
    )
    parser.add_argument(
        "--out", type=Path, default=SHIPPED, help="the file that `export` writes (default: %(default)s)"
    )
    args = parser.parse_args(arguments)
    return command.ended(lambda: perform_all(args))


def perform_all(args: argparse.Namespace) -> None:
    """The stage that was named, or all in their order."""
    for stage in (*ORDER, "export", "cameras") if args.stage == "all" else (args.stage,):
        perform(stage, args)


def perform(stage: str, args: argparse.Namespace) -> None:
    """One command."""
    changes = {"steps": args.steps, "lr": args.lr, "workers": args.workers}
    changes = {name: value for name, value in changes.items() if value}
    if stage == "footage":
        build_footage(args.home, SHIPPED, on_step=Progress(stage))
    elif stage == "export":
        export_file(args.home, args.out, preset=nano.PRESET, shipped=SHIPPED)
    elif stage == "cameras":
        for movement in args.only or nano.CAMERAS:
            said = Progress(f"lora {movement}")
            train_camera(movement, args.home, shipped=SHIPPED, changes=changes, on_step=said)
    else:
        train_stage(stage, args.home, shipped=SHIPPED, changes=changes, on_step=Progress(stage))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
