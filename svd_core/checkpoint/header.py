"""Safetensors files: the header is checked here, in bounded time and memory, before anything is mapped.

Every fault is one `ValueError` that names the file, what was found and what to do.
"""

from __future__ import annotations

import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError, safe_open
from torch import Tensor

MAX_HEADER = 8 << 20  # bytes; a released checkpoint has 0.35 MB, one saved by ComfyUI also its workflow
MAX_TENSORS = 20_000  # a released checkpoint has 2,446
MAX_BRACKETS = 1 << 20  # bounds the memory that a hostile header takes
MAX_RANK = 8
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
AGAIN = "download it again"
_PICKLE = (
    "is a pickle, which can run code when it is opened; download the .safetensors version, or convert it "
    "once: load it with torch.load(file, map_location='cpu', weights_only=True) and save its state dict with "
    "safetensors.torch.save_file"
)
# What other files begin with; the first match wins.
_MAGIC = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the weights; run `git lfs pull`"),
    (b"PK\x03\x04", _PICKLE),
    (b"\x80\x02", _PICKLE),
    (b"\x80\x03", _PICKLE),
    (b"\x80\x04", _PICKLE),
    (b"\x80\x05", _PICKLE),
    (b"GGUF", "is a GGUF file; use the .safetensors version"),
    (b"\x89HDF", "is an HDF5 file; use the .safetensors version"),
    (b"\x1f\x8b", "is a gzip archive; unpack it and choose the .safetensors file inside"),
    (b"7z\xbc\xaf", "is a 7z archive; unpack it and choose the .safetensors file inside"),
    (b"Rar!", "is a RAR archive; unpack it and choose the .safetensors file inside"),
    (b"<", f"is a web page saved in place of the weights; log in or accept the licence there and {AGAIN}"),
    (b"{", "is a JSON text, not weights; choose the .safetensors file beside it"),
)


@dataclass(frozen=True)
class Header:
    """What a file says of itself: tensor name -> (dtype, shape), and its metadata."""

    tensors: dict[str, tuple[str, tuple[int, ...]]]
    metadata: dict[str, str]


def show(name: str) -> str:
    """A name from a file, short and on one line."""
    plain = "".join(c if c.isprintable() else "?" for c in name[:121])
    return plain if len(plain) <= 120 else plain[:120] + "…"


def check_exists(path: str | os.PathLike[str]) -> os.stat_result:
    """`os.stat`, with its failures as sentences."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        remedy = "check the path and its permissions"
        raise ValueError(f"{show(str(path))} cannot be opened ({reason}); {remedy}") from None
    if os.path.islink(path):
        target = show(os.readlink(path))
        raise ValueError(
            f"{path} is a link to {target}, which does not exist; restore the target or remove it"
        )
    remedy = "it may have been moved or deleted: refresh the list of files"
    raise ValueError(f"{show(str(path))} does not exist; {remedy}")


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read and check the header of a safetensors file; raises ValueError in a sentence for any other file."""
    info = check_exists(path)
    if not stat.S_ISREG(info.st_mode):
        what = "a folder" if stat.S_ISDIR(info.st_mode) else "not a regular file"
        raise ValueError(f"{path} is {what}; choose a .safetensors file")
    try:
        with open(path, "rb") as file:
            raw = _raw_header(Path(path), file, info.st_size)
    except OSError as problem:
        raise ValueError(f"{path} cannot be read ({problem.strerror}); check its permissions") from None
    return _parse(Path(path), raw, info.st_size - 8 - len(raw))


def _raw_header(path: Path, file: BinaryIO, size: int) -> bytes:
    start = file.read(512)
    length = int.from_bytes(start[:8], "little")
    if size >= 10 and 2 <= length <= MAX_HEADER and start[8:9] == b"{":
        if length > size - 8:
            found = f"{size:,} of at least {length + 8:,} bytes"
            raise ValueError(f"{path} is cut off inside its header: {found}; {AGAIN}")
        file.seek(8)
        return file.read(length)
    if size == 0:
        raise ValueError(f"{path} is empty (0 bytes); {AGAIN}")
    for magic, what in _MAGIC:
        if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(magic):
            raise ValueError(f"{path} {what}")
    if path.suffix.lower() in PICKLES:
        raise ValueError(f"{path} {_PICKLE}")
    if size < 10:
        raise ValueError(f"{path} is cut off: {size} bytes, less than any safetensors file; {AGAIN}")
    if start[8:9] == b"{" or length < 2:
        limit = f"a header of {length:,} bytes; allowed are 2 to {MAX_HEADER:,}"
        raise ValueError(f"{path} is damaged: it announces {limit}; {AGAIN}")
    raise ValueError(f"{path} is not a safetensors file (it has no header); {AGAIN} or choose another file")


def _parse(path: Path, raw: bytes, payload: int) -> Header:
    for mark, limit, what in ((b'"data_offsets"', MAX_TENSORS, "tensors"), (b"[", MAX_BRACKETS, "lists")):
        if raw.count(mark) > limit:
            found = f"{raw.count(mark):,} {what} in its header, allowed are {limit:,}"
            raise ValueError(f"{path} is not an SVD checkpoint: {found}; choose another file")
    try:
        header = json.loads(raw, object_pairs_hook=_no_twins, parse_int=_short_int)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"{path} has a damaged header ({show(str(problem))}); {AGAIN}") from None
    metadata = header.pop("__metadata__", {})
    if not (isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())):
        raise ValueError(f"{path} has a damaged header (metadata must be text); {AGAIN}")
    spans, tensors = [], {}
    for name, entry in header.items():
        dtype, shape, start, end = _entry(path, name, entry)
        tensors[name] = dtype, shape
        spans.append((start, end, name))
    _check_spans(path, sorted(spans), payload)
    return Header(tensors, metadata)


def _short_int(digits: str) -> int:
    return int(digits) if len(digits) <= 20 else -1  # refused below; no sane size has more digits


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for name, value in pairs:
        if name in names:
            raise ValueError(f"{name} appears twice")
        names[name] = value
    return names


def _entry(path: Path, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    fault = f"{path} has a damaged header: tensor {show(name)}"
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise ValueError(f"{fault} lacks its dtype, shape or offsets; {AGAIN}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        found = f"{show(name)} as {show(str(dtype))}"
        raise ValueError(f"{path} stores {found}; use an fp32, fp16, bf16 or plain fp8 version")
    sizes: list[int] = shape if isinstance(shape, list) else [-1]
    if len(sizes) > MAX_RANK or not all(type(n) is int and 0 <= n < 1 << 40 for n in sizes):
        raise ValueError(f"{fault} has an impossible shape {show(str(shape))}; {AGAIN}")
    if not (
        isinstance(offsets, list) and len(offsets) == 2 and all(type(n) is int and n >= 0 for n in offsets)
    ):
        raise ValueError(f"{fault} has impossible offsets {show(str(offsets))}; {AGAIN}")
    start, end = offsets
    needed = math.prod(sizes) * BITS[dtype] // 8
    if end - start != needed or math.prod(max(n, 1) for n in sizes) >= 1 << 48:
        found = f"{end - start:,} bytes for shape {sizes} in {dtype}, which takes {needed:,}"
        raise ValueError(f"{fault} claims {found}; {AGAIN}")
    return dtype, tuple(sizes), start, end


def _check_spans(path: Path, spans: list[tuple[int, int, str]], payload: int) -> None:
    at = 0
    for start, end, name in spans:
        if start != at:
            what = "overlaps another" if start < at else "leaves a gap before it"
            raise ValueError(f"{path} has a damaged header: tensor {show(name)} {what}; {AGAIN}")
        at = end
    if at > payload:
        raise ValueError(f"{path} is cut off: it holds {payload:,} of {at:,} bytes of tensors; {AGAIN}")
    if at < payload:
        raise ValueError(f"{path} is damaged: {payload - at:,} bytes follow its last tensor; {AGAIN}")


def open_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, memory-mapped, and its metadata."""
    header = read_header(path)
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in header.tensors}, header.metadata
    except (SafetensorError, OSError, RuntimeError, KeyError) as problem:
        raise ValueError(f"{path} cannot be opened ({show(str(problem))}); {AGAIN}") from None


def read_json(path: str | os.PathLike[str], limit: int = MAX_HEADER) -> dict[str, Any]:
    """A small JSON object from a model folder."""
    size = check_exists(path).st_size
    if not os.path.isfile(path) or size > limit:
        raise ValueError(f"{path} is not a small JSON file ({size:,} bytes, allowed {limit:,}); {AGAIN}")
    try:
        content = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as problem:
        raise ValueError(f"{path} is not readable JSON ({show(str(problem))}); {AGAIN}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object; {AGAIN}")
    return content
