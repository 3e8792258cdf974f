"""The engine that makes use of every core, GPU or machine: Ray's actors, here or in a cluster."""

import contextlib
import importlib
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from clients import command
from clients.pool import EITHER, Maker, Outcome, Task, attempt
from scripts import cache

STORE, A_WORKER = 128 * 2**20, 64 * 2**20  # bytes of shared memory: photos and results on their way
ANSWER = 10.0  # seconds that a cluster's address may take


class Holder:
    """What an actor is: a worker that is opened where the actor lives."""

    def __init__(self, maker: Maker):
        self.maker = maker
        self.worker: Callable[[Task], dict[str, bytes]] | None = None

    def open(self) -> Outcome:
        return attempt(self._open)

    def _open(self) -> None:
        self.worker = self.maker.open()

    def run(self, task: Task) -> Outcome:
        return attempt(lambda: self.worker(task))


class Actors:
    """An engine for the pool; `options` are Ray's for each actor: num_cpus, num_gpus, memory.

    Ray itself restarts nothing and tries nothing again: the pool does, and knows when to stop.
    """

    def __init__(self, ray: Any, options: dict[str, Any]):
        self.ray, self.holder = ray, ray.remote(Holder).options(**options)

    def start(self, maker: Maker) -> tuple[Any, Any]:
        handle = self.holder.remote(maker)
        return handle, handle.open.remote()

    def submit(self, handle: Any, task: Task) -> Any:
        return handle.run.remote(task)

    def wait(self, waiting: Sequence[Any], seconds: float) -> list[Any]:
        return self.ray.wait(list(waiting), num_returns=1, timeout=seconds)[0]

    def outcome(self, future: Any) -> Outcome:
        try:
            return self.ray.get(future)
        except self.ray.exceptions.RayError as error:
            words = re.sub(r"\s+", " ", str(error))[:200]
            return Outcome(problem=f"its process or machine is gone ({words})", whose=EITHER)

    def stop(self, handle: Any) -> None:
        self.ray.kill(handle)


@contextlib.contextmanager
def connected(address: str | None, workers: int, threads: int) -> Iterator[Any]:
    """The module `ray`, connected to a cluster, or to one of its own on this machine; left afterwards."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = importlib.import_module("ray")
    options: dict[str, Any] = {"address": address or "local"}
    if address:
        _check(address)
    else:
        options |= {"num_cpus": max(workers * max(1, threads), os.cpu_count() or 1)}
        options |= {"object_store_memory": STORE + workers * A_WORKER, "include_dashboard": False}
    variables = {"PYTHONPATH": str(cache.ROOT), "OMP_NUM_THREADS": str(max(1, threads))}
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", runtime_env={"env_vars": variables}, **options)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        raise ValueError(NOT_REACHED.format(address or "this machine", _line(error))) from error
    with contextlib.suppress(ValueError):  # outside of the main thread
        command.leave_on_signals()  # Ray has put its own in their place
    try:
        yield ray
    finally:
        ray.shutdown()


NOT_REACHED = (
    "no Ray cluster could be reached at {} ({}); start one with `ray start --head`, or leave out --address"
)


def _check(address: str) -> None:
    """Refuse an address where nothing listens at once; Ray itself tries for a long time."""
    place = re.fullmatch(r"(?:ray://)?([^/:]+|\[[^\]]+\]):(\d+)", address)
    if address in ("auto", "local") or not place:
        return
    try:
        socket.create_connection((place[1].strip("[]"), int(place[2])), ANSWER).close()
    except (OSError, OverflowError) as error:
        raise ValueError(NOT_REACHED.format(address, _line(error))) from error


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
