"""The image encoder against transformers, its preprocessing against diffusers."""

import pytest
import torch
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import (
    _resize_with_antialiasing,
)

from svd_core.models.image_encoder import MEAN, STD, normalize, preprocess

from . import references
from .references import relative_error


@torch.no_grad()
def test_tower_equals_transformers():
    clip = references.clip()
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    theirs = references.transformers_clip(clip)(x, output_hidden_states=True)
    penultimate, last = clip.hidden(x)
    assert relative_error(clip(x), theirs.image_embeds) <= 1e-5
    assert relative_error(penultimate, theirs.hidden_states[-2]) <= 1e-5
    assert relative_error(last, theirs.last_hidden_state) <= 1e-5


@pytest.mark.parametrize("size", [(576, 1024), (300, 200), (100, 100), (256, 100)])
def test_preprocessing_equals_the_reference(size):
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    expected = normalize((_resize_with_antialiasing(image, (224, 224)) + 1) / 2)
    torch.testing.assert_close(
        preprocess(image), expected, rtol=0, atol=2e-6
    )  # float32 sums of at most 7 x 3 taps


def test_normalised_units():
    grey = torch.full((1, 3, 4, 4), 0.5)
    expected = (0.5 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(normalize(grey)[0, :, 0, 0], expected)
