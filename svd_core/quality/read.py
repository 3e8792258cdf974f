"""Frames of a video file, or of a folder of pictures, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


class Clip:
    """Iterates over frames 3 H W in [0, 1]; `fps` is None where the source does not say."""

    def __init__(self, path: Path):
        if not path.exists():
            raise ValueError(f"there is no {path}; name a video file or a folder of pictures")
        self.path = path
        self.pictures = (
            sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES) if path.is_dir() else []
        )
        if path.is_dir() and not self.pictures:
            raise ValueError(
                f"{path} holds no picture; use a folder with files such as {', '.join(PICTURES[:4])}"
            )
        self.fps = None if path.is_dir() else rate(path)

    def __iter__(self) -> Iterator[Tensor]:
        return map(picture, self.pictures) if self.pictures else film(self.path)


def picture(path: Path) -> Tensor:
    """3 H W in [0, 1]"""
    with Image.open(path) as found:
        return tensor(np.array(found.convert("RGB")))


def tensor(x: np.ndarray) -> Tensor:
    return torch.from_numpy(x).movedim(-1, 0).float() / 255


def film(path: Path) -> Iterator[Tensor]:
    with opened(path) as source:
        for frame in source.decode(video=0):
            yield tensor(frame.to_ndarray(format="rgb24"))


def upright(path: Path, side: int | None = None) -> Iterator[tuple[float | None, np.ndarray]]:
    """Time in seconds and frame H W 3 uint8, as a player shows it: turned upright, with square pixels.

    A longer side above `side` pixels is reduced to it, with area averaging.
    """
    with opened(path) as source:
        stream = source.streams.video[0]
        aspect = stream.sample_aspect_ratio
        for frame in source.decode(stream):
            wide, high = frame.width * float(aspect or 1), float(frame.height)
            scale = min(1.0, side / max(wide, high)) if side else 1.0
            size = dict(width=max(1, round(wide * scale)), height=max(1, round(high * scale)))
            if (size["width"], size["height"]) == (frame.width, frame.height):
                size = {}
            x = frame.to_ndarray(format="rgb24", interpolation="AREA", **size)
            turn = round(getattr(frame, "rotation", 0) / 90) % 4
            yield frame.time, np.ascontiguousarray(np.rot90(x, turn))


def length(path: Path) -> float | None:
    """Seconds, as the file's head says"""
    with opened(path) as source:
        return source.duration / 1e6 if source.duration else None


def rate(path: Path) -> float | None:
    with opened(path) as source:
        found = source.streams.video[0].average_rate
        return float(found) if found else None


def opened(path: Path) -> Any:
    """An open file of PyAV, which comes with the host and is not a requirement of the core"""
    try:
        import av
    except ImportError as error:
        raise ValueError(f"{path.name} needs PyAV: pip install av, or pass a folder of pictures") from error
    try:
        source = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as a video ({error}); use a video file or a folder"
        ) from error
    if not source.streams.video:
        source.close()
        raise ValueError(f"{path} holds no picture track; use a video file or a folder of pictures")
    return source
