"""How many pages a TIFF file has, without a library."""

import struct
from pathlib import Path
from typing import BinaryIO

SUBFILE_TYPE = 254  # tag of what a directory holds; its bits 1 and 4 stand for a thumbnail and a mask
NOT_A_PAGE = 1 | 4
MOST = 10_000  # directories looked at


def pages(path: Path) -> int:
    """Pages of a TIFF or BigTIFF, thumbnails and masks left out; 1 of any other file."""
    with open(path, "rb") as file:
        try:
            return max(1, _count(file))
        except (struct.error, OSError, ValueError, OverflowError):  # cut short; the server says what is wrong
            return 1


def _count(file: BinaryIO) -> int:
    order = {b"II": "<", b"MM": ">"}.get(file.read(2), "")
    version = _number(file, order + "H") if order else 0
    if version not in (42, 43):
        return 1
    how_many, offset, size = ("Q", "Q", 20) if version == 43 else ("H", "I", 12)
    file.seek(8 if version == 43 else 4)
    at, seen, found = _number(file, order + offset), set[int](), 0
    while at and at not in seen and len(seen) < MOST:
        seen.add(at)
        file.seek(at)
        table = file.read(min(_number(file, order + how_many), 65535) * size)
        kinds = [_kind(order, table[i : i + size]) for i in range(0, len(table), size)]
        found += not any(kind & NOT_A_PAGE for kind in kinds)
        at = _number(file, order + offset)
    return found


def _kind(order: str, entry: bytes) -> int:
    """What a directory's entry says that the directory holds, 0 where it says something else."""
    tag, _ = struct.unpack_from(order + "HH", entry)
    if tag != SUBFILE_TYPE:
        return 0
    return int(struct.unpack_from(order + "I", entry, 8 if len(entry) == 12 else 12)[0])


def _number(file: BinaryIO, layout: str) -> int:
    return int(struct.unpack(layout, file.read(struct.calcsize(layout)))[0])
