"""Pictures and animations of the host's templates (MIT), split by file name into training and judging."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

PACKAGES = tuple(
    f"comfyui_workflow_templates_media_{part}" for part in ("api", "assets_01", "image", "other", "video")
)
BADGED = "api_"  # these carry a badge in the uppermost 15 %
HELD_OUT = 26  # of 256: the share of file names that judge
NEAR = 0.5  # root mean square difference of two thumbnails of unit deviation, below which they are copies


def to_tensor(frames: np.ndarray) -> Tensor:
    """... H W 3 uint8 -> ... 3 H W float32 in [-1, 1]"""
    return torch.from_numpy(np.array(frames)).movedim(-1, -3).float() / 127.5 - 1


def judges(name: str) -> bool:
    """Whether a file of that name is held out: it is never trained on."""
    return hashlib.sha256(name.encode()).digest()[0] < HELD_OUT


def folders() -> list[Path]:
    """Where the installed packages keep their pictures."""
    specs = [find_spec(package) for package in PACKAGES]
    found = [Path(place) / "templates" for s in specs if s for place in s.submodule_search_locations or ()]
    if not found:
        raise ValueError(f"none of {', '.join(PACKAGES)} is installed; install comfyui-workflow-templates")
    return found


@cache
def files() -> tuple[Path, ...]:
    """Every different WebP picture of the library, ordered by name; of equal files the first."""
    found = sorted(
        (path for folder in folders() for path in folder.glob("*.webp")), key=lambda path: path.name
    )
    contents: dict[bytes, Path] = {}
    for path in found:
        contents.setdefault(hashlib.sha256(path.read_bytes()).digest(), path)
    return tuple(contents.values())


def square(image: Image.Image, *, size: int, badged: bool) -> np.ndarray:
    """The centre square, below the badge if there is one: size size 3 uint8."""
    image = image.convert("RGB")
    top = round(0.15 * image.height) if badged else 0
    side = min(image.width, image.height - top)
    x, y = (image.width - side) // 2, top + (image.height - top - side) // 2
    image = image.crop((x, y, x + side, y + side))
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0))


def read(path: Path, *, size: int) -> np.ndarray:
    """A picture, or the first frame of an animation: size size 3 uint8."""
    with Image.open(path) as image:
        return square(image, size=size, badged=path.name.startswith(BADGED))


def thumbnails(pictures: np.ndarray) -> np.ndarray:
    """n H W 3 uint8 -> n 768 of zero mean and unit deviation, to tell copies by."""
    small = [
        np.asarray(Image.fromarray(p).resize((16, 16), Image.Resampling.BOX), np.float32) for p in pictures
    ]
    flat = np.stack(small).reshape(len(small), -1)
    flat -= flat.mean(1, keepdims=True)
    return flat / (flat.std(1, keepdims=True) + 1e-6)


def copies(pictures: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Which pictures are near copies of one that judges: n bool."""
    a, b = thumbnails(pictures), thumbnails(held_out)
    square_distance = 2 - 2 * (a @ b.T) / a.shape[1]
    return square_distance.min(1) < NEAR**2


def stills(*, size: int, judging: bool) -> tuple[list[Path], np.ndarray]:
    """The first frame of every picture and animation of one half of the split:
    their files and n size size 3 uint8.

    Training pictures that nearly copy a judging one are left out.
    """
    found = [path for path in files() if judges(path.name) == judging]
    pictures = np.stack([read(path, size=size) for path in found])
    if judging:
        return found, pictures
    _, held_out = stills(size=64, judging=True)
    kept = np.flatnonzero(~copies(pictures, held_out))
    return [found[i] for i in kept], pictures[kept]
