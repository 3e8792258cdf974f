"""A folder of results in which every result is whole or absent, whoever writes to it and whatever dies.

A result is a folder of its own: its files and `item.json` are written into a folder beside it, synced, and
that folder is renamed. A rename is one step, so no file is ever there without the others, and it does not
replace a folder that holds something, so of two writers one result stays.
"""

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from clients import local
from scripts.cache import try_lock

NOTE = "item.json"
ASIDE, LOCK = ".writing-", ".lock"
ID = 16  # characters of an id in a result's name, its end


class Folder:
    """Results in one folder; `with` holds a place of our own beside them and sweeps those of dead writers."""

    def __init__(self, path: Path):
        local.target(path)  # refused in a sentence where nothing can be written
        self.path, self.aside = path, path / f"{ASIDE}{uuid.uuid4().hex}"
        self.alone = True  # whether no other writer was at work when we began
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> "Folder":
        try:
            self._lock = _own(self.path / f"{self.aside.name}{LOCK}")
            self.alone = not self._sweep()
            self.aside.mkdir()
        except OSError as error:
            self.__exit__()
            raise ValueError(
                f"nothing can be written to {self.path} ({error.strerror}); choose another place"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.aside, ignore_errors=True)
        if self._lock:
            with contextlib.suppress(OSError):
                os.unlink(self._lock.name)
            self._lock.close()

    def _sweep(self) -> int:
        """Take away what writers left that are no more; returns how many others are still at work."""
        busy = 0
        for lock in self.path.glob(f"{ASIDE}*{LOCK}"):
            if lock.name.startswith(self.aside.name):
                continue
            with contextlib.suppress(OSError), open(lock, "r+b") as file:
                if not try_lock(file.fileno()):
                    busy += 1
                    continue
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink()
        return busy

    def published(self) -> dict[str, Path]:
        """Results by the id at the end of their names."""
        return {
            entry.name[-ID:]: Path(entry.path)
            for entry in os.scandir(self.path)
            if not entry.name.startswith(ASIDE) and os.path.isfile(os.path.join(entry.path, NOTE))
        }

    def holds(self, name: str) -> bool:
        return os.path.isfile(self.path / name / NOTE)

    def publish(self, name: str, files: dict[str, bytes], note: dict[str, Any]) -> bool:
        """Make a result appear under its name; False where another writer was first.

        What cannot be written is an OSError, and nothing of it stays.
        """
        part = self.aside / name
        try:
            part.mkdir()
            text = json.dumps(note, indent=1, ensure_ascii=False)
            for file, data in {**files, NOTE: text.encode()}.items():
                _write(part / file, data)
            _sync(part)
            os.rename(part, self.path / name)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and self.holds(name):
                return False
            raise
        _sync(self.path)
        return True


def read_note(result: Path) -> dict[str, Any]:
    return json.loads((result / NOTE).read_text(encoding="utf-8"))


def _own(path: Path) -> IO[bytes]:
    """A lock file that is held until it is closed; one swept before it was locked is made anew."""
    while True:
        file = open(path, "a+b")
        if try_lock(file.fileno()) and _is(file, path):
            return file
        file.close()


def _is(file: IO[bytes], path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    return False


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Let a folder's entries reach the disk, where the system can open one."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def files_of(result: Path) -> Iterator[Path]:
    """What a result holds besides its note, by name."""
    return (path for path in sorted(result.iterdir()) if path.name != NOTE)
