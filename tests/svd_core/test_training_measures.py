"""What the judge measures, on clips whose movement, detail and colour are known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

measures = pytest.importorskip("svd_core.training.measures")


@pytest.fixture(scope="module")
def picture():
    """3 128 160, coloured blotches of several sizes."""
    generator = torch.Generator().manual_seed(0)
    layers = [
        F.interpolate(torch.randn(1, 3, n, n + n // 4, generator=generator), size=(128, 160), mode="bicubic")
        / n**0.5
        for n in (4, 8, 16, 32)
    ]
    return torch.tanh(sum(layers)[0])


def slide(picture, step, *, frames=14, size=128):
    """The window moves to the right by whole pixels: frames 3 128 128."""
    return torch.stack([picture[:, :, step * k : step * k + size] for k in range(frames)])


def test_clip_that_slides_is_whole_and_one_that_crumbles_is_not(picture):
    frames = slide(picture, 2)
    assert measures.wholeness(frames) > 40  # the fit is exact to a few hundredths of a pixel
    crumbled = frames.clone()
    blocks = [
        crumbled[-1, :, y : y + 16, x : x + 16].clone() for y in range(0, 128, 16) for x in range(0, 128, 16)
    ]
    order = np.random.default_rng(0).permutation(64)
    for k, i in enumerate(order):
        y, x = divmod(k, 8)
        crumbled[-1, :, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16] = blocks[i]
    assert measures.wholeness(crumbled) < 20


def test_zoom_is_whole(picture):
    first = F.interpolate(picture[None], size=(256, 320), mode="bicubic")[..., 32:160, 32:160]
    theta = torch.tensor([[[0.9, 0, 0], [0, 0.9, 0]]])
    last = F.grid_sample(
        first, F.affine_grid(theta, first.shape, align_corners=False), mode="bicubic", align_corners=False
    )
    assert measures.wholeness(torch.cat([first, last])) > 32  # two bicubic resamplings


def test_detail_falls_with_blur_and_rises_with_grain(picture):
    frames = slide(picture, 1, frames=2)
    assert measures.detail(frames) == pytest.approx(1, abs=0.05)
    blurred, grainy = frames.clone(), frames.clone()
    blurred[1] = F.avg_pool2d(F.pad(frames[1:], (3, 3, 3, 3), mode="replicate"), 7, stride=1)[0]
    grainy[1] += 0.2 * torch.randn(frames[1].shape, generator=torch.Generator().manual_seed(1))
    assert measures.detail(blurred) < 0.9
    assert measures.detail(grainy) > 1.2


def test_chroma_is_measured_on_each_axis(picture):
    grey = picture.mean(0, keepdim=True).expand_as(picture)
    faded = grey + 0.5 * (picture - grey)
    assert measures.chroma(faded, picture).tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    assert measures.chroma_slope(faded[None], picture[None]).tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    assert measures.chroma(grey, picture).abs().max() < 1e-3


def test_speed_is_that_of_the_slide(picture):
    assert measures.speed(slide(picture, 2)) == pytest.approx(
        2, rel=0.1
    )  # the right border shows what is new


def test_travel_is_that_of_the_slide(picture):
    assert measures.travel(slide(picture, 2)) == pytest.approx(2, abs=0.02)
    assert measures.travel(slide(picture, 0)) == pytest.approx(0, abs=0.02)
