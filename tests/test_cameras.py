"""The embedded model's camera LoRAs: whole files, and the camera that they lead, measured on photographs
that were never trained on.
"""

import copy
import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from svd_core import pipeline
from svd_core.adapters.lora import read
from svd_core.adapters.names import Layers
from svd_core.models.unet import VideoUNet
from svd_core.quality.measures import measure
from svd_core.training import lora, nano
from svd_core.training.camera import RADIUS
from tests.conftest import NANO

for package in ("skimage", "sklearn"):
    pytest.importorskip(package)
from svd_core.training import judge, stages  # noqa: E402
from svd_core.training.photographs import JUDGING  # noqa: E402

ASKED = 127 / 255 * 3 * 7 / 256  # picture widths a second at the preset's bucket


@pytest.fixture(scope="module")
def svd():
    return pipeline.load(NANO)


def led(svd, movement, strength=1.0):
    """The embedded model with a LoRA merged into its U-Net."""
    unet = copy.deepcopy(svd.unet)
    weights = unet.state_dict()
    for name, change in stages.changes_of(nano.camera_lora(movement), unet).items():
        weights[f"{name}.weight"] += strength * change
    return replace(svd, unet=unet)


def seen(svd, name, *, size=256):
    """What the camera does over a photograph, in picture widths, shares and degrees a second."""
    condition = pipeline.encode(svd, judge.photograph(name, size=size))
    frames = pipeline.decode(svd, pipeline.sample(svd, condition, seed=1)) / 2 + 0.5
    report = measure(frames, fps=svd.preset.fps)
    return report["camera"] | {"explained": report["motion"]["explained"]}


@pytest.mark.parametrize("movement", nano.CAMERAS)
def test_file_is_small_and_whole(movement):
    path, unet = nano.camera_lora(movement), VideoUNet(nano.UNET)
    shapes = {name: tuple(t.shape) for name, t in unet.state_dict().items()}
    assert path.stat().st_size <= (10_000_000 if movement in ("in", "out") else 2_500_000)
    assert set(read(path, Layers(shapes)).layers) == set(nano.attach_camera(unet, movement))
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["puresvd_lora"])["movement"] == movement


@pytest.mark.parametrize("movement", ["left", "static"])
def test_training_goes_on_from_the_file(svd, movement):
    unet = copy.deepcopy(svd.unet)
    known = stages.changes_of(nano.camera_lora(movement), unet)
    assert set(nano.attach_camera(unet, movement)) == set(known)
    lora.begin(unet, known)
    for name, wanted in known.items():
        layer = unet.get_submodule(name)
        found = (layer.up.flatten(1) @ layer.down.flatten(1)).view_as(wanted)
        assert (found - wanted).norm() <= 1e-4 * wanted.norm(), "the same rank holds it all"


def test_camera_turns_round_and_strength_zero_changes_nothing(svd):
    assert seen(svd, "coffee.png", size=128)["pan"] > 0.02
    assert seen(led(svd, "left"), "coffee.png", size=128)["pan"] < -0.02
    still = led(svd, "left", 0.0).unet.state_dict()
    assert all(torch.equal(t, still[name]) for name, t in svd.unet.state_dict().items())


# the measure, which way, and how much is asked for: a zoom moves a picture by its rate times `RADIUS` widths
WAYS = {
    "left": ("pan", -1, ASKED),
    "up": ("tilt", 1, ASKED),
    "down": ("tilt", -1, ASKED),
    "in": ("zoom", 1, ASKED / RADIUS),
    "out": ("zoom", -1, ASKED / RADIUS),
}


def over_photographs(svd, of):
    """The measure on each of the eight judging photographs."""
    return torch.tensor([seen(svd, name)[of] for name in JUDGING])


@pytest.mark.slow
@pytest.mark.parametrize("movement", WAYS)
def test_camera_goes_where_it_is_led(svd, movement):
    of, way, asked = WAYS[movement]
    found = way * over_photographs(led(svd, movement), of)
    assert (found > 0).sum() >= 7, found
    assert found.mean() >= asked / 2, found


@pytest.mark.slow
def test_static_camera_stands(svd):
    """A tenth of what the model does without it."""
    free = over_photographs(svd, "pan")
    assert over_photographs(led(svd, "static"), "pan").abs().mean() <= free.abs().mean() / 10


@pytest.mark.slow
def test_half_strength_moves_in_between(svd):
    """Without the LoRA to the right, with all of it to the left."""
    whole, half, none = (over_photographs(led(svd, "left", s), "pan").mean() for s in (1.0, 0.5, 0.0))
    assert whole < half < none
