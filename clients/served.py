"""A worker that is a ComfyUI server somewhere: photo up, job queued and followed, videos down."""

import contextlib
import tempfile
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from clients import graph, local
from clients.comfyui import Client, Refused, Unreachable
from clients.pool import EITHER, Task

PATIENCE = 15.0  # seconds that a server may be out of reach while it works, before its item goes elsewhere
EVERY = 0.5
FAREWELL = 5.0  # seconds for taking a job off a server that is left


@dataclass(frozen=True)
class Served:
    """One server and the workflow that it is to run; `seed_input` takes an item's seed."""

    server: str
    prompt: dict[str, Any] = field(repr=False)
    seed_input: str
    timeout: float | None = None  # seconds for one item, the waiting in the queue included

    def __str__(self) -> str:
        return self.server

    def open(self) -> "Following":
        """Unreachable, which is to be tried again, also where something else than a ComfyUI answers."""
        try:
            Client(self.server, timeout=10).get("/system_stats")
        except Refused as error:
            raise Unreachable(str(error)) from error
        return Following(self)

    def cancel(self, task: Task) -> None:
        """Take an item's job off the server; a server that is gone has none."""
        with contextlib.suppress(Refused, OSError):
            Client(self.server, timeout=FAREWELL).cancel(task.run, patience=FAREWELL)


@dataclass
class Following:
    how: Served
    stopped: bool = False

    def __call__(self, task: Task) -> dict[str, bytes]:
        """The videos of one item; a failure that may be the server's sends it to another one."""
        client = Client(self.how.server)
        with tempfile.TemporaryDirectory(prefix="puresvd-") as folder:
            photo = Path(folder) / f"{task.id}{Path(task.photo_name).suffix}"
            photo.write_bytes(task.photo)
            try:
                prompt = prompt_of(self.how, task, client.upload(photo))
            except Refused as error:
                raise Failed(str(error)) from error
            try:
                return downloaded(client, self._followed(client, task, prompt), Path(folder) / "made")
            except (Unreachable, Refused, TimeoutError) as error:
                raise Failed(str(error)) from error

    def _followed(self, client: Client, task: Task, prompt: graph.Graph) -> dict[str, Any]:
        client.queue(prompt, job_id=task.run)
        try:
            return client.wait(
                task.run, timeout=self.how.timeout, every=EVERY, patience=PATIENCE, on_poll=self._on_poll
            )
        except TimeoutError:
            self.how.cancel(task)
            raise

    def _on_poll(self, job: dict[str, Any], seconds: float) -> None:
        if self.stopped:
            raise KeyboardInterrupt

    def stop(self) -> None:
        self.stopped = True


class Failed(ValueError):
    """The server, or the item on it, failed: another server may manage."""

    whose = EITHER


def prompt_of(how: Served, task: Task, photo: str) -> graph.Graph:
    """The workflow with an item's photo, as the server calls it, its settings and its seed."""
    words = [f"{name}={value}" for name, value in task.settings.items()]
    if task.seed is not None:
        words.append(f"{how.seed_input}={task.seed}")
    return reduce(graph.set_input, words, graph.set_photo(how.prompt, photo))


def downloaded(client: Client, job: dict[str, Any], folder: Path) -> dict[str, bytes]:
    """The videos of a job, under names that are the same on every server."""
    videos = graph.videos(job)
    if not videos:
        raise Refused(f"the workflow made no video, {graph.described(job)}; let it end in SaveVideo")
    made = {}
    for number, item in enumerate(videos):
        name = f"video{f'-{number + 1}' if number else ''}{Path(local.safe_name(item['filename'])).suffix}"
        made[name] = client.download(item, folder, name=name).read_bytes()
    return made
