"""How closely the embedded model follows a guide clip, by the names of Follow Clip: flow where the clip is
held against the flow asked for, and likeness to the clip. A pan to the left, which it was never trained on.
"""

import ast
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from svd_core import pipeline
from svd_core.control import camera
from svd_core.control.easing import progress
from svd_core.control.hold import hold
from svd_core.frames.flow import bidirectional
from svd_core.models.vae import SCALE
from svd_core.quality.motion import QUALITY
from svd_core.quality.photo import psnr
from svd_core.sampling.denoiser import denoiser
from svd_core.sampling.noise_levels import SCHEDULES
from svd_core.sampling.samplers import euler

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "svd_core" / "nano" / "svd_nano.safetensors"
SHARE, SIDE, PAIRS = 0.15, 256, (4, 9)


def levels():
    """{name: (weak, strong)} of the embedded checkpoint, read from the node's source without a host."""
    module = ast.parse((ROOT / "nodes" / "follow.py").read_text(encoding="utf-8"))
    table = next(n.value for n in module.body if isinstance(n, ast.Assign) and n.targets[0].id == "NANO")
    return {
        ast.literal_eval(k): [ast.literal_eval(a) for a in v.args] for k, v in zip(table.keys, table.values)
    }


def test_every_name_holds_longer_than_the_one_before_it():
    """At the steps of the preset, and twice as many: names that hold as many steps would be one."""
    preset = pipeline.load(FILE).preset
    for steps in (preset.steps, 2 * preset.steps):
        held = []
        for weak, strong in levels().values():
            sigmas = SCHEDULES[preset.schedule](steps, sigma_max=weak)
            held.append(int((sigmas > strong).sum()))
        assert held == sorted(set(held))
        assert 0 < held[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["astronaut.png", "chelsea.png", "coffee.png"])
@torch.no_grad()
def test_the_video_follows_more_closely_from_loose_to_strict(name):
    """Measured: 0.50, 0.93, 0.95 of the way on the first, 0.20, 0.87, 0.95 and 0.29, 0.79, 0.92; the clip
    itself, through the autoencoder, 0.95, 0.95, 0.92. A night sky hides the way: there even that shows 0.46.
    """
    for package in ("skimage", "sklearn"):
        pytest.importorskip(package)
    from svd_core.training import judge

    svd = pipeline.load(FILE, motion_bucket_id=40)
    photo, t = judge.photograph(name, size=SIDE), svd.preset.frames
    H = camera.homographies("pan", -SHARE * progress(t=t), width=SIDE, height=SIDE)
    clip, mask = camera.film(photo / 2 + 0.5, H)
    z = torch.cat([svd.vae.encode(frame[None] * 2 - 1) for frame in clip]) * SCALE
    m = (F.avg_pool2d(mask, 8) >= 0.5).float()
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    free = denoiser(svd.unet, pipeline.encode(svd, photo), t=t)
    arrived, likeness = [], []
    for weak, strong in levels().values():
        sigmas = SCHEDULES[svd.preset.schedule](svd.preset.steps, sigma_max=weak)
        x = euler(hold(free, z, m, strong_level=strong), z + sigmas[0] * noise, sigmas)
        frames = pipeline.decode(svd, x / SCALE) / 2 + 0.5
        arrived.append(share_of_the_way(frames, camera.erode(mask, 9), SHARE * SIDE / (t - 1)))
        likeness.append(psnr(frames * mask, clip * mask))
    assert arrived[0] < arrived[1] < arrived[2] + 0.05
    assert likeness == sorted(likeness)
    assert arrived[1] > 0.6
    assert likeness[2] > likeness[0] + 1


def share_of_the_way(frames, mask, speed):
    """Mean flow to the right where the clip is held, over the one asked for."""
    found = []
    for f in PAIRS:
        flow = bidirectional(frames[f : f + 1], frames[f + 1 : f + 2], quality=QUALITY)[:1, :1]
        found.append(float((flow * mask[f]).sum() / mask[f].sum()))
    return sum(found) / len(found) / speed
