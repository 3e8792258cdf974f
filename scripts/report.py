"""A page to paste into an issue: this pack beside ComfyUI's own nodes and diffusers, on your machine.

python scripts/report.py CHECKPOINT [--size 1024x576] [--frames 25] [--steps 3] [--out FILE]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036  older ones still get this far
    sys.exit("this needs Python 3.10 or newer; this one is " + sys.version.split()[0])
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clients import command  # noqa: E402
from scripts import cache, environment, host, report_page  # noqa: E402

WAYS = ("native", "PureSVD", "diffusers")
_ABOUT = """
import importlib.metadata as m, importlib.util as u, json, platform, sys, torch
sys.path.insert(0, sys.argv[1])
from svd_core.checkpoint.read import read
found = read(sys.argv[2])
versions = {"torch": torch.__version__, "CUDA": torch.version.cuda or torch.version.hip or "none"}
versions["diffusers"] = m.version("diffusers") if u.find_spec("diffusers") else "not installed"
versions["Python"] = platform.python_version()
device = f"{torch.backends.cpu.get_cpu_capability()} processor, {torch.get_num_threads()} threads"
if torch.cuda.is_available():
    gpu = torch.cuda.get_device_properties(0)
    device = f"{gpu.name}, {gpu.total_memory / 2**30:.1f} GiB"
lines = str(found.report).splitlines()
lines[0] = lines[0].replace(found.report.where, "").lstrip(": ")
if found.unet_config.adm_in_channels != 768:
    sys.exit(f"{lines[0]}; the report makes a video from a photo, so give an SVD checkpoint")
preset = found.preset
print(json.dumps(dict(versions=versions, device=device, what=lines, preset=preset and vars(preset))))
"""


def main(arguments: list[str]) -> int:
    args = parsed(arguments)
    if not os.path.isfile(args.checkpoint):
        raise SystemExit(f"{args.checkpoint} is not a file; give a single-file checkpoint (.safetensors)")
    found = host.find()
    python = environment.prepare(found, tests=False)
    about = ask_about(python, args.checkpoint)
    job = chosen(args, about)
    busy = f", load {os.getloadavg()[0]:.1f} before" if hasattr(os, "getloadavg") else ""
    cache.say(f"{job['frames']} frames of {job['width']}x{job['height']}, {job['steps']} steps, three ways")
    ways = walk(python, found, args.checkpoint.absolute(), job)
    about["versions"] = {"PureSVD": report_page.version(), "ComfyUI": found.version, **about["versions"]}
    about["system"] = f"{platform.system()} {platform.release()}, {platform.machine()}{busy}"
    about["file"] = f"{args.checkpoint.name}, {args.checkpoint.stat().st_size / 1e9:.2f} GB"
    page = report_page.page(about, job, ways)
    print(page)
    if args.out:
        args.out.write_text(page, encoding="utf-8")
    return 0


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path, help="a single-file checkpoint, .safetensors")
    parser.add_argument("--size", type=_size, help="pixels, such as 512x288; default: as trained")
    parser.add_argument("--frames", type=int, help="default: as trained")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the page here")
    return parser.parse_args(arguments)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) % 8 == int(height) % 8 == 0):
        raise argparse.ArgumentTypeError(f"{text} is not a size; give two multiples of 8, such as 512x288")
    return int(width), int(height)


def chosen(args: argparse.Namespace, about: dict) -> dict:
    """What every way does: the trained size and guidance, but for what the command says."""
    preset = about["preset"] or {}
    size = args.size or (preset.get("width", 1024), preset.get("height", 576))
    job = {"frames": args.frames or preset.get("frames", 14), "width": size[0], "height": size[1]}
    return job | {"steps": args.steps, "min_cfg": 1.0, "max_cfg": max(preset.get("max_cfg", 2.5), 1.5)}


def ask_about(python: Path, checkpoint: Path) -> dict:
    line = [str(python), "-c", _ABOUT, str(cache.ROOT), str(checkpoint)]
    done = subprocess.run(line, env=cache.clean(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit((done.stderr.strip().splitlines() or ["the checkpoint cannot be read"])[-1])
    return json.loads(done.stdout.splitlines()[-1])


def walk(python: Path, found: host.Host, checkpoint: Path, job: dict) -> list[dict]:
    """Each way in a process of its own; the number format is that which the first one chose."""
    ways: list[dict] = []
    with tempfile.TemporaryDirectory(prefix="puresvd-", ignore_cleanup_errors=True) as folder:
        for name in WAYS:
            cache.say(f"running {name}")
            dtype = next((way["dtype"] for way in ways if way["dtype"]), "")
            ways.append(one(python, found, name, checkpoint, Path(folder), job | {"dtype": dtype}))
    return ways


def one(python: Path, found: host.Host, name: str, checkpoint: Path, folder: Path, job: dict) -> dict:
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    line = [str(python), "-m", "benchmarks.stages", name, str(checkpoint), str(folder)]
    env = {**cache.clean(), "COMFYUI_PATH": str(found.path)}
    done = subprocess.run(line, cwd=cache.ROOT, env=env, capture_output=True, text=True, check=False)
    result = folder / f"{name}.json"
    if result.is_file():
        return json.loads(result.read_text(encoding="utf-8"))
    last = (done.stderr.strip().splitlines() or ["no word"])[-1]
    why = "killed, as systems do that run out of memory" if done.returncode in (-9, 137) else last
    return {"name": name, "failed": why, "seconds": {}, "peaks": {}, "errors": {}, "notes": [], "dtype": ""}


if __name__ == "__main__":
    command.run(main)
