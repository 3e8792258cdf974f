"""Clips of layered scenes under camera and object motion, with the true optical flow; a seed gives the clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import textures

FULL_SPEED = 0.04  # image widths a second at motion bucket 255; 1.5 pixels a frame at 256 pixels and 7 fps
FASTEST = 0.105  # the fastest cameras drawn


def motion_bucket(widths_per_frame, *, fps):
    """The conditioning value of a measured mean speed; floats or tensors."""
    bucket = widths_per_frame * fps * (255 / FULL_SPEED)
    return bucket.clamp(max=255.0) if isinstance(bucket, Tensor) else min(bucket, 255.0)


@dataclass
class Clip:
    """frames t 3 H W in [0, 1]; flow t-1 2 H W in pixels: where each pixel of frame i is in frame i+1."""

    frames: Tensor
    flow: Tensor

    @property
    def speed(self) -> Tensor:
        """Mean speed of each step in image widths a frame: t-1."""
        return self.flow.norm(dim=1).mean((1, 2)) / self.frames.shape[-1]


@dataclass
class Layer:
    """A texture (1 3 H W) on the plane; `shape` None covers everything; `depth` 1 is the background."""

    texture: Tensor
    depth: float
    to_world: np.ndarray  # t 3 3, layer coordinates (unit = half the image's width) to world
    shape: np.ndarray | None


def similarity(*, scale, angle, shift) -> np.ndarray:
    """... -> ... 3 3: rotate, scale, then shift (... 2)."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    zero, one = np.zeros_like(c), np.ones_like(c)
    return np.stack(
        [np.stack(row, -1) for row in ((c, -s, shift[..., 0]), (s, c, shift[..., 1]), (zero, zero, one))], -2
    )


@dataclass
class Camera:
    """One smooth movement: pan per unit progress, log zoom, roll about a centre, and the progress of each frame."""

    pan: np.ndarray
    zoom: float
    roll: float
    centre: np.ndarray
    progress: np.ndarray  # t

    def view(self, depth: float) -> np.ndarray:
        """World to screen at that depth, t 3 3: nearer layers pan faster."""
        p = self.progress
        turn = similarity(scale=np.exp(self.zoom * p), angle=self.roll * p, shift=np.zeros((len(p), 2)))
        there = similarity(scale=np.ones(1), angle=np.zeros(1), shift=-self.centre[None])
        back = similarity(scale=np.ones(1), angle=np.zeros(1), shift=self.centre[None])
        pan = similarity(scale=np.ones_like(p), angle=np.zeros_like(p), shift=self.pan * p[:, None] / depth)
        return pan @ back @ turn @ there


def draw_camera(rng: np.random.Generator, *, frames: int, speed: float) -> Camera:
    """A camera whose mean image speed is about `speed` half-widths a frame."""
    share = rng.dirichlet((1.2, 0.7, 0.35)) * speed
    angle = (
        rng.uniform(-0.35, 0.35) + np.pi * rng.integers(2)
        if rng.random() < 0.7
        else rng.uniform(0, 2 * np.pi)
    )
    pace = 1 + rng.uniform(0, 0.4) * np.cos(rng.uniform(0, 2 * np.pi) + np.linspace(0, np.pi, frames - 1))
    return Camera(
        pan=share[0] * np.array([np.cos(angle), np.sin(angle)]),
        zoom=share[1] / 0.75 * rng.choice((-1, 1)),  # 0.75 half-widths: the mean distance from the centre
        roll=share[2] / 0.75 * rng.choice((-1, 1)),
        centre=rng.normal(0, 0.15, 2),
        progress=np.concatenate([[0], np.cumsum(pace / pace.mean())]),
    )


def draw_shape(rng: np.random.Generator) -> np.ndarray:
    """A closed outline: radius at 64 angles, mean about 1; smooth blobs and cornered polygons."""
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    if rng.random() < 0.6:
        k = np.arange(1, 6)
        waves = np.cos(k * angles[:, None] + rng.uniform(0, 2 * np.pi, 5))
        return 1 + waves @ (rng.normal(0, 0.16, 5) / np.sqrt(k))
    corners = int(rng.integers(3, 7))
    normals = (np.arange(corners) + rng.uniform(-0.25, 0.25, corners)) * 2 * np.pi / corners
    facing = np.cos(angles[:, None] - normals).clip(0.05)
    return (rng.uniform(0.7, 1, corners) / facing).min(-1)


def draw_object(rng: np.random.Generator, *, frames: int, speed: float, size: int) -> Layer:
    """A textured shape at a random place and depth; half of them move by themselves."""
    radius, place = np.exp(rng.uniform(np.log(0.12), np.log(0.5))), rng.uniform(-0.9, 0.9, 2)
    own = speed * rng.uniform(0.3, 1.6) * (rng.random() < 0.5)
    heading = rng.uniform(0, 2 * np.pi)
    steps = np.arange(frames)
    shift = place + steps[:, None] * own * np.array([np.cos(heading), np.sin(heading)])
    angle = rng.uniform(0, 2 * np.pi) + steps * rng.normal(0, 0.4) * own
    texture = textures.draw_texture(rng, size=size // 2)
    light = np.linspace(1 + rng.uniform(-0.35, 0.35), 1, size // 2, dtype=np.float32)
    return Layer(
        texture=as_image(np.clip(texture * light[:, None, None], 0, 1)),
        depth=rng.uniform(0.45, 1.0),
        to_world=similarity(scale=np.full(frames, radius), angle=angle, shift=shift),
        shape=draw_shape(rng),
    )


def as_image(texture: np.ndarray) -> Tensor:
    """H W 3 -> 1 3 H W"""
    return torch.from_numpy(np.ascontiguousarray(texture.transpose(2, 0, 1)))[None]


def render(layers: list[Layer], camera: Camera, *, size: int) -> Clip:
    """Paint the layers from back to front in every frame, with each pixel's movement to the next frame."""
    frames = len(camera.progress)
    axis = (torch.arange(size, dtype=torch.float32) * 2 + 1) / size - 1
    screen = torch.stack([*reversed(torch.meshgrid(axis, axis, indexing="ij")), torch.ones(size, size)], -1)
    picture, flow = torch.zeros(frames, 3, size, size), torch.zeros(frames - 1, size, size, 2)
    for layer in layers:
        matrix = camera.view(layer.depth) @ layer.to_world
        inverse = torch.from_numpy(np.linalg.inv(matrix)).float()
        step = torch.from_numpy(matrix[1:] @ np.linalg.inv(matrix[:-1])).float()
        own = torch.einsum("tij,hwj->thwi", inverse, screen)[..., :2]
        seen = F.grid_sample(
            layer.texture.expand(frames, -1, -1, -1),
            own,
            mode="bilinear",
            padding_mode="reflection",
            align_corners=False,
        )
        alpha = coverage(layer, own, size=size)
        picture = torch.lerp(picture, seen, alpha[:, None])
        move = torch.einsum("tij,hwj->thwi", step - torch.eye(3), screen)[..., :2] * (size / 2)
        flow = torch.where(alpha[:-1, ..., None] > 0.5, move, flow)
    return Clip(frames=picture, flow=flow.permute(0, 3, 1, 2))


def coverage(layer: Layer, own: Tensor, *, size: int) -> Tensor:
    """How much of each pixel the layer covers: own t H W 2 -> t H W, with antialiased edges."""
    if layer.shape is None:
        return torch.ones(own.shape[:-1])
    outline = torch.from_numpy(np.append(layer.shape, layer.shape[0])).float()
    place = (torch.atan2(own[..., 1], own[..., 0]) / (2 * np.pi) % 1.0) * (len(outline) - 1)
    i = place.long().clamp(max=len(outline) - 2)
    radius = torch.lerp(outline[i], outline[i + 1], place - i)
    pixels = float(np.abs(np.linalg.det(layer.to_world[0])) ** 0.5) * size / 2
    return ((radius - own.norm(dim=-1)) * pixels + 0.5).clamp(0, 1)


def draw_clip(seed: int, *, frames: int, size: int) -> Clip:
    """The clip of that seed: a background, up to four objects, one camera movement."""
    rng = np.random.default_rng(seed)
    fastest = 2 * FASTEST / 7  # half-widths a frame at 7 fps
    speed = fastest * (0.0 if rng.random() < 0.06 else 1.1 * rng.random())
    moving = rng.random()  # how the speed is shared between camera and objects
    camera = draw_camera(rng, frames=frames, speed=speed * (0.15 if moving < 0.15 else 1.0))
    ground = similarity(scale=np.full(frames, 1.5), angle=np.zeros(frames), shift=np.zeros((frames, 2)))
    background = Layer(as_image(textures.draw_texture(rng, size=size * 3 // 2)), 1.0, ground, None)
    objects = [draw_object(rng, frames=frames, speed=speed, size=size) for _ in range(rng.integers(0, 5))]
    objects.sort(key=lambda layer: -layer.depth)
    return render([background, *objects], camera, size=size)
