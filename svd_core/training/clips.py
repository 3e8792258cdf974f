"""python -m svd_core.training clips: a folder of videos -> labelled clips to train on."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ..quality import read
from . import collection, command, pictures, shots
from .camera import GUESS
from .scan import Settings, labelled, strips_of

VIDEOS = (".mp4", ".m4v", ".webm", ".mkv", ".mov", ".avi", ".gif", ".mpg", ".mpeg")
Say = Callable[[str], object]


def options(arguments: list[str]) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m svd_core.training clips",
        description="Find shots in a folder of videos, label windows of them (camera, speed, sharpness) and "
        "keep the good ones: DIR/clips.jsonl for `lora --clips`, and DIR/sheet.png to look at. Goes on where "
        "it was stopped.",
    )
    add = parser.add_argument
    add("folder", type=Path, help="videos, in folders of any depth; NAME.txt beside a video is its text")
    add("--out", type=Path, required=True, metavar="DIR", help="where clips.jsonl and the rest go")
    add("--frames", type=int, default=14, help="of a clip, as the model to train has (default: 14)")
    add("--fps", type=float, default=7.0, help="of a clip, about: every n-th frame is taken (default: 7)")
    add("--width", type=int, default=1024, help="pixels to train at (default: 1024)")
    add("--height", type=int, default=576, help="pixels to train at (default: 576)")
    add("--drop-motion", type=float, default=25.0, metavar="%", help="of the clips that move least")
    add("--drop-sharpness", type=float, default=12.5, metavar="%", help="of the clips least sharp")
    add("--every", type=int, default=2, help="measure every n-th pair of frames; 1 is exact (default: 2)")
    args = parser.parse_args(arguments)
    for name, least in (("frames", 2), ("width", 64), ("height", 64), ("every", 1)):
        if getattr(args, name) < least:
            raise ValueError(f"--{name} is {getattr(args, name)}; use at least {least}")
    if not collection.SLOWEST <= args.fps <= collection.FASTEST:
        raise ValueError(f"--fps is {args.fps:g}; use 5 to 30, as SVD was trained")
    for name in ("drop_motion", "drop_sharpness"):
        if not 0 <= getattr(args, name) < 100:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(args, name):g}; use 0 to 99")
    return args


def videos(folder: Path, out: Path) -> list[Path]:
    """Every video in the folder and those below, in the order of their names"""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; name one that holds videos")
    found = [
        p
        for p in sorted(folder.rglob("*"))
        if p.suffix.lower() in VIDEOS and p.is_file() and not p.name.startswith(".")
    ]
    found = [p for p in found if out.resolve() not in p.resolve().parents]
    if not found:
        raise ValueError(f"{folder} holds no video; put files such as {', '.join(VIDEOS[:4])} there")
    return found


def run(arguments: list[str], *, on_step: Callable[..., None] | None, say: Say) -> Path:
    """Label every video, and write DIR/clips.jsonl and DIR/sheet.png."""
    args = options(arguments)
    has = shots.has_scenedetect()
    settings = Settings(args.frames, args.fps, args.width, args.height, args.every, has)
    paths = videos(args.folder, args.out)
    if not has:
        say("PySceneDetect is not installed; cuts are found without it (pip install scenedetect-headless)")
    records: list[collection.Record] = []
    strips: collection.Strips = {}
    done = 0.0
    lengths = {path: _seconds(path) for path in paths}
    for path in paths:

        def hear(share: float, before: float = done, seconds: float = lengths[path]) -> None:
            if on_step:
                on_step(round(before + share * seconds), round(sum(lengths.values())), {})

        try:
            found = labelled(path, settings, args.out, hear)
        except (ValueError, OSError) as problem:
            say(f"{path.name} is left out: {problem}")
            continue
        finally:
            done += lengths[path]
        source, text = _relative(path, args.out), path.with_suffix(".txt")
        facts = {name: found[name] for name in ("sha256", "source_fps", "fps")} | {"source": source}
        if text.is_file():
            facts["text"] = text.read_text(encoding="utf-8", errors="replace").strip()
        records += [facts | window for window in found["windows"]]
        strips |= strips_of(found, source)
    records = collection.judged(
        records, width=args.width, motion=args.drop_motion, sharpness=args.drop_sharpness
    )
    collection.write(args.out / "clips.jsonl", records)
    pictures.save(args.out / "sheet.png", collection.sheet(records, strips))
    for line in told(records, args.out):
        say(line)
    return args.out / "clips.jsonl"


def told(records: list[dict], out: Path) -> list[str]:
    """What was found, in lines"""
    good = [r for r in records if r["kept"]]
    cameras = Counter(r["camera"] for r in good).most_common()
    reasons = Counter(r["reason"] for r in records if not r["kept"]).most_common(8)
    return [
        f"{len(good)} of {len(records)} clips kept: {', '.join(f'{n} {c}' for c, n in cameras) or 'none'}",
        *(f"dropped {n}: {why}" for why, n in reasons),
        GUESS,
        f"{out / 'clips.jsonl'} is for python -m svd_core.training lora --clips; look at {out / 'sheet.png'}",
    ]


def _seconds(path: Path) -> float:
    try:
        return max(1.0, read.length(path) or 1.0)
    except ValueError:
        return 1.0


def _relative(path: Path, out: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), out.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        return path.resolve().as_posix()


def main(arguments: list[str], *, on_step: Callable[..., None]) -> int:
    """The command; 1 and a sentence where something does not fit."""
    stopped = "the same command goes on with the video it was at"
    return command.ended(lambda: run(arguments, on_step=on_step, say=command.say), stopped=stopped)
