"""What one pass would run, touch and hold on a GPU, counted without one: python -m benchmarks rehearsal

PureSVD, ComfyUI's native classes (COMFYUI_PATH) and diffusers on a pretended CUDA device, in half precision:
kernels, bytes that they touch, peak of activations, layout copies, casts, and waits for the device.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from . import peers, pretend
from .sizes import SIZES, Size, sized

GIB = 2**30
CASES = {
    "U-Net step": peers.unet_step,
    "guided step": peers.guided_step,
    "decode": peers.vae_decode,
    "decode, 3 GiB": partial(peers.vae_decode, memory=3 * GIB),
    "encode": peers.vae_encode,
}


def rows(case: str, size: Size, dtype: torch.dtype, names: list[str]) -> dict[str, pretend.Count]:
    """Implementation -> what one unit of work of a case does."""
    with pretend.device():
        cases: dict[str, Callable] = dict(CASES[case](size, dtype, pretend.DEVICE, names))
        return {name: pretend.counted(run) for name, run in cases.items()}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks rehearsal", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="full-xt")
    parser.add_argument("--dtype", choices=["float16", "bfloat16"], default="float16")
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--kernels", action="store_true", help="also: each kernel of ours, by bytes")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(arguments)
    names = (["native"] if peers.native(fused_attention=True) else []) + ["diffusers"]
    size = sized(args.size)
    print(f"pretended CUDA device, {args.dtype}, {size.t} frames of {8 * size.w} x {8 * size.h}")
    print(
        f"{'':14} {'':10} {'kernels':>8} {'GB touched':>11} {'peak GiB':>9} {'layout copies':>14} "
        f"{'casts':>6} {'waits':>6}"
    )
    found = []
    for case in args.cases:
        for name, count in rows(case, size, getattr(torch, args.dtype), names).items():
            found.append(row(case, name, count))
            print(line(found[-1]), flush=True)
            if args.kernels and name == "PureSVD":
                print_kernels(count)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def row(case: str, name: str, count: pretend.Count) -> dict:
    kept = ("operators", "touched", "peak", "layout_copies", "casts", "waits")
    return {"case": case, "peer": name, **{field: getattr(count, field) for field in kept}}


def line(found: dict) -> str:
    return (
        f"{found['case']:14} {found['peer']:10} {found['operators']:8} {found['touched'] / 1e9:11.1f} "
        f"{found['peak'] / GIB:9.2f} {found['layout_copies']:14} {found['casts']:6} {found['waits']:6}"
    )


def print_kernels(count: pretend.Count) -> None:
    for name, touched in count.bytes.most_common():
        print(f"{'':14} {name:40} {count.kernels[name]:6} {touched / 1e9:8.2f}")
