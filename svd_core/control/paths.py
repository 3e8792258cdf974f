"""What was drawn on a photo: paths that regions follow and points that stay,
as JSON in shares of the picture, 0..1.

{"paths": [{"points": [[x, y], ...], "polygon": [[x, y], ...], "radius": r, "turn": degrees, "scale": times},
...],
 "pins": [[x, y], ...]}. All but `points` may be left out, and a path may be its list of points alone.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

MOST_POINTS, MOST_PATHS = 500, 100
BEYOND = 1.0  # widths of the picture that a path may lead out of it
SMALLEST, LARGEST = 0.05, 20.0  # scale
EXAMPLE = '{"paths": [[[0.3, 0.5], [0.6, 0.5]]], "pins": []}'

Point = tuple[float, float]


@dataclass(frozen=True)
class Path:
    points: tuple[Point, ...]
    polygon: tuple[
        Point, ...
    ] = ()  # the region that moves; a disc around the first point where there is none
    radius: float | None = None  # of that disc, in shares of the shorter side
    turn: float = 0.0  # degrees clockwise over the whole path
    scale: float = 1.0  # size at its end, times


@dataclass(frozen=True)
class Drawing:
    paths: tuple[Path, ...] = ()
    pins: tuple[Point, ...] = ()


def parse(text: str) -> Drawing:
    """The JSON text of a drawing; empty is none. ValueError in one sentence for anything else."""
    if not text.strip():
        return Drawing()
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"paths is not JSON: {text.strip()[:40]!r}; write it as {EXAMPLE}") from None
    if isinstance(data, list):
        data = {"paths": data}
    if not isinstance(data, dict) or not set(data) <= {"paths", "pins", "version"}:
        raise ValueError(f"paths holds {str(data)[:60]}; write it as {EXAMPLE}")
    paths, pins = data.get("paths") or [], data.get("pins") or []
    for name, items in (("paths", paths), ("pins", pins)):
        if not isinstance(items, list) or len(items) > MOST_PATHS:
            found = len(items) if isinstance(items, list) else type(items).__name__
            raise ValueError(f"{name} holds {found}; use a list of at most {MOST_PATHS}")
    return Drawing(
        tuple(_path(entry, f"path {i + 1}") for i, entry in enumerate(paths)),
        tuple(_point(point, f"pin {i + 1}", beyond=0.0) for i, point in enumerate(pins)),
    )


def _path(entry: Any, where: str) -> Path:
    entry = {"points": entry} if isinstance(entry, list) else entry
    known = {"points", "polygon", "radius", "turn", "scale"}
    if not isinstance(entry, dict) or "points" not in entry or not set(entry) <= known:
        raise ValueError(
            f"{where} is {str(entry)[:60]}; give it points, and if you like {sorted(known - {'points'})}"
        )
    points = _points(entry["points"], where, least=2, beyond=BEYOND)
    _point(list(points[0]), f"the start of {where}", beyond=0.0)
    radius = entry.get("radius")
    return Path(
        points,
        (
            _points(entry.get("polygon") or [], f"the polygon of {where}", least=3, beyond=0.0)
            if entry.get("polygon")
            else ()
        ),
        None if radius is None else _number(radius, f"the radius of {where}", 0.001, 2.0),
        _number(entry.get("turn", 0.0), f"the turn of {where}", -3600.0, 3600.0),
        _number(entry.get("scale", 1.0), f"the scale of {where}", SMALLEST, LARGEST),
    )


def _points(items: Any, where: str, *, least: int, beyond: float) -> tuple[Point, ...]:
    if not isinstance(items, list) or not least <= len(items) <= MOST_POINTS:
        found = f"{len(items)} points" if isinstance(items, list) else str(items)[:40]
        found = "1 point" if found == "1 points" else found
        one = "; put a single point under pins" if least == 2 and found == "1 point" else ""
        raise ValueError(f"{where} has {found}, use {least} to {MOST_POINTS}{one}")
    return tuple(_point(item, where, beyond=beyond) for item in items)


def _point(item: Any, where: str, *, beyond: float) -> Point:
    if not isinstance(item, list) or len(item) != 2:
        raise ValueError(
            f"{where} holds {str(item)[:40]}; write a point as [x, y] in shares of the picture, 0 to 1"
        )
    x, y = (_number(value, where, -beyond, 1 + beyond) for value in item)
    return x, y


def _number(value: Any, where: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where} holds {str(value)[:40]}; use a number from {low:g} to {high:g}")
    if not low <= value <= high:
        raise ValueError(f"{where} holds {value:g}; use a number from {low:g} to {high:g}")
    return float(value)
