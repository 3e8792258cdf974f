"""One guided step in the real host: what was said of its memory, and the peak; run by test_forecast.py.

python tests/nodes/measure_step.py FRAMES WIDTH HEIGHT
"""

import asyncio
import ctypes
import gc
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
SHAPE = dict(model_channels=64, channel_mult=(1, 2, 4, 4), num_res_blocks=2)
LEVELS = (True, True, True, False)


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def settled() -> int:
    """Bytes held, once what was freed is given back; the peak counts from here."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return resident("VmRSS:")


def start() -> tuple:
    """(the host's nodes, the pack's name)"""
    path = os.environ.get("PURESVD_HOST") or os.environ["COMFYUI_PATH"]
    sys.path.insert(0, path)
    importlib.import_module("comfy.cli_args").args.cpu = True
    importlib.import_module("utils.extra_config")
    nodes = importlib.import_module("nodes")
    assert asyncio.run(nodes.load_custom_node(str(ROOT)))
    return nodes, str(ROOT).replace(".", "_x_")


def write(folder: Path, pack: str) -> Path:
    sys.path.append(str(ROOT))  # last: the host has folders `nodes` and `tests` as well
    spec = importlib.util.spec_from_file_location("make_checkpoint", ROOT / "tests" / "make_checkpoint.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    config = maker.unet_config(**SHAPE, attention_levels=LEVELS, head_dim=64)
    path = folder / "svd_xt.safetensors"
    maker.write_checkpoint(path, dtype=torch.float32, unet=config)
    return path


@torch.inference_mode()
def main(t: int, width: int, height: int) -> None:
    _, pack = start()
    load, guider, forecast = (
        importlib.import_module(f"{pack}.nodes.host.{name}") for name in ("load", "guider", "forecast")
    )
    with tempfile.TemporaryDirectory() as folder:
        model, _, _ = load.load(load.Source(path=str(write(Path(folder), pack))), "fp32")
    width_of_token = model.model.diffusion_model.config.context_dim
    samplers = importlib.import_module(f"{pack}.svd_core.sampling.samplers").SAMPLERS
    sigmas = torch.tensor([700.0, 0.0])

    def conditioning() -> list:
        told = {"fps": 7, "motion_bucket_id": 127, "augmentation_level": 0.02}
        return [[torch.zeros(1, 1, width_of_token), told | {"concat_latent_image": torch.zeros(1, 4, 8, 8)}]]

    def step(z: torch.Tensor) -> None:
        run = guider.make_guider(model, conditioning(), conditioning(), lambda t: torch.linspace(1, 3, t))
        told = forecast.forecast(run, "svd_xt", z, sigmas, 7.0)
        guider.sample(run, {"samples": z}, guider.sampler(samplers["euler"]), sigmas, 0, callback=skip)
        return told

    step(torch.zeros(2, 4, 8, 8))  # loads the model and warms the kernels
    before = settled()
    told = step(torch.zeros(t, 4, height // 8, width // 8))
    sys.stdout.write(json.dumps({"said": told.both, "peak": resident("VmHWM:") - before}) + "\n")


def skip(*args: object) -> None:
    """In place of the host's progress bar."""


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
