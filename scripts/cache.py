"""The folder outside the checkout where environments and hosts are kept, and the lock around changing it."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

if os.name == "nt":
    import msvcrt
else:
    import fcntl

ROOT = Path(__file__).resolve().parent.parent
_STRAY = ("PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__")


def folder() -> Path:
    """PURESVD_CACHE, else the place this system keeps caches in."""
    if chosen := os.environ.get("PURESVD_CACHE"):
        path = Path(chosen).expanduser().absolute()
    elif os.name == "nt":
        path = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "puresvd"
    elif sys.platform == "darwin":
        path = Path.home() / "Library" / "Caches" / "puresvd"
    else:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "puresvd"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(
            f"the cache folder {path} cannot be made ({error.strerror}); set PURESVD_CACHE to a folder"
        ) from None
    return path


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the named lock; the system frees it when the process dies."""
    with _lock_file(folder() / f"{name}.lock") as file:
        if not try_lock(file.fileno()):
            say("another run is preparing the same thing; waiting for it")
            while not try_lock(file.fileno()):
                time.sleep(0.5)
        yield  # closing the file frees the lock


def _lock_file(path: Path) -> IO[str]:
    try:
        return open(path, "a+", encoding="utf-8")
    except OSError as error:
        raise SystemExit(
            f"{path} cannot be written ({error.strerror}); set PURESVD_CACHE to a folder of your own"
        ) from None


def try_lock(descriptor: int) -> bool:
    try:
        if os.name == "nt":
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # held; what POSIX and what Windows says
        return False
    return True


def say(text: str) -> None:
    print(text, flush=True)


def run(*command: object, env: dict[str, str] | None = None) -> None:
    """Run a set-up command without a terminal behind it; a failure ends the script with its command line."""
    line = [str(part) for part in command]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, env=env, check=False)
    if done.returncode:
        raise SystemExit(f"this command failed with exit status {done.returncode}:\n  {' '.join(line)}")


def ask(python: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines on an interpreter and keep what it says; status 127: it cannot be run."""
    line = [str(python), "-c", code]
    try:
        return subprocess.run(
            line, env=clean(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        return subprocess.CompletedProcess(line, 127, "", str(error))


def clean() -> dict[str, str]:
    """This process's variables without those that would lead another Python astray; text is UTF-8."""
    return {name: value for name, value in os.environ.items() if name not in _STRAY} | {"PYTHONUTF8": "1"}


def make_venv(python: Path, target: Path) -> Path:
    """A virtual environment of this interpreter; returns the interpreter inside."""
    line = [str(python), "-m", "venv", str(target)]
    made = subprocess.run(line, env=clean(), stdin=subprocess.DEVNULL, check=False)
    if made.returncode:
        raise SystemExit(
            f"{python} could not make a virtual environment; on Debian and Ubuntu "
            "`apt install python3-venv`, otherwise run this script with a complete Python 3.10 or newer"
        )
    return inside_venv(target)


def inside_venv(target: Path) -> Path:
    return target / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
