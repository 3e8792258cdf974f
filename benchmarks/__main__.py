"""python -m benchmarks [--size small] [--dtype float32] [--rounds 5] [--json FILE]

One table of PureSVD, ComfyUI's native classes (COMFYUI_PATH) and diffusers on shared random weights: median time ratio
over alternating rounds, peak memory beyond weights in fresh processes, and how far each row is from the machine's limit.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from pathlib import Path

import torch

from . import measure, peers


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n\n")[1])
    parser.add_argument("--size", choices=peers.SIZES, default="small")
    parser.add_argument("--full", action="store_const", const="full", dest="size", help="14 x 576 x 1024, for a GPU")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cases", nargs="+", choices=peers.CASES, default=list(peers.CASES))
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
    print(f"{platform.processor() or platform.machine()}, {args.threads} threads, torch {torch.__version__}, {args.dtype}")
    print(f"limits: {limit['flops_per_s'] / 1e9:.0f} GFLOP/s in a 1x1 convolution, {limit['bytes_per_s'] / 1e9:.1f} GB/s in a copy")
    print(f"{'':12} {'peer':10} {'seconds':>8} {'ratio':>6} {'of limit':>8} {'peak MiB':>9} {'rel. error':>10}")
    rows = []
    for name in args.cases:
        rows += case(name, names, args, limit)
    return {"size": args.size, "dtype": args.dtype, "threads": args.threads, "limits": limit, "rows": rows}


def case(name: str, names: list[str], args: argparse.Namespace, limit: dict[str, float]) -> list[dict]:
    """One block of the table."""
    cases = peers.CASES[name](peers.SIZES[args.size], getattr(torch, args.dtype), args.device, names)
    work = measure.flops(cases["PureSVD"])
    error = measure.errors(cases)
    times = measure.alternate(cases, args.rounds)
    present = list(cases)
    cases.clear()
    rows = []
    for peer in present:
        median = statistics.median(times[peer])
        row = {
            "case": name, "peer": peer, "seconds": median, "ratio": measure.ratio(times, peer), "gflop": work / 1e9,
            "of_limit": work / limit["flops_per_s"] / median, "error": error.get(peer, 0.0),
            "peak": measure.peak_memory(name, args.size, args.dtype, args.device, peer), "times": times[peer],
        }  # fmt: skip
        rows.append(row)
        print(
            f"{name:12} {peer:10} {median:8.2f} {row['ratio']:6.2f} {row['of_limit']:8.0%} {row['peak'] / 2**20:9.0f} "
            f"{row['error']:10.1e}",
            flush=True,
        )
    return rows


if __name__ == "__main__":
    main()
