"""clips.jsonl: a labelled window of a film a line, kept or dropped for a reason, written and read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..checkpoint.whole import replace_file
from ..quality.report import LEAST_EXPLAINED
from .camera import MOVEMENTS
from .shots import steady

SLOWEST, FASTEST = 5.0, 30.0  # frames a second that SVD was trained on
STILL = 0.002  # picture widths a second, below which nothing moves
REPEATED = 0.25  # share of frames that only repeat the one before
UNSTEADY_LIGHT = 0.15  # of white, from the first frame to the last
CLIPPED = 0.3  # share of values at black or white
LEAST_SIZE = 0.5  # of the width to train at, below which a crop is mostly enlarged
CAMERAS = (*MOVEMENTS, "mixed")
EXAMPLES = 12  # of the kept, and of the dropped, on the sheet
CELL = 160  # pixels of the width of a picture on the sheet
Record = dict
Strips = dict[tuple[str, int], Image.Image]  # by source and first frame


def reason(record: Record, *, width: int) -> str | None:
    """Why a window is of no use whatever the others are; None where it is."""
    scores, fps = record["scores"], record["fps"]
    if not SLOWEST <= fps <= FASTEST:
        return f"{fps:.3g} frames a second, not {SLOWEST:g} to {FASTEST:g}"
    if record["crop"][2] < LEAST_SIZE * width:
        return f"{record['crop'][2]} pixels wide, less than half of {width}"
    if scores["cuts"]:
        return "a cut inside"
    if record["speed"] < STILL and record["camera"] == "static":
        return "nothing moves"
    if scores["repeated"] > REPEATED:
        return f"{scores['repeated']:.0%} of the frames repeat"
    if scores["explained"] is not None and scores["explained"] < LEAST_EXPLAINED:
        return "what changes is not motion"
    if abs(scores["light"]) > UNSTEADY_LIGHT:
        return f"brightness changes by {scores['light']:+.0%} of white"
    if scores["clipped"] > CLIPPED:
        return f"{scores['clipped']:.0%} black or white"
    return None


def judged(records: Sequence[Record], *, width: int, motion: float, sharpness: float) -> list[Record]:
    """The records with `kept` and `reason`; the lowest shares, in per cent, are dropped too."""
    found = [dict(r, reason=r.get("reason") or reason(r, width=width)) for r in records]
    passed = [r for r in found if not r["reason"]]
    for share, name in ((motion, "motion"), (sharpness, "sharpness")):
        value = (lambda r: r["speed"]) if name == "motion" else (lambda r: r["scores"]["sharpness"])
        for r in sorted(passed, key=value)[: math.floor(len(passed) * share / 100)]:
            r["reason"] = r["reason"] or f"among the {share:g} % with the least {name}"
    return [dict(r, kept=not r["reason"]) for r in found]


def write(path: Path, records: Sequence[Record]) -> None:
    """One line a record, whole or not at all."""
    text = "".join(json.dumps(r, ensure_ascii=False, allow_nan=False) + "\n" for r in records)
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """A text file in UTF-8, whole or not at all"""

    def fill(partial: Path) -> None:
        partial.write_text(text, encoding="utf-8")

    replace_file(path, fill)


def read(path: Path) -> list[Record]:
    """The records of a file that `write` made"""
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        for r in records:
            r["source"], r["start"], r["stride"], r["frames"], r["kept"]  # noqa: B018
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a list of clips ({type(error).__name__}: {error}); write one with python -m "
            "svd_core.training clips"
        ) from None
    return records


def kept(path: Path, camera: str | None = None) -> list[Record]:
    """The kept records, of one camera movement only where that is named"""
    found = [r for r in read(path) if r["kept"] and (camera is None or r["camera"] == camera)]
    if not found:
        what = "clip" if camera is None else f"clip of the camera movement {camera!r}"
        raise ValueError(f"{path} keeps no {what}; use other videos, or drop less with clips --drop-motion 0")
    return found


def footage(path: Path, records: Sequence[Record]) -> Iterator[tuple[Record, Tensor]]:
    """Each record with its frames t 3 H W in [0, 1], cropped, at the size of the film"""
    for source in dict.fromkeys(r["source"] for r in records):
        here = sorted((r for r in records if r["source"] == source), key=lambda r: r["start"])
        film = path.parent / source
        if not film.is_file():
            raise ValueError(f"{film} is missing, which {path.name} names; put it back or make the list anew")
        yield from _windows(film, here)


def _windows(film: Path, records: list[Record]) -> Iterator[tuple[Record, Tensor]]:
    waiting, now = list(records), []
    for i, frame in enumerate(steady(film, records[0]["source_fps"])):
        if not waiting:
            return
        r = waiting[0]
        if i >= r["start"] and (i - r["start"]) % r["stride"] == 0:
            x, y, w, h = r["crop"]
            now.append(torch.from_numpy(frame[y : y + h, x : x + w].copy()))
        if len(now) == r["frames"]:
            yield waiting.pop(0), torch.stack(now).movedim(-1, 1).float() / 255
            now = []


def strip(frames: Sequence[np.ndarray], box: Sequence[int]) -> Image.Image:
    """First, middle and last of frames H W 3 uint8, side by side, with the part that is used framed"""
    chosen = [Image.fromarray(frames[i]) for i in (0, len(frames) // 2, len(frames) - 1)]
    x, y, w, h = box
    for picture in chosen:
        line = max(1, round(picture.width / CELL * 2))
        ImageDraw.Draw(picture).rectangle((x, y, x + w - 1, y + h - 1), outline=(255, 200, 0), width=line)
    high = max(1, round(CELL * chosen[0].height / chosen[0].width))
    page = Image.new("RGB", (3 * CELL, high))
    for i, picture in enumerate(chosen):
        page.paste(picture.resize((CELL, high), Image.Resampling.BILINEAR), (i * CELL, 0))
    return page


def sheet(records: Sequence[Record], strips: Strips) -> Image.Image:
    """Kept clips on the left, dropped ones on the right, spread evenly over the collection"""
    columns = []
    for wanted in (True, False):
        those = [r for r in records if r["kept"] is wanted and (r["source"], r["start"]) in strips]
        columns.append(
            [those[i] for i in np.linspace(0, len(those) - 1, EXAMPLES).astype(int)] if those else []
        )
    columns = [list({id(r): r for r in column}.values()) for column in columns]
    high = 34 + max((strips[r["source"], r["start"]].height for c in columns for r in c), default=90)
    page = Image.new("RGB", (2 * (3 * CELL + 16), 24 + high * max(1, *map(len, columns))), "white")
    pen = ImageDraw.Draw(page)
    for k, (column, title) in enumerate(zip(columns, ("kept", "dropped"))):
        left = 8 + k * (3 * CELL + 16)
        count = sum(r["kept"] is (k == 0) for r in records)
        pen.text((left, 6), f"{title}: {count} of {len(records)}", "black")
        for i, r in enumerate(column):
            top = 24 + i * high
            page.paste(strips[r["source"], r["start"]], (left, top + 30))
            pen.text((left, top + 2), f"{os.path.basename(r['source'])}, frame {r['start']}", "black")
            said = r["reason"] or f"{r['camera']}, {r['speed']:.3f} widths/s, bucket {r['bucket']:.0f}"
            pen.text((left, top + 15), said.encode("latin-1", "replace").decode("latin-1"), "black")
    return page
