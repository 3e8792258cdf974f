"""A photo becomes a video in a real ComfyUI: [photo] [--out FOLDER]."""

import argparse
import json
import signal
import sys
import time
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036  older ones still get this far
    sys.exit("this needs Python 3.10 or newer; this one is " + sys.version.split()[0])
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clients.puresvd_client import WORKFLOW, Client, Refused, set_photo, videos  # noqa: E402
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
    cache.use_utf8()
    parser = argparse.ArgumentParser(description="Turn a photo into a video in a real ComfyUI.")
    parser.add_argument("photo", nargs="?", type=Path, default=SAMPLE, help="default: the sample photo")
    parser.add_argument("--out", type=Path, help="folder for the video (default: a folder in the cache)")
    args = parser.parse_args(arguments)
    if not args.photo.is_file():
        raise SystemExit(f"{args.photo} is not a file; give a photo, or nothing for the sample")
    found = host.find()
    python = environment.prepare(found, tests=False)
    out = (args.out or cache.folder() / "videos").absolute()
    with server.temporary_base() as base:
        prompt = json.loads(WORKFLOW.read_text(encoding="utf-8"))
        if not EMBEDDED.is_file():
            use_stand_in(prompt, base, python)
        cpu = not environment.has_accelerator(python)
        cache.say(f"starting ComfyUI {found.version} on the {'CPU' if cpu else 'GPU'}")
        with server.running(found.path, base, python=python, cpu=cpu) as client:
            try:
                return make_video(client, prompt, args.photo, out)
            except Refused as error:
                log = server.tail(base / "server.log")
                raise SystemExit(f"{log}\n\nthe video was not made: {error}") from None


def make_video(client: Client, prompt: dict, photo: Path, out: Path) -> int:
    """Upload, queue, follow, download; the file is named after the photo and the time."""
    name = client.upload(photo)
    job = client.wait(client.queue(set_photo(prompt, name)), on_poll=show)
    for item in videos(job):
        file = client.download(item, out)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        cache.say(f"video: {file.replace(out / f'{photo.stem}-{stamp}{file.suffix}')}")
    return 0 if videos(job) else 1


def use_stand_in(prompt: dict, base: Path, python: Path) -> None:
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


def show(job: dict, seconds: float) -> None:
    """One line, rewritten on a terminal; elsewhere a new one now and then."""
    text = f"{job['status']:<12}{seconds:6.1f} s"
    done = job["status"] == "completed"
    if sys.stdout.isatty():
        print(f"\r{text}", end="\n" if done else "", flush=True)
    elif done or seconds % 20 < 0.5:
        cache.say(text)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave the same way, so that the server stops
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("stopped")
