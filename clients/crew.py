"""Who does the work: threads of this process, or Ray's actors on this machine or a cluster."""

import argparse
import contextlib
import importlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients import on_ray
from clients.pool import Engine, Threads

MISSING = "Ray is not installed: pip install -r requirements-ray.txt, or leave out --workers and --address"
ROOM = 3.0  # times a checkpoint's size: the networks in float32 where the file is half, and activations
SPARE = 2**29  # bytes beside that for a worker's process


@dataclass(frozen=True)
class Crew:
    engine: Engine
    workers: int = 1
    device: str = "cpu"
    threads: int = 0  # of each worker; 0: as torch likes
    alone: bool = False  # in order in one process, because Ray is not there


@contextlib.contextmanager
def hired(args: argparse.Namespace) -> Iterator[Crew]:
    """The crew a command line asks for; gone afterwards."""
    has_ray = has("ray")
    if args.server and not args.address:  # a thread each is enough for waiting
        yield Crew(Threads(), len(args.server))
        return
    if (args.address or (args.workers or 1) > 1) and not has_ray:
        raise ValueError(MISSING)
    need = room(args.checkpoint)
    gpus = importlib.import_module("torch").cuda.device_count() if has("torch") else 0
    workers = args.workers or (fitting(gpus, os.cpu_count() or 1, memory(), args.threads, need))
    if not args.address and (workers == 1 or not has_ray):
        yield Crew(Threads(), 1, "cuda" if gpus else "cpu", args.threads, alone=not has_ray)
        return
    with on_ray.connected(args.address, workers, args.threads) as ray:
        if args.server:
            yield Crew(on_ray.Actors(ray, {"num_cpus": 0}), len(args.server))
            return
        found = ray.cluster_resources()
        gpus = int(found.get("GPU", 0))
        if not args.workers:
            workers = fitting(gpus, int(found.get("CPU", 1)), found.get("memory", 0), args.threads, need)
        threads = args.threads or (0 if gpus else 1)
        options: dict[str, Any] = {"num_gpus": 1} if gpus else {"num_cpus": threads, "memory": need}
        yield Crew(on_ray.Actors(ray, options), workers, "cuda" if gpus else "cpu", threads)


def fitting(gpus: int, cpus: int, memory: float, threads: int, need: int) -> int:
    """How many workers: one for each GPU, else one for `threads` cores while they fit into memory."""
    return gpus or max(1, min(cpus // max(1, threads), int(memory // need)))


def room(checkpoint: Path) -> int:
    """Bytes that a worker on a CPU is reckoned with"""
    files = checkpoint.rglob("*.safetensors") if checkpoint.is_dir() else [checkpoint]
    return int(ROOM * sum(file.stat().st_size for file in files if file.is_file())) + SPARE


def memory() -> float:
    """Bytes of this machine, unknown as none"""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 0.7
    return 0.0


def has(module: str) -> bool:
    """Whether a module can be imported"""
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # taken out of sys.modules
        return False
