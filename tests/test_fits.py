"""The tables of docs/fits.md are what the formulas and the networks' sizes give."""

from pathlib import Path

import pytest
import torch

from svd_core.decode.plan import GIB, TIERS, plan
from svd_core.models.configs import CLIPConfig, UNetConfig, VAEConfig
from svd_core.models.image_encoder import CLIPVision
from svd_core.models.memory import activations
from svd_core.models.unet import VideoUNet
from svd_core.models.vae import VAE
from tests.test_docs import tables

PAGE = Path(__file__).resolve().parent.parent / "docs" / "fits.md"
UNET = UNetConfig(320, (1, 2, 4, 4), 2, (True, True, True, False), 1024, 768)
DECODER = VAEConfig(128, (1, 2, 4, 4), 2, 4, True, True, True, False, False)
CLIP = CLIPConfig(width=1280, layers=32, mlp=5120, patch=14, projection=1024)
SIZES = [(size, t) for t in (14, 25) for size in ((512, 288), (768, 432), (1024, 576))]


@pytest.fixture(scope="module")
def shown():
    return tables(PAGE.read_text(encoding="utf-8"))


@pytest.mark.slow  # builds the released networks, without memory
def test_weights(shown):
    makes = (VideoUNet(UNET, device="meta"), VAE(DECODER, device="meta"), CLIPVision(CLIP, device="meta"))
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in makes]
    assert [row[1] for row in shown[0]] == [f"{count / 1e9:.3f} billion" for count in counts]
    assert [row[2:4] for row in shown[0]] == [
        [f"{4 * n / GIB:.2f} GiB", f"{2 * n / GIB:.2f} GiB"] for n in counts
    ]
    assert shown[0][0][4] == f"{counts[0] / GIB:.2f} GiB"


def test_steps(shown):
    for row, ((w, h), t) in zip(shown[1], SIZES, strict=True):
        needed = [activations(UNET, k * t, h // 8, w // 8, itemsize=2) for k in (1, 2)]
        assert row == [f"{w}x{h}", str(t), *(f"{n / GIB:.2f} GiB" for n in needed)]


def decoded(w, h, t, *, quick):
    """The least tier that decodes, or that decodes as quickly as any."""
    for memory in TIERS:
        try:
            found = plan(DECODER, t, h // 8, w // 8, itemsize=2, memory=memory, can_offload=True)
        except ValueError:
            continue
        if found.keep == 1 or not quick:
            return f"{memory / GIB:g} GiB"
    return "nothing"


def test_decoding(shown):
    for row, ((w, h), t) in zip(shown[2], SIZES, strict=True):
        assert row == [f"{w}x{h}", str(t), decoded(w, h, t, quick=False), decoded(w, h, t, quick=True)]


def test_the_8_gib_line(shown):
    weights = 2 * 1_524_623_082
    one = activations(UNET, 25, 54, 96, itemsize=torch.float16.itemsize)
    assert f"{(weights + one) / GIB:.1f} GiB" == "4.3 GiB"
    assert "together 4.3 GiB" in PAGE.read_text(encoding="utf-8")
