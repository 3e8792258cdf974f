"""python -m svd_core.adapters FILE OUT: rewrite a LoRA so that ComfyUI's own loader takes all of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ..checkpoint.header import read_header
from ..checkpoint.read import read as read_checkpoint
from ..checkpoint.sizes import without_values
from ..checkpoint.write import write_safetensors
from ..models.unet import UNetConfig, VideoUNet
from .lora import read
from .names import Layers
from .report import describe

RELEASED = UNetConfig(320, (1, 2, 4, 4), 2, (True, True, True, False), 1024, 768)


def main(arguments: list[str]) -> int:
    """Rewrite one file; 1 and a sentence where it is not whole or not of this model."""
    parser = argparse.ArgumentParser(
        prog="python -m svd_core.adapters",
        description="Rewrite a LoRA for Stable Video Diffusion under the names that ComfyUI's own loaders "
        "know.",
    )
    parser.add_argument("file", type=Path, help="the LoRA, safetensors, in any naming")
    parser.add_argument("out", type=Path, help="the file to write; it must not exist")
    parser.add_argument(
        "--model",
        type=Path,
        help="the checkpoint it is for (default: the layers of svd and svd_xt); needed for DoRA",
    )
    args = parser.parse_args(arguments)
    try:
        sys.stdout.write(convert(args.file, args.out, args.model) + "\n")
    except ValueError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


def convert(file: Path, out: Path, model: Path | None = None) -> str:
    """Write `out` and return the report; `model` brings the weights that DoRA and relative changes need."""
    if out.exists():
        raise ValueError(f"{out} exists already; name a new file")
    weight: Callable[[str], Tensor] | None = None
    if model is None:
        layers = Layers({name: tuple(t.shape) for name, t in _released().items()})
    else:
        unet = read_checkpoint(model).unet
        if unet is None:
            raise ValueError(f"{model} holds no U-Net; choose an SVD checkpoint")
        layers, weight = Layers({name: tuple(t.shape) for name, t in unet.items()}), unet.__getitem__
    lora = read(file, layers)
    if weight is not None:
        lora = lora.exact(weight, layers)
    elif any("dora" in layer.tensors for layer in lora.layers.values()):
        raise ValueError(
            f"{file} is a DoRA, whose change depends on the weights; name the checkpoint with --model"
        )
    metadata = read_header(file).metadata
    write_safetensors(out, lora.native(), {k: v for k, v in metadata.items() if k != "lora_adapter_metadata"})
    return describe(lora, layers, weight)


def _released() -> dict[str, Tensor]:
    return without_values(VideoUNet, RELEASED).state_dict()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
