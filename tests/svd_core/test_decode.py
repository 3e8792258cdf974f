"""Bounded decode against the one-shot decode: the limit may cost time, never pixels."""

import contextlib
import logging
import math
from dataclasses import replace

import pytest
import torch

from svd_core.decode import exact
from svd_core.decode.exact import decode
from svd_core.decode.half import finite
from svd_core.decode.plan import GIB, LEVELS_BELOW, TIERS, Plan, plan
from svd_core.decode.stages import stages
from svd_core.models.configs import VAEConfig

from . import references
from .references import relative_error

TINY = VAEConfig(
    ch=16,
    ch_mult=(1, 2, 2),
    num_res_blocks=1,
    z_channels=4,
    temporal=True,
    embedder=False,
    native_encoder=True,
    quant_conv=False,
    post_quant_conv=False,
    norm_groups=4,
)
FULL = VAEConfig(
    ch=128,
    ch_mult=(1, 2, 4, 4),
    num_res_blocks=2,
    z_channels=4,
    temporal=True,
    embedder=True,
    native_encoder=True,
    quant_conv=False,
    post_quant_conv=False,
)


def latents(n, h, w):
    return torch.randn(n, 4, h, w, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def vae():
    return references.vae(TINY)


@torch.no_grad()
@pytest.mark.parametrize("memory", [None, 64 * GIB], ids=["least", "ample"])
@pytest.mark.parametrize(("t", "h", "w"), [(1, 8, 8), (2, 5, 7), (7, 9, 3), (14, 8, 12), (26, 3, 5)])
def test_equals_the_one_shot_decode(vae, t, h, w, memory):
    """Statistics are merged in another order than they are summed: float32 rounding, no more."""
    z = latents(t, h, w)
    assert relative_error(decode(vae, z, t=t, memory=memory), vae.decode(z, t=t)) <= 1e-5


@torch.no_grad()
def test_clips_of_a_batch_are_decoded_apart(vae):
    z = latents(6, 4, 4)
    both = decode(vae, z, t=3)
    assert torch.equal(both[3:], decode(vae, z[3:], t=3))
    assert relative_error(both, vae.decode(z, t=3)) <= 1e-5


@torch.no_grad()
def test_frame_wise_decoder_needs_no_clip():
    vae = references.vae(replace(TINY, temporal=False, post_quant_conv=True))
    z = latents(4, 5, 6)
    assert relative_error(decode(vae, z, t=4), vae.decode(z, t=1)) <= 1e-5


def test_limits_of_one_tier_give_the_same_bytes(vae):
    z = latents(5, 6, 6)
    one, two, same = (decode(vae, z, t=5, memory=int(m * GIB)) for m in (0.25, 0.49, 0.25))
    assert torch.equal(one, two)
    assert torch.equal(one, same)


@pytest.mark.parametrize("keep", [0.0, LEVELS_BELOW, 1.0])
@pytest.mark.parametrize("offload", [False, True])
def test_every_plan_gives_the_one_shot_decode(vae, monkeypatch, keep, offload):
    """Also the one in which waiting frames leave the device, here for the memory they are in already."""
    z = latents(5, 6, 6)
    monkeypatch.setattr(exact, "plan", lambda *a, **k: Plan(keep, offload, 0))
    assert relative_error(decode(vae, z, t=5, memory=GIB), vae.decode(z, t=5)) <= 1e-5


def test_nearby_limits_choose_the_same_plan():
    a, b = (plan(FULL, 14, 72, 128, itemsize=2, memory=int(m * GIB), can_offload=True) for m in (3.0, 3.9))
    assert a == b


@pytest.mark.parametrize(
    ("gib", "keep", "offload"), [(64, 1, False), (6, 1, False), (4, 0, False), (3, 0, True)]
)
def test_the_quickest_plan_that_fits_is_chosen(gib, keep, offload):
    """14 frames of 1024x576 in half precision: two, one or none of 1.97 GiB, and 1.05 GiB to work."""
    chosen = plan(FULL, 14, 72, 128, itemsize=2, memory=gib * GIB, can_offload=True)
    frame = 128 * 576 * 1024 * 2
    assert (chosen.keep, chosen.offload) == (keep, offload)
    assert chosen.peak == int(7.5 * frame) + (0 if offload else int(14 * frame * (1 + keep)))


@torch.no_grad()
@pytest.mark.parametrize("keep", [0.0, LEVELS_BELOW, 1.0])
@pytest.mark.parametrize(("t", "h", "w"), [(1, 8, 8), (2, 5, 7), (7, 9, 3), (14, 8, 12)])
def test_the_way_of_an_accelerator_gives_the_one_shot_decode(vae, monkeypatch, t, h, w, keep):
    """Channels first and in place, run here; also a level that shrinks in memory, and no layers in time."""
    monkeypatch.setattr(exact, "stays", lambda z, chosen: True)
    monkeypatch.setattr(exact, "plan", lambda *a, **k: Plan(keep, False, 0))
    options = dict(t=t, memory=GIB)
    z = latents(t, h, w)
    assert relative_error(decode(vae, z, **options), vae.decode(z, t=t)) <= 1e-5
    wide = references.vae(replace(TINY, ch=4, ch_mult=(1, 8), norm_groups=4))
    assert relative_error(decode(wide, z, **options), wide.decode(z, t=t)) <= 1e-5
    frame_wise = references.vae(replace(TINY, temporal=False, post_quant_conv=True))
    assert relative_error(decode(frame_wise, z, **options), frame_wise.decode(z, t=1)) <= 1e-5


@torch.no_grad()
def test_the_way_of_an_accelerator_leaves_overflow_to_the_careful_one(monkeypatch, caplog):
    """The same bytes as without it, and progress that starts over."""
    vae, seen = references.vae(TINY), []
    vae.first_stage_model.decoder.get_submodule("up.0.block.1.time_stack.out_layers.3").weight.mul_(1e5)
    vae, z = vae.half(), latents(3, 4, 4).half()
    careful = decode(vae, z, t=3)
    monkeypatch.setattr(exact, "stays", lambda z, chosen: True)
    assert torch.equal(decode(vae, z, t=3, on_step=lambda i, n: seen.append((i, n))), careful)
    assert seen.count((0, seen[0][1])) == 2
    assert seen[-1][0] == seen[-1][1] - 1


@torch.no_grad()
@pytest.mark.parametrize("keep", [1.0, LEVELS_BELOW, 0.0])
def test_what_is_kept_is_not_computed_twice(monkeypatch, keep):
    vae, calls = references.vae(TINY), []
    slabs = {stage.block: len(stage.slabs(5, 6)) for stage in stages(vae) if stage.block is not None}
    for block in slabs:
        block.time_stack.in_layers[2].register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(exact, "plan", lambda *a, **k: Plan(keep, False, 0))
    decode(vae, latents(5, 6, 6), t=5, memory=GIB)
    *blocks, last = stages(vae)
    again = [stage for stage in blocks if keep == 0 or (keep < 1 and stage.scale == last.scale)]
    assert len(calls) == sum(slabs.values()) + sum(slabs[stage.block] for stage in again)


def test_finite_values_stay_half_though_their_sum_would_not():
    def overflows(x):
        return torch.full((4,), 6e4 if x.dtype == torch.float32 else math.inf).to(x.dtype)

    found = finite(overflows, torch.zeros(4, dtype=torch.float16), "layer")
    assert found.dtype == torch.float16
    assert bool(found.isfinite().all())


def test_least_memory_grows_by_one_activation_a_frame():
    """Beyond a constant, a CPU plan needs one full-resolution activation of the clip:
    128 x 256 x 448 floats a frame.
    """
    least = []
    for t in (14, 28, 56):
        for memory in TIERS:
            with contextlib.suppress(ValueError):  # too little
                least.append(plan(FULL, t, 32, 56, itemsize=4, memory=memory, can_offload=False).peak)
                break
    assert least[1] - least[0] == 14 * 128 * 256 * 448 * 4
    assert least[2] - least[1] == 28 * 128 * 256 * 448 * 4


def test_offloading_keeps_a_long_clip_under_three_gib():
    chosen = plan(FULL, 25, 72, 128, itemsize=2, memory=3 * GIB, can_offload=True)
    assert chosen.offload
    assert chosen.peak <= 3 * GIB


def test_impossible_limit_names_the_smallest_possible(vae):
    with pytest.raises(
        ValueError, match=r"25 frames of 1024x576 needs a limit of at least 12 GiB, and 1.00 GiB"
    ):
        plan(FULL, 25, 72, 128, itemsize=4, memory=GIB, can_offload=False)
    assert plan(FULL, 25, 72, 128, itemsize=4, memory=12 * GIB, can_offload=False).peak <= 12 * GIB


def test_frames_must_divide_into_clips(vae):
    with pytest.raises(ValueError, match="5 latent frames do not divide into clips of 2"):
        decode(vae, latents(5, 4, 4), t=2)


def test_reports_progress_evenly(vae):
    seen = []
    decode(vae, latents(4, 6, 6), t=4, on_step=lambda i, n: seen.append((i, n)))
    assert seen == [(i, len(seen)) for i in range(len(seen))]
    assert len(seen) >= 2 * len(stages(vae))


def test_cancel_stops_within_one_step(vae):
    seen = []

    def stop(i, n):
        seen.append(i)
        if i == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        decode(vae, latents(4, 6, 6), t=4, on_step=stop)
    assert seen == [0, 1, 2, 3]


def test_latents_and_weights_stay_as_they_are(vae):
    z, weights = latents(3, 4, 4), {k: v.clone() for k, v in vae.state_dict().items()}
    kept = z.clone()
    decode(vae, z, t=3)
    assert torch.equal(z, kept)
    assert all(torch.equal(v, weights[k]) for k, v in vae.state_dict().items())


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "measured"), [(torch.bfloat16, 2.5e-2), (torch.float16, 3e-3)])
def test_half_precision_error_is_that_of_rounding(dtype, measured):
    """About 60 layers of random weights at 8 or 11 bits: 1.6e-2 and 2e-3 were measured here."""
    z = latents(4, 6, 6)
    expected = decode(references.vae(TINY), z, t=4)
    assert relative_error(decode(references.vae(TINY).to(dtype), z.to(dtype), t=4), expected) <= measured


@torch.no_grad()
def test_overflow_in_half_precision_is_repeated_in_float32(caplog):
    """A convolution's result beyond 65504 becomes Inf in float16, NaN after the norm."""
    vae = references.vae(TINY)
    vae.first_stage_model.decoder.conv_in.weight.mul_(5e4)
    z = latents(3, 4, 4)
    expected = vae.decode(z, t=3)
    with caplog.at_level(logging.WARNING):
        half = decode(vae.half(), z.half(), t=3)
    assert "overflowed in torch.float16" in caplog.text
    assert half.isfinite().all()
    assert relative_error(half, expected) <= 0.02


@torch.no_grad()
@pytest.mark.parametrize("layer", ["up.1.block.0.conv2", "up.0.block.1.time_stack.out_layers.3"])
def test_frames_beyond_half_precision_go_on_in_float32(layer):
    """What a stage hands on lies beyond 65504 itself, from its spatial half or from its temporal one."""
    vae = references.vae(TINY)
    vae.first_stage_model.decoder.get_submodule(layer).weight.mul_(1e5)
    z = latents(3, 4, 4)
    expected = vae.decode(z, t=3)
    half = decode(vae.half(), z.half(), t=3)
    assert half.isfinite().all()
    assert relative_error(half, expected) <= 0.02


@torch.no_grad()
def test_levels_that_shrink_in_memory_are_decoded_too():
    """A level with far more channels than the next one fills more memory than that at twice the size."""
    vae = references.vae(replace(TINY, ch=4, ch_mult=(1, 8), norm_groups=4))
    z = latents(5, 6, 4)
    assert relative_error(decode(vae, z, t=5), vae.decode(z, t=5)) <= 1e-5
