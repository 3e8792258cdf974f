"""What a batch costs beside the videos: python -m benchmarks.batch [--items 1000] [--rounds 5].

The same items in turn: a plain loop over `svd_core.pipeline` that writes files and the command's own path
in order in one process, both over a quarter of them, and Ray with one worker, where it is installed. Before
that, items of no work at all.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from clients import crew, items, on_ray, render
from clients.pool import Outcome, Pool, Task, Threads
from clients.publish import Folder
from tests.make_checkpoint import write_checkpoint

PRESET = {"name": "tiny", "frames": 1, "width": 64, "height": 64, "steps": 1}


@dataclass(frozen=True)
class Nothing:
    """A worker that has a result of 100 KB at once."""

    def open(self) -> Callable[[Task], dict[str, bytes]]:
        return lambda task: {"video.webp": bytes(100_000), "still.jpg": bytes(5_000)}


def pooled(engine: Any, maker: Any, found: list[items.Item], out: Path) -> float:
    """Seconds an item, from the first result to the last: starting a worker is not an item's cost."""
    ends: list[float] = []
    with Folder(out) as folder:

        def done(item: items.Item, outcome: Outcome) -> None:
            assert folder.publish(item.name, outcome.files, {"id": item.id}), outcome.problem
            ends.append(time.monotonic())

        def task_of(item: items.Item) -> Task:
            return Task(item.id, item.read(), item.photo.name, item.settings, item.seed, item.id)

        Pool(engine, [maker]).run(found, task_of, done)
        assert len(folder.published()) == len(found)
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def plain(opened: Callable[[Task], dict[str, bytes]], found: list[items.Item], out: Path) -> float:
    start = time.monotonic()
    for item in found:
        task = Task(item.id, item.photo.read_bytes(), item.photo.name, item.settings, item.seed, "")
        (out / item.name).mkdir(parents=True)
        for name, data in opened(task).items():
            (out / item.name / name).write_bytes(data)
    return (time.monotonic() - start) / len(found)


@contextlib.contextmanager
def engines() -> Iterator[dict[str, Any]]:
    """Those that are there."""
    found: dict[str, Any] = {"in order": Threads()}
    if not crew.has("ray"):
        yield found
        return
    with on_ray.connected(None, 1, 1) as ray:
        yield {**found, "Ray, one worker": on_ray.Actors(ray, {"num_cpus": 1})}


def written(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{i:04}.png" for i in range(count)]
    for i, path in enumerate(paths):
        Image.new("RGB", (64, 64), (i % 256, i // 256, 99)).save(path)
    return paths


def rounds(count: int, times: int, folder: Path, there: dict[str, Any]) -> None:
    """Seconds an item of each way, a share of the items in each round, and the ratio to the plain loop."""
    checkpoint = write_checkpoint(folder / "tiny.safetensors", preset=PRESET)
    maker = render.Renderer(str(checkpoint), items.digest(checkpoint), threads=1)
    opened = maker.open()
    found = items.plan(written(folder / "photos", count), [{}], [0], {})
    last = [*there.values()][-1]  # makes all of them
    share, seconds = count // times, {name: [] for name in ("plain loop", *there)}
    for i in range(times):
        part = found[i * share : (i + 1) * share]
        seconds["plain loop"].append(plain(opened, part[: share // 4], folder / f"plain-{i}"))
        for name, engine in there.items():
            some = part if engine is last else part[: share // 4]
            seconds[name].append(pooled(engine, maker, some, folder / f"{name}-{i}"))
    for name, each in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(each, seconds["plain loop"]))
        say(f"{name:<18}{1000 * statistics.median(each):8.1f} ms an item{ratio:8.3f} of the plain loop")


def overhead(count: int, folder: Path, there: dict[str, Any]) -> None:
    found = items.plan(written(folder / "photos", count), [{}], [0], {})
    for name, engine in there.items():
        seconds = pooled(engine, Nothing(), found, folder / name)
        say(f"{name:<18}{1000 * seconds:8.1f} ms an item of no work, synced to the disk")


def say(text: str) -> None:
    print(text, flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other, engines() as there:
        overhead(args.items, Path(one), there)
        rounds(args.items, args.rounds, Path(other), there)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
