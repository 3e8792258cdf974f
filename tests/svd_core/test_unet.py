"""The U-Net against diffusers on shared weights, and the properties a video model must have."""

from pathlib import Path

import pytest
import torch

from svd_core.conditioning.conditioning import embed
from svd_core.models.configs import UNetConfig
from svd_core.models.hooks import Hooks
from svd_core.models.unet import VideoUNet

from . import references
from .references import relative_error

KEYS = Path(__file__).parent.parent / "data" / "keys" / "unet.tsv"
T = 3


@pytest.fixture(scope="module")
def unet():
    return references.unet()


def inputs(b=2, t=T, h=8, w=16, tokens=1):
    g = torch.Generator().manual_seed(7)
    x = torch.randn(b * t, 8, h, w, generator=g)
    context = torch.randn(b, tokens, references.UNET.context_dim, generator=g).repeat_interleave(t, 0)
    ids = torch.tensor([[6.0, 127.0, 0.02], [11.0, 30.0, 0.1]])[:b]
    return x, torch.full((b * t,), 0.7), context, embed(ids).repeat_interleave(t, 0)


@torch.no_grad()
@pytest.mark.parametrize("size", [(8, 16), (9, 13)], ids=["on the grid", "off the grid"])
def test_equals_diffusers(unet, size):
    """Float32, same weights, its residual norms' eps set to 1e-5: only the order of sums differs."""
    x, c_noise, context, y = inputs(h=size[0], w=size[1])
    theirs = references.diffusers_unet(unet)
    ids = torch.tensor([[6.0, 127.0, 0.02], [11.0, 30.0, 0.1]])
    expected = theirs(x.unflatten(0, (2, T)), c_noise[0], context[::T], ids).sample.flatten(0, 1)
    assert relative_error(unet(x, c_noise, context, y, t=T), expected) <= 1e-5


@pytest.mark.parametrize("adm", [768, 256, 1280])
def test_full_width_names_and_shapes(adm):
    config = UNetConfig(320, (1, 2, 4, 4), 2, (True, True, True, False), 1024, adm)
    expected = {}
    for line in KEYS.read_text().splitlines():
        if not line.startswith("#"):
            name, _, shape = line.split("\t")
            expected[name] = tuple(int(n) for n in shape.split("x"))
    expected["label_emb.0.0.weight"] = (1280, adm)
    ours = VideoUNet(config, device="meta").state_dict()
    assert {k: tuple(v.shape) for k, v in ours.items()} == expected


@torch.no_grad()
def test_videos_of_a_batch_do_not_see_each_other(unet):
    x, c_noise, context, y = inputs()
    both = unet(x, c_noise, context, y, t=T)
    alone = unet(x[T:], c_noise[T:], context[T:], y[T:], t=T)
    assert relative_error(both[T:], alone) <= 1e-5  # another batch size, another order of sums


@torch.no_grad()
def test_frames_of_a_video_see_each_other(unet):
    x, c_noise, context, y = inputs(b=1)
    changed = x.clone()
    changed[-1] += 1
    assert (
        relative_error(unet(changed, c_noise, context, y, t=T)[:1], unet(x, c_noise, context, y, t=T)[:1])
        > 1e-3
    )


@torch.no_grad()
def test_image_only_frames_are_independent(unet):
    x, c_noise, context, y = inputs(b=1)
    together = unet(x, c_noise, context, y, t=T, image_only=True)
    alone = unet(x[1:2], c_noise[:1], context[:1], y[:1], t=1, image_only=True)
    assert relative_error(together[1:2], alone) <= 1e-5


class Patched(Hooks):
    """Takes the full attention path without changing anything, and counts its calls."""

    def __init__(self):
        self.calls = []

    def patched(self):
        return True

    def attention_input(self, name, x, context, value):
        self.calls.append((name, tuple(x.shape)))
        return x, context, value


@torch.no_grad()
def test_constant_cross_attention_equals_the_full_path(unet):
    x, c_noise, context, y = inputs()
    hooks = Patched()
    full = unet(x, c_noise, context, y, t=T, hooks=hooks)
    assert relative_error(unet(x, c_noise, context, y, t=T), full) <= 3e-6
    assert hooks.calls[:4] == [
        ("attn1", (6, 128, 32)),
        ("attn2", (6, 128, 32)),
        ("attn1", (256, 3, 32)),
        ("attn2", (256, 3, 32)),
    ]
    assert len(hooks.calls) == 16 * 4


@torch.no_grad()
def test_repeated_tokens_attend_as_one(unet):
    x, c_noise, context, y = inputs()
    twice = unet(x, c_noise, context.repeat(1, 2, 1), y, t=T)
    assert relative_error(twice, unet(x, c_noise, context, y, t=T)) <= 3e-6


@torch.no_grad()
def test_inputs_stay_as_they_are(unet):
    given = inputs()
    kept = [v.clone() for v in given]
    unet(*given, t=T)
    assert all(torch.equal(a, b) for a, b in zip(given, kept))


@torch.no_grad()
def test_no_three_dimensional_convolution_runs(unet):
    with torch.profiler.profile() as profile:
        unet(*inputs(b=1), t=T)
    names = {event.key for event in profile.key_averages()}
    assert not {name for name in names if "conv3d" in name or "vol2col" in name}


def test_gradients_reach_every_parameter_that_acts():
    model = references.unet().requires_grad_(True)
    x, c_noise, context, y = inputs(b=1)
    model(x, c_noise, context, y, t=T).square().mean().backward()
    silent = {k for k, p in model.named_parameters() if p.grad is None}
    # One context token makes queries, keys and their norm irrelevant.
    assert all(".attn2.to_q" in k or ".attn2.to_k" in k or ".norm2." in k for k in silent)
    assert len(silent) == 16 * 2 * 4


@torch.no_grad()
def test_bfloat16_stays_close():
    """bfloat16 keeps 8 bits: 4e-3 a rounding, through some 200 layers of random weights."""
    x, c_noise, context, y = inputs()
    expected = references.unet()(x, c_noise, context, y, t=T)
    half = references.unet().bfloat16()(x.bfloat16(), c_noise, context.bfloat16(), y, t=T)
    assert relative_error(half, expected) <= 0.05


@torch.no_grad()
def test_time_context_defaults_to_the_first_frame(unet):
    x, c_noise, context, y = inputs(b=1)
    changed = context.clone()
    changed[1:] += 1  # frames beyond the first reach spatial cross-attention only
    a = unet(x, c_noise, changed, y, t=T)
    b = unet(x, c_noise, changed, y, t=T, time_context=context[:1])
    assert torch.equal(a, b)
