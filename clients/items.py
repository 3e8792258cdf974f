"""What a batch is made of: items, each a photo, settings and a seed, with an id from their content."""

import hashlib
import itertools
import json
import mimetypes
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients import local
from clients.publish import ID

FORM = 1  # changes where the same item would no longer give the same result
BLOCK = 2**20


@dataclass(frozen=True)
class Item:
    """One video to make. `recipe` says all that decides its content; the id is its hash."""

    photo: Path
    digest: str  # SHA-256 of the photo's bytes
    settings: dict[str, Any] = field(hash=False)
    seed: int | None
    id: str

    @property
    def name(self) -> str:
        """The photo's name for people, then the id."""
        return f"{Path(local.safe_name(self.photo.name)).stem}-{self.id}"

    def read(self) -> bytes:
        """The photo's bytes, if they are still those that the id was made from."""
        try:
            data = self.photo.read_bytes()
        except OSError as error:
            raise ValueError(f"{self.photo} cannot be read ({error.strerror}); put it back") from error
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise ValueError(
                f"{self.photo} has changed since the batch began; start again to use it as it is"
            )
        return data


def photos(given: Sequence[Path]) -> list[Path]:
    """The photos named, and those inside of folders named, in order."""
    found: list[Path] = []
    for path in given:
        if os.path.isdir(path):
            inside = [file for file in sorted(path.iterdir()) if is_photo(file)]
            if not inside:
                raise ValueError(f"{path} holds no photo; choose a folder with .jpg, .png or .webp files")
            found += inside
        elif os.path.isfile(path):
            found.append(path)
        else:
            raise ValueError(f"{path} is not there; give photos, or a folder of photos")
    return found


def is_photo(path: Path) -> bool:
    kind = mimetypes.guess_type(path.name)[0] or ("image/webp" if path.suffix.lower() == ".webp" else "")
    return kind.startswith("image/") and kind != "image/svg+xml" and path.is_file() and path.name[0] != "."


def plan(
    found: Iterable[Path],
    settings: Sequence[dict[str, Any]],
    seeds: Sequence[int | None],
    maker: dict[str, Any],
) -> list[Item]:
    """Every photo with every one of the settings and seeds, once; photos of one content are one photo.

    `maker` is what else decides a result: the checkpoint, or the workflow.
    """
    items: dict[str, Item] = {}
    for photo in found:
        sha = digest(photo)
        for values, seed in itertools.product(settings, seeds):
            recipe = {"form": FORM, "photo": sha, "settings": values, "seed": seed, **maker}
            key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:ID]
            items.setdefault(key, Item(photo, sha, values, seed, key))
    return list(items.values())


def choices(words: Sequence[str]) -> list[dict[str, str]]:
    """NAME=VALUE, given once or several times for a name -> every combination of the values given."""
    values: dict[str, list[str]] = {}
    for word in words:
        name, given, value = word.partition("=")
        if not given or not name.strip():
            raise ValueError(f"{word!r} sets nothing; write it as NAME=VALUE, such as steps=20")
        values.setdefault(name.strip(), []).append(value)
    return [dict(zip(values, chosen)) for chosen in itertools.product(*values.values())]


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's files and their names."""
    found = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if os.path.isdir(path) else [path]
    for file in files:
        if file != path:
            found.update(f"\0{file.relative_to(path).as_posix()}\0".encode())
        try:
            with open(file, "rb") as data:
                while block := data.read(BLOCK):
                    found.update(block)
        except OSError as error:
            raise ValueError(f"{file} cannot be read ({error.strerror}); choose another file") from error
    return found.hexdigest()
