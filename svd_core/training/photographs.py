"""Photographs of scikit-image and scikit-learn, split by file name into training and judging ones."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
TRAINING = (
    "brick.png",
    "china.jpg",
    "clock_motion.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "page.png",
    "retina.jpg",
)
WEIGHT = {
    "china.jpg": 5,
    "motorcycle_left.png": 4,
    "motorcycle_right.png": 3,
}  # the everyday scenes among them
JUDGING = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "flower.jpg",
    "moon.png",
    "rocket.jpg",
)


def find(name: str) -> Path:
    """The installed file of that name."""
    for package, folder in FOLDERS.items():
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(place) / folder / name
            if path.is_file():
                return path
    raise ValueError(
        f"photograph {name!r} was not found in {' or '.join(FOLDERS)}; install scikit-image and scikit-learn"
    )


@cache
def load(name: str) -> Image.Image:
    """The photograph in RGB at its own size."""
    with Image.open(find(name)) as image:
        return image.convert("RGB")


def square(name: str, *, size: int) -> np.ndarray:
    """The centre square of a photograph, resized: H W 3 uint8."""
    image = load(name)
    side = min(image.size)
    x, y = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.crop((x, y, x + side, y + side)).resize((size, size), Image.Resampling.LANCZOS))


def random_crop(rng: np.random.Generator, *, size: int) -> np.ndarray:
    """A random square of a training photograph, mirrored and regraded at random: H W 3 float32 in [0, 1]."""
    names = [name for name in TRAINING for _ in range(WEIGHT.get(name, 1))]
    image = load(names[rng.integers(len(names))])
    smallest, largest = min(0.75 * size, min(image.size)), min(image.size)
    side = smallest * (largest / smallest) ** rng.random()
    x, y = rng.random() * (image.width - side), rng.random() * (image.height - side)
    square = image.resize(
        (size, size), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side), reducing_gap=3.0
    )
    patch = np.asarray(square, np.float32) / 255
    if rng.random() < 0.5:
        patch = patch[:, ::-1]
    return regrade(rng, patch)


def regrade(rng: np.random.Generator, patch: np.ndarray) -> np.ndarray:
    """Random exposure, contrast, saturation and colour cast, as a camera and its light vary them."""
    grey = patch.mean(-1, keepdims=True)
    patch = grey + (patch - grey) * rng.uniform(0.6, 1.5)
    patch = 0.5 + (patch - 0.5) * rng.uniform(0.75, 1.2) + rng.normal(0, 0.06)
    patch = patch * np.exp(rng.normal(0, 0.12, 3)).astype(np.float32)
    return np.clip(patch, 0, 1).astype(np.float32)
