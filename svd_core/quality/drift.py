"""What the chunks of a long video did, in words and as a chart: how far each has drifted from the start."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image

from . import chart
from .chart import Panel
from .look import Look
from .report import rounded

if TYPE_CHECKING:
    from ..control.long import Drift

STILL, BLURRED, FAR = 0.2, 0.6, 0.25  # of the start's motion and sharpness; change of light and colour
SEEN = 0.05  # change of light and colour under which what the anchor left over cannot be seen
UNLIKE = 0.15  # fall of likeness to the photo
LOOKS = {"luma": "brightness", "contrast": "contrast", "saturation": "saturation", "sharpness": "detail"}


@dataclass(frozen=True)
class Row:
    """One chunk."""

    number: int  # from 1
    drift: Drift
    look: Look  # of its last frame
    likeness: float | None  # cosine of its last frame and the photo, as the image encoder sees them
    speed: float | None  # picture widths a second; None where what changes is not motion
    candidate: int = 0  # which beginning was chosen
    end: dict[str, float | None] | None = None  # how a closing chunk meets its picture


@dataclass(frozen=True)
class Course:
    """A long video from chunk to chunk; `first` is the look of its first frame."""

    first: Look
    rows: list[Row]
    frames: int
    fps: float
    told: list[str] = field(default_factory=list)  # what else is to be said of it
    faults: list[str] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)

    def share(self, row: Row, name: str) -> float | None:
        """Luma, contrast, saturation or sharpness of the chunk's last frame over the first frame's."""
        now, then = (getattr(look, LOOKS[name]) for look in (row.look, self.first))
        return now / then if then > 1e-6 else None

    @property
    def head(self) -> str:
        return f"{self.frames} frames at {self.fps:g} fps, {self.frames / self.fps:.2f} s"

    def text(self) -> str:
        """A line a chunk, warnings in words, and JSON in the last line."""
        rows = [line(self, row) for row in self.rows]
        return "\n".join([self.head, *rows, *self.told, *self.warnings(), json.dumps(self.json())])

    def json(self) -> dict[str, Any]:
        found = {"frames": self.frames, "fps": self.fps, "chunks": [self.entry(row) for row in self.rows]}
        return rounded(known({**found, **self.numbers, "warnings": self.warnings()}))

    def entry(self, row: Row) -> dict[str, Any]:
        shares = {name: self.share(row, name) for name in LOOKS}
        rest = {"likeness": row.likeness, "speed": row.speed, "candidate": row.candidate, "end": row.end}
        return {"chunk": row.number, **shares, **rest, **row.drift.__dict__}

    def warnings(self) -> list[str]:
        return [*self.faults, *warnings(self)]

    def chart(self) -> Image.Image:
        last = [line(self, self.rows[-1])] if self.rows else []
        return chart.page([self.head, *last, *self.told, *self.warnings()], panels(self))


def known(value: Any) -> Any:
    """The same without NaN and infinite numbers, which JSON has none of."""
    if isinstance(value, dict):
        return {key: known(item) for key, item in value.items()}
    if isinstance(value, list):
        return [known(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def line(course: Course, row: Row) -> str:
    shares = [(name, course.share(row, name)) for name in LOOKS]
    told = [
        ", ".join(f"{name} {100 * v:.0f} %" for name, v in shares if v is not None) + " of the first frame's"
    ]
    if row.likeness is not None:
        told.append(f"likeness to the photo {row.likeness:.3f}")
    told.append("motion unclear" if row.speed is None else f"motion {row.speed:.4f} widths/s")
    if row.drift.position is not None:
        told.append(f"join {row.drift.position:.2f} of a usual step")
    gains = ", ".join(f"{100 * (g - 1):+.1f}" for g in row.drift.gain)
    told.append(f"contrast {gains} % per channel before the anchor")
    if row.end is not None:
        told.append(f"end {100 * (row.end['last_error'] or 0):.2f} % off its picture")
    return f"chunk {row.number}: {'; '.join(told)}"


def warnings(course: Course) -> list[str]:
    """Each kind once, with the chunk that it begins at."""
    told: dict[str, str] = {}
    for before, row in zip([None, *course.rows], course.rows):
        for kind, sentence in found(course, before, row):
            told.setdefault(kind, f"chunk {row.number}: {sentence}")
    return list(told.values())


def found(course: Course, before: Row | None, row: Row) -> list[tuple[str, str]]:
    first, sharp = course.rows[0], course.share(row, "sharpness")
    shares = {name: course.share(row, name) for name in ("luma", "contrast", "saturation")}
    off = {name: share for name, share in shares.items() if share is not None and abs(share - 1) > SEEN}
    out = []
    if off and before is not None and before.drift.clamped and row.drift.clamped:
        out.append(("clamp", "colours drift faster than they are corrected; raise anchor, or lower next_cfg"))
    for name, share in off.items():
        if abs(share - 1) > FAR:
            out.append(
                (name, f"{name} is {100 * share:.0f} % of the first frame's; raise anchor, or lower next_cfg")
            )
    if row.drift.motion < STILL * first.drift.motion:
        out.append(("still", "hardly moves any more; raise motion_bucket_id, or try candidates 3"))
    if sharp is not None and sharp < BLURRED:
        out.append(("blur", "has become blurred; lower next_augmentation, or make a shorter video"))
    if row.likeness is not None and first.likeness is not None and first.likeness - row.likeness > UNLIKE:
        out.append(("unlike", "shows something else than the photo; set token to photo, or make it shorter"))
    return out


def panels(course: Course) -> list[Panel]:
    rows, along = course.rows, "chunks"
    if not rows:
        return []

    def shares(*names: str) -> tuple:
        return tuple((name, [1.0, *(course.share(row, name) for row in rows)]) for name in names)

    joins = tuple(
        (name, [getattr(row.drift, key) for row in rows])
        for name, key in (("step", "position"), ("turn", "bend"))
    )
    count = range(len(rows[0].drift.gain))
    gains = tuple((f"channel {c + 1}", [row.drift.gain[c] - 1 for row in rows]) for c in count)
    offsets = tuple((f"channel {c + 1}", [row.drift.offset[c] for row in rows]) for c in count)
    likeness = (("likeness to the photo", [None, *(row.likeness for row in rows)]),)
    looks = shares("luma", "contrast", "saturation")
    return [
        Panel("Last frames over the first frame", looks, 0.1, zero=False, mark=1.0, along=along),
        Panel(
            "Sharpness over the first frame's, likeness to the photo",
            (*shares("sharpness"), *likeness),
            0.2,
            zero=False,
            mark=1.0,
            along=along,
        ),
        Panel("Speed, picture widths a second", (("speed", [row.speed for row in rows]),), 0.01, along=along),
        Panel("Joins: step and turn over usual ones", joins, 1.0, mark=1.0, along=along),
        Panel("Contrast gained in a chunk, before the anchor", gains, 0.02, mark=0.0, along=along),
        Panel("Mean gained in a chunk, before the anchor", offsets, 0.02, mark=0.0, along=along),
    ]
