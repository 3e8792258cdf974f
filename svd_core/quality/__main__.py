"""Measure a clip, or compare two: python -m svd_core.quality FILE|FOLDER [OTHER]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .chart import draw
from .measures import measure
from .read import Clip, picture
from .report import Report, as_json, compared, summary

FPS = 7.0  # of a folder of pictures, as Stable Video Diffusion is trained


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        reports = [measured(path, options) for path in (options.clip, options.other) if path]
        for path, report in zip((options.clip, options.other), reports):
            say(as_json(report) if options.json else "\n".join((f"# {path}", *summary(report), "")))
        if len(reports) == 2 and not options.json:
            say("\n".join(compared(*reports)))
        if options.chart:
            draw(reports[0]).save(options.chart)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m svd_core.quality", description=__doc__)
    made.add_argument(
        "clip", type=Path, help="a video file, or a folder of pictures in the order of their names"
    )
    made.add_argument("other", type=Path, nargs="?", help="a second one to compare with")
    made.add_argument("--photo", type=Path, help="the picture that the clip was made from")
    made.add_argument("--fps", type=float, help=f"frames a second, if not the file's own; folders: {FPS:g}")
    made.add_argument("--loop", action="store_true", help="measure the seam from the last frame to the first")
    made.add_argument("--json", action="store_true", help="print the whole report")
    made.add_argument("--chart", type=Path, help="write a chart of the first clip to this picture file")
    return made


def measured(path: Path, options: argparse.Namespace) -> Report:
    clip = Clip(path)
    photo = picture(options.photo) if options.photo else None
    return measure(clip, fps=options.fps or clip.fps or FPS, loop=options.loop, reference=photo)


if __name__ == "__main__":
    sys.exit(main())
