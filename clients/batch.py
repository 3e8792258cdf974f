"""A folder of photos becomes a folder of videos; starting again goes on where it was.

python clients/batch.py PHOTOS --out FOLDER [--seeds 0 1 2] [--set NAME=VALUE] [--checkpoint FILE]
python clients/batch.py PHOTOS --out FOLDER --server URL [URL ...] [--workflow FILE]
"""

import argparse
import os
import random
import sys
import time
import uuid
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036  older ones still get this far
    sys.exit("this needs Python 3.10 or newer; this one is " + sys.version.split()[0])
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clients import command, crew, graph, items, overview, plans, render  # noqa: E402
from clients.items import Item  # noqa: E402
from clients.pool import Maker, Outcome, Pool, Task  # noqa: E402
from clients.publish import Folder  # noqa: E402

MORE = (
    "Ray is not installed, so items were made in order in one process; pip install -r requirements-ray.txt "
    "makes them on every core, GPU or machine of a cluster"
)


def main(arguments: list[str]) -> int:
    args = parser().parse_intermixed_args(arguments)
    try:
        photos = items.photos(args.photos)
        with Folder(args.out) as folder, crew.hired(args) as hands:
            plan = plans.make(args, photos, hands)
            status = Run(plan, folder, args.patience).run(hands)
            if hands.alone and (os.cpu_count() or 1) > 1:
                print(MORE, file=sys.stderr)
            return status
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description="Turn a folder of photos into videos; start again to go on.")
    found.add_argument("photos", type=Path, nargs="+", help="a folder of photos, or photos")
    found.add_argument("--out", type=Path, required=True, help="folder for the results, one folder for each")
    found.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="a video with each (default: 0)")
    found.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the checkpoint, such as steps=20, or of a server's workflow, such as "
        "PureSVDSample.steps=20; several values of one name give a video with each",
    )
    found.add_argument("--checkpoint", type=Path, default=plans.EMBEDDED, help="default: the embedded one")
    found.add_argument(
        "--format", choices=render.FORMATS, default="webp", help="frames: a PNG for every frame"
    )
    found.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="default: by the device")
    found.add_argument("--threads", type=int, default=0, help="of each worker (default: torch's choice)")
    found.add_argument("--workers", type=int, help="needs Ray, if more than 1")
    found.add_argument("--address", help="a Ray cluster, such as auto or 10.0.0.1:6379")
    found.add_argument("--server", nargs="+", metavar="URL", help="let these ComfyUI servers make the videos")
    found.add_argument(
        "--workflow", type=Path, default=graph.WORKFLOW, help="what servers run, in API format"
    )
    found.add_argument(
        "--seed-input",
        default="PureSVDSample.seed",
        metavar="NODE.INPUT",
        help="what of the workflow takes --seeds (default: PureSVDSample.seed)",
    )
    command.add_options(found)
    found.add_argument(
        "--patience",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="stop when no worker could be had for so long (default: 300)",
    )
    return found


class Run:
    """One run over a plan: what is there is left alone, the rest is made and published."""

    def __init__(self, plan: plans.Plan, folder: Folder, patience: float):
        self.plan, self.folder, self.patience = plan, folder, patience
        self.made = self.by_others = 0
        self.failed: list[str] = []
        self.bar = overview.Bar(0)

    def run(self, hands: crew.Crew) -> int:
        """Make what is missing, say what was done, draw the sheet; the command's status."""
        there = self.folder.published()
        todo = [item for item in self.plan.items if item.id not in there]
        if not self.folder.alone:  # another order than the other writer's, so that each finds work
            random.Random(uuid.uuid4().int).shuffle(todo)
        self.bar, start = overview.Bar(len(todo)), time.monotonic()
        pool = Pool(hands.engine, self.plan.makers, patience=self.patience, on_rest=self._rested)
        try:
            pool.run(todo, self._task, self._done, self.bar.show)
        finally:
            self.bar.close()
        seconds = time.monotonic() - start
        before = len(self.plan.items) - len(todo)
        words = [f"{self.made} made", f"{before} there before", f"{self.by_others} made by another run"]
        words += [f"{len(self.failed)} failed"]
        kept = [part for part in words if not part.startswith("0 ")] or ["nothing to do"]
        each = f", {seconds / self.made:.2f} s each" if self.made else ""
        print(f"{self.folder.path}: {', '.join(kept)}; {overview.span(seconds)}{each}")
        self._draw()
        return 1 if self.failed else 0

    def _task(self, item: Item) -> Task | None:
        if self.folder.holds(item.name):
            self.by_others += 1
            self.bar.done += 1
            return None
        return Task(item.id, item.read(), item.photo.name, item.settings, item.seed, str(uuid.uuid4()))

    def _done(self, item: Item, outcome: Outcome) -> None:
        self.bar.done += 1
        if outcome.whose:
            self.failed.append(item.name)
            self.bar.say(f"{item.photo}: {outcome.problem}")
            return
        note = {"id": item.id, "photo": item.photo.name, "photo_sha256": item.digest, "seed": item.seed}
        note |= {"settings": item.settings, **self.plan.note, "seconds": round(outcome.seconds, 3)}
        note |= {"files": sorted(outcome.files)}
        try:
            if self.folder.publish(item.name, outcome.files, note):
                self.made += 1
            else:
                self.by_others += 1
        except OSError as error:
            raise ValueError(
                f"{item.name} cannot be written to {self.folder.path} ({error.strerror}); make room, then "
                "start again: what is there stays, and nothing is half written"
            ) from error

    def _rested(self, maker: Maker, seconds: float, problem: str) -> None:
        self.bar.say(f"{maker}: {problem}; it rests for {seconds:.0f} s")

    def _draw(self) -> None:
        there = self.folder.published()
        shown = [item for item in self.plan.items if item.id in there]
        labels = [label(item, self.plan.items) for item in shown]
        try:
            for path in overview.write_sheets(self.folder, [there[item.id] for item in shown], labels):
                print(path)
        except (ImportError, OSError) as error:
            print(f"no contact sheet could be drawn ({error})", file=sys.stderr)


def label(item: Item, among: list[Item]) -> str:
    """The photo's name, and whatever of its settings is not the same for all."""
    first = among[0]
    words = [f"{name} {value}" for name, value in item.settings.items() if value != first.settings.get(name)]
    seeds = {other.seed for other in among[:1000]}
    return " ".join([item.photo.stem, *([f"seed {item.seed}"] if len(seeds) > 1 else []), *words])


if __name__ == "__main__":
    command.run(main)
