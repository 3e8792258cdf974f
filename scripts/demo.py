"""A photo becomes a video in a real ComfyUI: [photo] [--out FOLDER] [--overwrite] [--timeout SECONDS]."""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036  older ones still get this far
    sys.exit("this needs Python 3.10 or newer; this one is " + sys.version.split()[0])
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clients import command, graph, local  # noqa: E402
from clients.comfyui import Client  # noqa: E402
from scripts import cache, environment, host, server  # noqa: E402

SAMPLE = cache.ROOT / "assets" / "sample.jpg"
EMBEDDED = cache.ROOT / "svd_core" / "nano" / "svd_nano.safetensors"
STAND_IN = "random-stand-in.safetensors"
_MAKE_STAND_IN = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.make_checkpoint import write_checkpoint
write_checkpoint(sys.argv[2], preset={"name": "stand-in", "frames": 8, "width": 192, "height": 128})
"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Turn a photo into a video in a real ComfyUI.")
    parser.add_argument(
        "photo",
        nargs="?",
        type=Path,
        default=SAMPLE,
        help="default: the sample photo; each frame of a GIF or WebP makes a video, of a TIFF the first page",
    )
    command.add_target(parser, None, "default: a folder in the cache")
    command.add_options(parser)
    args = parser.parse_args(arguments)
    if not os.path.isfile(args.photo):
        raise SystemExit(f"{args.photo} is not a file; give a photo, or nothing for the sample")
    try:
        prompt = graph.read(graph.WORKFLOW)
        graph.loaders(prompt, args.photo.name)
        out = (args.out or cache.folder() / "videos").absolute()
        spares = (cache.folder() / "videos", Path(tempfile.gettempdir()))
        target = replace(local.target(out, overwrite=args.overwrite), spares=spares)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    found = host.find()
    python = environment.prepare(found, tests=False)
    with server.temporary_base() as base, server.explained(base, "the video was not made"):
        if not EMBEDDED.is_file():
            use_stand_in(prompt, base, python)
        cpu = not environment.has_accelerator(python)
        cache.say(f"starting ComfyUI {found.version} on the {'CPU' if cpu else 'GPU'}")
        with server.running(found.path, base, python=python, cpu=cpu) as client:
            make(client, prompt, args.photo, target, args.timeout)
    return 0


def make(
    client: Client, prompt: graph.Graph, photo: Path, target: local.Target, timeout: float | None
) -> None:
    """Upload, queue, follow, download; the file is named after the photo and the time."""
    name = f"{Path(local.safe_name(photo.name)).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    for path in command.make(client, prompt, photo, target, name=name, timeout=timeout):
        cache.say(f"video: {path}")


def use_stand_in(prompt: graph.Graph, base: Path, python: Path) -> None:
    """Point the loaders at a reduced-width checkpoint with random weights, and say what to expect of it."""
    path = base / "models" / "checkpoints" / STAND_IN
    cache.say(
        "no trained checkpoint in this pack yet: using random weights of reduced width.\n"
        "The video will be noise; it shows that every step runs, not what the model can do."
    )
    cache.run(python, "-c", _MAKE_STAND_IN, cache.ROOT, path, env=cache.clean())
    for node in prompt.values():
        if "ckpt_name" in node["inputs"]:
            node["inputs"]["ckpt_name"] = STAND_IN


if __name__ == "__main__":
    command.run(main)
