"""Textures with natural statistics: 1/f fractals and dead leaves, coloured from the training photographs."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from . import photographs

# opponent colours: luminance, blue-yellow, red-green; photographs vary most along the first
OPPONENT = np.array([[0.577, 0.577, 0.577], [0.408, 0.408, -0.816], [0.707, -0.707, 0.0]], np.float32)


def palette(rng: np.random.Generator, n: int) -> np.ndarray:
    """n colours that occur together in one training photograph: n 3 float32 in [0, 1]."""
    patch = photographs.random_crop(rng, size=24).reshape(-1, 3)
    return patch[rng.integers(len(patch), size=n)]


def pink_noise(rng: np.random.Generator, *, size: int, slope: float) -> np.ndarray:
    """A random field with amplitude spectrum f^-slope, zero mean, unit deviation: H W float32."""
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    f[0, 0] = 1.0
    shape = (size, size // 2 + 1)
    spectrum = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * f**-slope
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32)
    return field / (field.std() + 1e-6)


def fractal(rng: np.random.Generator, *, size: int) -> np.ndarray:
    """Clouds, stone, foliage: three pink fields along opponent colours around a natural colour, H W 3."""
    slope = rng.uniform(0.9, 1.8)
    fields = np.stack([pink_noise(rng, size=size, slope=slope) for _ in range(3)], -1)
    if rng.random() < 0.3:
        fields[..., 0] = 1.5 * np.abs(fields[..., 0]) - 1  # ridges
    contrast = rng.uniform(0.04, 0.2) * np.array([1, 0.3, 0.15], np.float32) * rng.uniform(0.3, 1.3, 3)
    image = (fields * contrast.astype(np.float32)) @ OPPONENT * 1.7 + palette(rng, 1)[0]
    if rng.random() < 0.5:  # a slow change of light over the picture, as in a sky
        ramp = np.linspace(-1, 1, size, dtype=np.float32)
        image = image + (palette(rng, 1)[0] - 0.5) * rng.uniform(0.1, 0.5) * ramp[:, None, None]
    return np.clip(image, 0, 1).astype(np.float32)


def dead_leaves(rng: np.random.Generator, *, size: int) -> np.ndarray:
    """Opaque shapes with power-law radii laid over each other: the edges and occlusions of natural scenes, H W 3."""
    scale = 2
    image = Image.new("RGB", (size * scale, size * scale), tuple(int(255 * c) for c in palette(rng, 1)[0]))
    draw = ImageDraw.Draw(image)
    n = int(rng.integers(40, 260))
    colours = (palette(rng, n) * 255).astype(int)
    radii = np.sort(size * scale * np.clip(0.03 * (1 - rng.random(n)) ** -0.7, 0, 0.4))[::-1]
    for colour, radius in zip(colours, radii):
        x, y = rng.random(2) * size * scale
        corners = int(rng.integers(3, 9))
        angles = np.sort(rng.random(corners)) * 2 * np.pi
        points = [(x + radius * np.cos(a), y + radius * np.sin(a) * rng.uniform(0.5, 1)) for a in angles]
        if corners > 6:
            draw.ellipse(
                (x - radius, y - radius * 0.7, x + radius, y + radius * 0.7), fill=tuple(colour.tolist())
            )
        else:
            draw.polygon(points, fill=tuple(colour.tolist()))
    leaves = np.asarray(image.reduce(scale), np.float32) / 255
    grain = pink_noise(rng, size=size, slope=rng.uniform(0.6, 1.4))[..., None]
    return np.clip(leaves * (1 + rng.uniform(0, 0.15) * grain), 0, 1).astype(np.float32)


def draw_texture(rng: np.random.Generator, *, size: int) -> np.ndarray:
    """A photograph's crop half of the time, else dead leaves or a fractal: H W 3 float32 in [0, 1]."""
    kind = rng.random()
    if kind < 0.5:
        return photographs.random_crop(rng, size=size)
    return dead_leaves(rng, size=size) if kind < 0.75 else fractal(rng, size=size)
