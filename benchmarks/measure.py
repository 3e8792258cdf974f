"""Seconds, alternating between peers; peak memory, each peer in a fresh process; the machine's own limits."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from .peers import CASES, Cases
from .sizes import Size, sized


def seconds(run: Callable[[], torch.Tensor]) -> float:
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


@torch.inference_mode()
def alternate(cases: Cases, rounds: int) -> dict[str, list[float]]:
    """Times of each peer over `rounds` rounds after one to warm up; each round runs every peer once."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for i in range(rounds + 1):
        for name, run in cases.items():
            spent = seconds(run)
            if i:
                times[name].append(spent)
    return times


def ratio(times: dict[str, list[float]], peer: str) -> float:
    """Median over rounds of peer time / our time: above 1 we are quicker."""
    return statistics.median(b / a for a, b in zip(times["PureSVD"], times[peer]))


@torch.inference_mode()
def errors(cases: Cases) -> dict[str, float]:
    """‖peer − ours‖ / ‖ours‖, which shows that the same work was done."""
    ours = cases["PureSVD"]().double()
    return {
        k: ((run().double() - ours).norm() / ours.norm()).item() for k, run in cases.items() if k != "PureSVD"
    }


class Bytes(TorchDispatchMode):
    """Counts what every kernel reads and writes, each tensor once a kernel; views are free."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = {id(v): v for v in tree_leaves((args, kwargs, result)) if isinstance(v, torch.Tensor)}
            self.total += sum(v.numel() * v.element_size() for v in tensors.values())
        return result


@torch.inference_mode()
def work(run: Callable[[], torch.Tensor]) -> tuple[int, int]:
    """FLOPs of the linear algebra (a multiply-add counts twice), and bytes that the kernels move."""
    with FlopCounterMode(display=False) as counter, Bytes() as moved:
        run()
    return counter.get_total_flops(), moved.total


def peak_memory(case: str, size: str, dtype: str, device: str, peer: str) -> int:
    """Bytes above those held before the work, measured in a fresh process; GPU memory on a GPU."""
    command = [sys.executable, "-m", "benchmarks.measure", case, size, dtype, device, peer]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@torch.inference_mode()
def _peak_here(case: str, size: Size, dtype: torch.dtype, device: str, peer: str) -> int:
    cases = CASES[case](size, dtype, device, [peer])
    run = cases[peer]
    cases.clear()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    before = resident("VmRSS:")
    forget_peak()  # that of building the model
    run()
    return resident("VmHWM:") - before


def resident(field: str) -> int:
    """Bytes of this process: "VmRSS:" now, "VmHWM:" at the peak since it was last forgotten. Linux only."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def forget_peak() -> None:
    """Let "VmHWM:" count from here."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as reset:
        reset.write("5")


@torch.inference_mode()
def limits(dtype: torch.dtype, device: str) -> dict[str, float]:
    """What the machine can do: FLOP/s of the quicker of two convolutions, bytes/s of a copy."""
    x = torch.randn(16, 512, 32, 32, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    rates = []
    for side in (1, 3):
        weight = torch.randn(512, 512, side, side, device=device, dtype=dtype).to(
            memory_format=torch.channels_last
        )
        convolve = partial(torch.conv2d, x, weight, padding=side // 2)
        rates += [2 * x.numel() * weight[0].numel() / seconds(convolve) for _ in range(9)]
    source = torch.empty(2**27, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = max(2 * source.numel() / seconds(lambda: target.copy_(source)) for _ in range(9))
    return {"flops_per_s": max(rates), "bytes_per_s": copy}


if __name__ == "__main__":
    _case, _size, _dtype, _device, _peer = sys.argv[1:]
    if _peer == "native":
        from .peers import native

        native()
    print(json.dumps(_peak_here(_case, sized(_size), getattr(torch, _dtype), _device, _peer)))
