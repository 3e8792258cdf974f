"""What a window of a film shows: the part to train on, the camera, how it moves and how good it looks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..frames.flow import luma
from ..quality import course
from ..quality.look import look
from ..quality.motion import Step, between
from ..quality.sizes import SIDE, reduced
from .camera import WIDTH, motion_bucket

LEAST = 0.02  # picture widths over a window, from which on a camera moves
BESIDE = 0.5  # share of the largest movement that another may have before the camera is called mixed
DARK = 0.05  # luma up to which a border is a bar
Box = tuple[int, int, int, int]  # x, y, width, height in pixels


@dataclass(frozen=True)
class Travel:
    """What the camera does over a window: mean displacements in picture widths, signed as in `MOVEMENTS`."""

    right: float
    down: float
    inwards: float
    clockwise: float
    path: float  # of all that it does, whatever the direction

    def name(self) -> str:
        """One of `camera.MOVEMENTS`, or mixed"""
        pairs = (("right", "left"), ("down", "up"), ("in", "out"), ("clockwise", "anticlockwise"))
        sums = (self.right, self.down, self.inwards, self.clockwise)
        sizes = sorted((abs(x) for x in sums), reverse=True)
        if max(sizes[0], self.path) < LEAST:
            return "static"
        if sizes[1] > BESIDE * sizes[0] or sizes[0] < BESIDE * self.path:
            return "mixed"
        k = max(range(4), key=lambda i: abs(sums[i]))
        return pairs[k][sums[k] < 0]


def travel(steps: list[Step], *, pairs: int, aspect: float) -> Travel:
    """Of a window of `pairs` neighbours, of which `steps` were measured; `aspect` is height / width."""
    known = [s for s in steps if not s.cut]
    each, radius = pairs / max(1, len(known)), mean_radius(aspect)

    def total(name: str) -> float:
        return each * sum(getattr(s.camera, name) for s in known)

    return Travel(
        right=total("pan"),
        down=-total("tilt"),
        inwards=radius * total("zoom"),
        clockwise=-radius * math.radians(total("roll")),  # the picture turns the other way
        path=each * sum(s.camera_speed for s in known),
    )


def mean_radius(aspect: float) -> float:
    """Mean distance of a picture's points from its centre, in widths"""
    x, y = torch.meshgrid(torch.linspace(-0.5, 0.5, 101), torch.linspace(-0.5, 0.5, 101), indexing="xy")
    return float((x**2 + (aspect * y) ** 2).sqrt().mean())


def inside_bars(x: Tensor) -> Box:
    """The picture without black bars, which are black in every frame: t 3 H W in [0, 1]"""
    bright = luma(x).amax((0, 1))
    spans = []
    for line in (bright.amax(0), bright.amax(1)):
        lit = (line > DARK).nonzero().flatten().tolist() or [0, len(line) - 1]
        spans.append((lit[0], lit[-1] + 1 - lit[0]))
    (left, wide), (top, high) = spans
    return left, top, wide, high


def framed(x: Tensor, box: Box, aspect: float) -> Box:
    """The largest part of `box` with `aspect` (width / height), nearest to the centre of motion: t 3 H W"""
    left, top, w, h = box
    wide, high = min(w, round(h * aspect)), min(h, round(w / aspect))
    change = (x[1:] - x[:-1]).abs().mean((0, 1))[top : top + h, left : left + w]
    change = (change - change.median()).clamp(min=0)  # noise and a moving camera are everywhere
    centre = []
    for side, axis in ((w, 0), (h, 1)):
        line = change.sum(axis)
        where = (
            float((line * (torch.arange(side) + 0.5)).sum() / line.sum()) if float(line.sum()) else side / 2
        )
        centre.append(where)
    along = [
        min(max(round(c - part / 2), 0), side - part)
        for c, part, side in ((centre[0], wide, w), (centre[1], high, h))
    ]
    return left + along[0], top + along[1], wide, high


@torch.no_grad()
def label(frames: list[np.ndarray], *, fps: float, aspect: float, every: int = 1) -> dict:
    """Crop, camera and scores of a window, t of H W 3 uint8: numbers, strings and lists only.

    Speeds are in widths of the crop a second; of the pairs of neighbours every `every`-th is measured.
    """
    x = torch.from_numpy(np.stack(frames)).movedim(-1, 1).float() / 255
    box = framed(x, inside_bars(x), aspect)
    left, top, wide, high = box
    x = x[..., top : top + high, left : left + wide]
    small = [reduced(frame, SIDE) for frame in x]
    steps = [between(small[i], small[i + 1]) for i in range(0, len(small) - 1, every)]
    known = [s for s in steps if not s.cut]
    moved = travel(steps, pairs=len(x) - 1, aspect=high / wide)
    speed = course.median([s.whole for s in known]) * fps if known else 0.0
    explained = [s.explained for s in known if s.explained is not None]
    looks = [look(x[i]) for i in (0, len(x) // 2, len(x) - 1)]
    return {
        "crop": list(box),
        "camera": moved.name(),
        "travel": {name: round(value, 5) for name, value in vars(moved).items()},
        "speed": round(speed, 5),
        "bucket": round(motion_bucket(speed * WIDTH / fps, fps=fps), 2),
        "scores": {
            "camera": round(course.median([s.camera_speed for s in known]) * fps, 5) if known else 0.0,
            "object": round(course.median([s.object_speed for s in known]) * fps, 5) if known else 0.0,
            "explained": round(course.median(explained), 4) if explained else None,
            "repeated": round(sum(s.still for s in steps) / len(steps), 4),
            "cuts": sum(s.cut for s in steps),
            "sharpness": round(course.median([k.detail for k in looks]), 7),
            "noise": round(course.median([k.noise for k in looks]), 5),
            "clipped": round(course.median([k.clipped for k in looks]), 5),
            "light": round(course.slope([float(luma(s).mean()) for s in small]) * (len(small) - 1), 5),
        },
    }
