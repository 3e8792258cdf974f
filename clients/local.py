"""Files on this machine: where results go, and names that are taken stay."""

import contextlib
import itertools
import os
import tempfile
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

VIDEO = (".mp4", ".webm", ".webp", ".mov", ".mkv", ".gif")
NAME, STEM, SUFFIX = 240, 120, 16  # bytes; what is left of the usual 255 is room for numbers and times
UNSAFE = '<>:"/\\|?*[]{};%'


@dataclass(frozen=True)
class Target:
    """Where results go: into a folder, under a name if one was chosen; into a spare one where that fails."""

    folder: Path
    name: str | None = None
    overwrite: bool = False
    spares: tuple[Path, ...] = ()
    made: set[Path] = field(default_factory=set)  # what this run wrote is not overwritten by more of it

    def named(self, made: str, name: str | None = None) -> str:
        """The name for a file that the server calls `made`; it keeps its own suffix."""
        stem = Path(self.name).stem if self.name else name
        return f"{stem}{Path(made).suffix}" if stem else made


def target(out: Path, *, overwrite: bool = False) -> Target:
    """`out` as a writable place for videos: a folder, made where it is missing, or a video's name."""
    is_name = not os.path.isdir(out) and out.suffix.lower() in VIDEO
    folder = out.parent if is_name else out
    if os.path.isfile(out) and not is_name:
        raise ValueError(f"{out} is a file; give a folder, or a name that ends in one of {' '.join(VIDEO)}")
    if is_name and len(os.fsencode(out.name)) > NAME:
        raise ValueError(
            f"the name {out.name[:40]}... is too long for a file and a number; use {NAME} bytes at most"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"nothing can be written to {out} ({why}); choose another place") from error
    return Target(folder, out.name if is_name else None, overwrite)


def safe_name(name: str) -> str:
    """A file name as any system, and a server's upload, takes it: letters stay, whatever their script."""
    name = name.replace("\\", "/").rpartition("/")[2]
    kept = [
        (
            "_"
            if character in UNSAFE or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
            else character
        )
        for character in name
    ]
    path = Path("".join(kept).strip(". ") or "file")
    return _short(path.stem, STEM) + _short(path.suffix, SUFFIX)


def _short(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


@contextlib.contextmanager
def writing(path: Path, *, overwrite: bool = False) -> Iterator[tuple[BinaryIO, Path]]:
    """A file to fill and the path it will have: complete at the end, gone where the writing fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path if overwrite else reserve(path)
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with open(part, "xb") as file:
            yield file, made
        os.replace(part, made)
    except BaseException:
        part.unlink(missing_ok=True)
        if not overwrite:
            made.unlink()
        raise


def reserve(path: Path) -> Path:
    """An empty file under this name, or the next free one: a.mp4, a-2.mp4, a-3.mp4."""
    for number in itertools.count(1):
        free = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        with contextlib.suppress(FileExistsError):
            open(free, "xb").close()
            return free
    raise AssertionError("there is always another number")
