"""One film -> its cuts and labelled windows, kept in a file so that no film is seen twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..quality import read
from . import collection, pictures, shots
from .labels import label

RULES = 1  # raised when the same film would be labelled otherwise
SIDE = 1024  # pixels of the longer side at which a film is labelled
LOOKING = 0.2  # share of the time that cuts take


@dataclass(frozen=True)
class Settings:
    """What labels depend on."""

    frames: int
    fps: float
    width: int
    height: int
    every: int
    scenedetect: bool
    rules: int = RULES

    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]


def digest(path: Path) -> str:
    """SHA-256 of a file"""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def scan(
    path: Path, settings: Settings, on_share: Callable[[float], object]
) -> tuple[dict, list[Image.Image]]:
    """Cuts and labelled windows of one film, and a strip of pictures for each window.

    `on_share` hears how much of it is done, 0 to 1.
    """
    fps = read.rate(path) or 0.0
    if not fps > 0:
        raise ValueError(f"{path} does not say how fast it plays; write it anew with a frame rate")
    expected = max(1.0, (read.length(path) or 1.0) * fps)

    def heard() -> Iterator[np.ndarray]:
        for i, frame in enumerate(shots.steady(path, fps, shots.SIDE)):
            on_share(LOOKING * min(1.0, i / expected))
            yield frame

    cuts, n = shots.cuts(heard(), fps)
    stride = shots.stride_of(fps, settings.fps)
    found, starts = [], []
    for a, b in shots.shots(cuts, n):
        here = shots.windows(a, b, frames=settings.frames, stride=stride)
        starts += here
        if not here:
            found.append(_too_short(a, b, settings.frames, stride))
    strips = []
    for k, (start, frames, scale) in enumerate(windows(path, fps, starts, settings.frames, stride)):
        facts = label(frames, fps=fps / stride, aspect=settings.width / settings.height, every=settings.every)
        strips.append(collection.strip(frames, facts["crop"]))
        facts["crop"] = [int(v * scale) for v in facts["crop"]]
        found.append({"start": start, "stride": stride, "frames": settings.frames} | facts)
        on_share(LOOKING + (1 - LOOKING) * (k + 1) / len(starts))
    facts = {"seconds": round(n / fps, 3), "source_fps": fps, "fps": fps / stride, "cuts": cuts}
    return facts | {"windows": found}, strips


def _too_short(a: int, b: int, frames: int, stride: int) -> dict:
    why = f"a shot of {b - a} frames, {(frames - 1) * stride + 1} are needed"
    nothing: dict = dict(crop=[0, 0, 0, 0], camera="static", travel={}, speed=0.0, bucket=0.0, scores={})
    return {"start": a, "stride": stride, "frames": 0} | nothing | {"reason": why}


def windows(
    path: Path, fps: float, starts: list[int], frames: int, stride: int
) -> Iterator[tuple[int, list[np.ndarray], float]]:
    """Each window's first frame, its frames H W 3 uint8, and how much larger than those the film is"""
    waiting, now = list(starts), []
    if not waiting:
        return
    _, whole = next(read.upright(path))
    for i, frame in enumerate(shots.steady(path, fps, SIDE)):
        if i >= waiting[0] and (i - waiting[0]) % stride == 0:
            now.append(frame)
        if len(now) == frames:
            yield waiting.pop(0), now, whole.shape[1] / frame.shape[1]
            now = []
        if not waiting:
            return


def labelled(path: Path, settings: Settings, out: Path, on_share: Callable[[float], object]) -> dict:
    """What `scan` finds, from its file where that was written before; strips lie beside it."""
    sha = digest(path)
    place = out / "sources" / f"{sha[:16]}-{settings.key()}.json"
    if not place.is_file():
        found, strips = scan(path, settings, on_share)
        if strips:
            page = Image.new("RGB", (strips[0].width, sum(s.height for s in strips)))
            for i, s in enumerate(strips):
                page.paste(s, (0, i * s.height))
            pictures.save(place.with_suffix(".png"), page)
        collection.write_text(place, json.dumps({"sha256": sha} | found))
    return json.loads(place.read_text(encoding="utf-8")) | {"place": place}


def strips_of(found: dict, source: str) -> dict[tuple[str, int], Image.Image]:
    """The pictures that `labelled` wrote, by source and first frame"""
    starts = [w["start"] for w in found["windows"] if w["frames"]]
    if not starts:
        return {}
    with Image.open(found["place"].with_suffix(".png")) as page:
        high = page.height // len(starts)
        return {
            (source, s): page.crop((0, i * high, page.width, (i + 1) * high)) for i, s in enumerate(starts)
        }
