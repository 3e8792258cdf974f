"""What the client, the demo and the replay share: one job from queue to file, and how a command ends."""

import argparse
import contextlib
import math
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from clients import graph, local, tiff
from clients.comfyui import Client, Refused, Unreachable
from clients.local import Target

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
]
NOW_AND_THEN = 20.0  # seconds between two lines of progress where no terminal shows them


class Stopped(KeyboardInterrupt):
    """A signal ended the command; everything that was begun is taken back on the way out."""

    last = signal.SIGINT  # what a library's own KeyboardInterrupt, raised in this one's place, stands for

    def __init__(self, number: int = signal.SIGINT):
        super().__init__()
        self.number, self.note = number, ""
        Stopped.last = signal.Signals(number)


def run(main: Callable[[list[str]], int]) -> NoReturn:
    """Run a command to its exit status; a signal ends it in one line and with 128 plus its number."""
    use_utf8()
    leave_on_signals()
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        status = 128 + getattr(stop, "number", Stopped.last)
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"stopped{getattr(stop, 'note', '')}", file=sys.stderr, flush=True)
    except BrokenPipeError:  # whoever read our lines has gone
        status = 141
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(status)


def leave_on_signals() -> None:
    """Let signals unwind this process once; what was told to be ignored, as by nohup, stays ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    for each in SIGNALS:  # a second one must not stop the cleaning up
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(number)


def use_utf8() -> None:
    """Let a console with another encoding show what it can; names that are not text come out as they were."""
    errors = "replace" if os.name == "nt" else "surrogateescape"
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors=errors)


def add_options(parser: argparse.ArgumentParser) -> None:
    """--timeout, for every command that waits for a job."""
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help="give up, and cancel the job, after so long, waiting in the queue included (default: never)",
    )


def add_target(parser: argparse.ArgumentParser, default: Path | None, where: str) -> None:
    """--out and --overwrite, for every command that writes videos."""
    parser.add_argument(
        "--out", type=Path, default=default, help=f"folder for the video, or its file name ({where})"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a file of the same name instead of choosing a free one",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise ValueError(text)
    return seconds


def follow(client: Client, prompt: graph.Graph, *, timeout: float | None = None) -> dict[str, Any]:
    """Queue a workflow and wait for its end; whoever stops waiting takes the job off the server too."""
    job_id = str(uuid.uuid4())
    with contextlib.closing(Progress()) as progress:
        try:
            job_id = client.queue(prompt, job_id=job_id)
            return client.wait(job_id, timeout=timeout, on_poll=progress)
        except TimeoutError as error:
            raise TimeoutError(f"{error}{_cancelled(client, job_id)}") from error
        except KeyboardInterrupt as stop:
            stop.note = _cancelled(client, job_id)
            raise


def _cancelled(client: Client, job_id: str) -> str:
    client.timeout = 5.0
    try:
        stopped = client.cancel(job_id)
    except (Refused, OSError) as error:
        return f"; the job could not be cancelled: {error}"
    return "; the job was cancelled" if stopped else "; the server will stop the job after its present step"


def make(
    client: Client,
    prompt: graph.Graph,
    source: Path,
    target: Target,
    *,
    name: str | None = None,
    timeout: float | None = None,
) -> Iterator[Path]:
    """A photo or video through a workflow: uploaded, queued, followed;
    the paths of the videos as they are saved.
    """
    if not os.path.isfile(source):  # pathlib's own raises on a path too long
        raise ValueError(f"{source} is not a file; give a photo or video")
    if not os.path.getsize(source):
        raise ValueError(f"{source} is empty; give a photo or video")
    graph.loaders(prompt, source.name)
    job = follow(client, graph.set_photo(prompt, client.upload(source)), timeout=timeout)
    items = graph.videos(job)
    if not items:
        raise Refused(f"the workflow made no video, {graph.described(job)}; let it end in SaveVideo")
    if (pages := tiff.pages(source)) > len(items):
        _say_left_out(source, pages, len(items))
    for item in items:
        yield save(client, item, target, name)


def _say_left_out(source: Path, pages: int, made: int) -> None:
    """A host whose loader reads the first page of a TIFF only says nothing about the others."""
    count = "only 1 video was" if made == 1 else f"only {made} videos were"
    print(
        f"{source.name} has {pages} pages, but {count} made; give pages left out as files of their own",
        file=sys.stderr,
        flush=True,
    )


def save(client: Client, item: dict[str, str], target: Target, name: str | None = None) -> Path:
    """Download one result; where this machine cannot keep it, say where the server does."""
    wanted, refusals = target.named(local.safe_name(item["filename"]), name), []
    for folder in (target.folder, *target.spares):
        try:
            overwrite = target.overwrite and folder / wanted not in target.made
            path = client.download(item, folder, name=wanted, overwrite=overwrite)
            target.made.add(path)
            return path
        except Unreachable:
            raise
        except OSError as error:
            refusals.append(f"{folder} ({error.strerror})")
    place = "/".join(filter(None, (item.get("type"), item.get("subfolder"), item["filename"])))
    raise ValueError(
        f"the video was made, but cannot be written to {' or '.join(refusals)}; the server keeps it as "
        f"{place}"
    )


class Progress:
    """One line of status, rewritten on a terminal; elsewhere a new one now and then."""

    def __init__(self) -> None:
        self.shown, self.open = -math.inf, False

    def __call__(self, job: dict[str, Any], seconds: float) -> None:
        text = f"{job['status']:<12}{seconds:6.1f} s"
        if sys.stderr.isatty():
            self._print(f"\r{text}", end="")
            self.open = True
        elif job["status"] == "completed" or time.monotonic() - self.shown > NOW_AND_THEN:
            self.shown = time.monotonic()
            self._print(text)

    def close(self) -> None:
        if self.open:
            self._print()

    def _print(self, text: str = "", end: str = "\n") -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(text, end=end, file=sys.stderr, flush=True)
