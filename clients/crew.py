"""Who does the work: threads of this process, or Ray's actors on this machine or a cluster."""

import argparse
import contextlib
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass

from clients.pool import Engine, Threads

MISSING = "Ray is not installed: pip install -r requirements-ray.txt, or leave out --workers and --address"


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
    has_ray = importlib.util.find_spec("ray") is not None
    if (args.address or (args.workers or 1) > 1) and not has_ray:
        raise ValueError(MISSING)
    device = "cpu"
    if importlib.util.find_spec("torch"):
        device = "cuda" if importlib.import_module("torch").cuda.is_available() else "cpu"
    yield Crew(Threads(), 1, device, args.threads, alone=not has_ray)
