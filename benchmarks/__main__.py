"""python -m benchmarks [--size SIZE] [--dtype TYPE] [--rounds N] [--frames N …] [--load FILE] [--json FILE]
python -m benchmarks rehearsal: the same on a pretended GPU, counted

One table of PureSVD, ComfyUI's native classes (COMFYUI_PATH) and diffusers on shared random weights:
median time ratio over alternating rounds, peak memory beyond weights in fresh processes,
and how far each row is from the machine's limit, which is the slower of all FLOPs at the measured matmul rate
and all bytes at the measured copy bandwidth.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from pathlib import Path

import torch

from . import load, measure, peers, rehearsal, sizes

MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n\n")[1])
    parser.add_argument("--size", choices=sizes.SIZES, default="small")
    parser.add_argument(
        "--full", action="store_const", const="full", dest="size", help="14 x 576 x 1024, for a GPU"
    )
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cases", nargs="*", choices=peers.CASES, default=list(peers.CASES))
    parser.add_argument(
        "--frames", nargs="+", type=int, default=[], help="also: memory of decoding this many frames"
    )
    parser.add_argument(
        "--load", type=Path, metavar="FILE", help="also: loading this checkpoint through both loaders"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    result = run(args)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


def run(args: argparse.Namespace) -> dict:
    dtype = getattr(torch, args.dtype)
    names = (["native"] if peers.native() else []) + ["diffusers"]
    limit = measure.limits(dtype, args.device)
    print(
        f"{platform.processor() or platform.machine()}, {args.threads} threads, torch {torch.__version__}, "
        f"{args.dtype}"
    )
    print(
        f"limits: {limit['flops_per_s'] / 1e9:.0f} GFLOP/s in a convolution, {limit['bytes_per_s'] / 1e9:.1f}"
        " GB/s in a copy"
    )
    print(
        f"{'':12} {'peer':19} {'seconds':>8} {'ratio':>6} {'of limit':>8} {'peak MiB':>9} {'rel. error':>10}"
    )
    rows = []
    for name in args.cases:
        rows += case(name, names, args, limit)
    rows += growth(args) + (loading(args) if args.load else [])
    return {"size": args.size, "dtype": args.dtype, "threads": args.threads, "limits": limit, "rows": rows}


def case(name: str, names: list[str], args: argparse.Namespace, limit: dict[str, float]) -> list[dict]:
    """One block of the table."""
    cases = peers.CASES[name](sizes.sized(args.size), getattr(torch, args.dtype), args.device, names)
    flops, moved = measure.work(cases["PureSVD"])
    least = max(flops / limit["flops_per_s"], moved / limit["bytes_per_s"])
    error = measure.errors(cases)
    times = measure.alternate(cases, args.rounds)
    present = list(cases)
    cases.clear()
    rows = []
    for peer in present:
        median = statistics.median(times[peer])
        row = {
            "case": name,
            "peer": peer,
            "seconds": median,
            "ratio": measure.ratio(times, peer),
            "gflop": flops / 1e9,
            "gbyte": moved / 1e9,
            "of_limit": least / median,
            "error": error.get(peer, 0.0),
            "peak": measure.peak_memory(name, args.size, args.dtype, args.device, peer),
            "times": times[peer],
        }
        rows.append(row)
        print(
            f"{name:12} {peer:19} {median:8.2f} {row['ratio']:6.2f} {row['of_limit']:8.0%} "
            f"{row['peak'] / MIB:9.0f} {row['error']:10.1e}",
            flush=True,
        )
    return rows


def growth(args: argparse.Namespace) -> list[dict]:
    """Memory of our decode by frames, beside the one full-resolution activation that a clip needs."""
    rows = []
    for t in args.frames:
        size = sizes.sized(f"{args.size}/{t}")
        clip = t * size.vae_ch * 64 * size.vae_h * size.vae_w * getattr(torch, args.dtype).itemsize
        peak = measure.peak_memory("decode", f"{args.size}/{t}", args.dtype, args.device, "PureSVD")
        rows.append({"case": "frames", "peer": "PureSVD", "frames": t, "peak": peak, "activation": clip})
        print(
            f"decode of {t:3} frames: {peak / MIB:6.0f} MiB, one activation of the clip "
            f"{clip / MIB:6.0f} MiB",
            flush=True,
        )
    return rows


def loading(args: argparse.Namespace) -> list[dict]:
    """Seconds and anonymous memory of both loaders; the ratio is to our default."""
    found = load.compare(args.load, args.rounds)
    ours = found["PureSVD, default"][1]
    rows = []
    for name, (peak, times) in found.items():
        median, ratio = statistics.median(times), statistics.median(b / a for a, b in zip(ours, times))
        rows.append(
            {"case": "load", "peer": name, "seconds": median, "ratio": ratio, "peak": peak, "times": times}
        )
        print(f"{'load':12} {name:19} {median:8.2f} {ratio:6.2f} {'':8} {peak / MIB:9.0f}", flush=True)
    return rows


if __name__ == "__main__":
    rehearsal.main(sys.argv[2:]) if sys.argv[1:2] == ["rehearsal"] else main()
