"""Interpolation without weights: the time grid, motion, cuts, streaming and bad input."""

import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F

from svd_core.frames.between import by_flow, crossfade
from svd_core.frames.cuts import is_cut, likeness
from svd_core.frames.flow import QUALITIES, bidirectional, windowed
from svd_core.frames.grid import count, rate
from svd_core.frames.video import interpolate
from svd_core.quality.photo import psnr


def texture(H, W, seed=0, grain=6):
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, H // grain + 3, W // grain + 3, generator=g)
    return F.interpolate(coarse, size=(H, W), mode="bicubic").clamp(0, 1)


def pan(t, H=48, W=64, step=3, seed=0):
    wide = texture(H, W + step * t, seed)
    return torch.cat([wide[..., step * i : step * i + W] for i in range(t)])


def swapped(a, b, times, around):
    """A `Between` whose frames hold their time."""
    return [torch.full_like(a, t) for t in times]


@pytest.mark.parametrize(
    ("t", "source", "target"),
    [
        (14, 6, 24),
        (14, 7, 30),
        (25, 8, 60),
        (5, 24, 10),
        (5, 30, 6),
        (9, 23.976, 60),
        (3, Fraction(1, 3), 5),
        (4, 6, 6),
    ],
)
def test_number_of_frames_is_exact(t, source, target):
    out = interpolate(torch.rand(t, 3, 4, 4), source_fps=source, target_fps=target, between=crossfade)
    assert len(out) == math.floor((t - 1) * Fraction(str(target)) / Fraction(str(source))) + 1


def test_rates_are_what_was_meant():
    assert rate("fps", 23.976) == Fraction(2997, 125)
    assert rate("fps", 24000 / 1001) == Fraction(24000, 1001)  # as a video's own rate arrives
    assert rate("fps", 0.001) == Fraction(1, 1000)
    assert rate("fps", Fraction(1, 4000)) == Fraction(1, 4000)
    x = torch.rand(4, 3, 4, 4)
    out = interpolate(x, source_fps=30000 / 1001, target_fps=60000 / 1001, between=crossfade)
    assert torch.equal(out[::2], x)


def test_frames_on_the_grid_pass_bit_for_bit():
    x = torch.rand(8, 3, 6, 8)
    out = interpolate(x, source_fps=7, target_fps=30, between=swapped, cut_threshold=None)
    assert torch.equal(out[0], x[0])
    assert torch.equal(out[30], x[7])  # 30 / 30 s = 7 / 7 s
    assert torch.equal(interpolate(x, source_fps=6, target_fps=24)[::4], x)
    assert torch.equal(interpolate(x, source_fps=24, target_fps=12), x[::2])


def test_times_between_frames_are_exact():
    x = torch.eye(2) * torch.tensor([1, 0.9, 1, 0.9]).view(4, 1, 1, 1)  # not still; the time fits its range
    out = interpolate(x, source_fps=8, target_fps=60, between=swapped, cut_threshold=None)
    for j in range(len(out)):
        where = Fraction(j * 8, 60) % 1
        if where:
            assert float(out[j].max()) == pytest.approx(float(where), abs=1e-6)  # float32 holds seven digits


def test_slow_motion_multiplies_the_frames():
    out = interpolate(torch.rand(5, 3, 4, 4), source_fps=6, target_fps=24, slow_motion=2.5, between=crossfade)
    assert len(out) == count(5, source_fps=Fraction(6), target_fps=Fraction(60))


@pytest.mark.parametrize("quality", list(QUALITIES))
def test_motion_is_followed(quality):
    x = pan(5, step=2)
    out = interpolate(x[::2], source_fps=1, target_fps=2, between=by_flow(quality), cut_threshold=None)
    fade = interpolate(x[::2], source_fps=1, target_fps=2, between=crossfade, cut_threshold=None)
    assert psnr(out[1::2], x[1::2]) > psnr(fade[1::2], x[1::2]) + 6  # dB; a pan is the easiest motion


def test_paths_are_curved_where_both_neighbours_say_so():
    wide = F.interpolate(texture(64, 128), size=(64, 512), mode="bicubic")
    shifts = (0, 8, 15, 24, 48)  # quarters of a pixel: two frames, the one in the middle, two frames
    before, a, middle, b, after = (wide[..., i : i + 384 : 4] for i in shifts)
    out = interpolate(torch.cat((before, a, b, after)), source_fps=1, target_fps=2, cut_threshold=None)
    chord = next(by_flow()(a, b, [0.5]))
    inner = (..., slice(8, -8), slice(8, -16))  # what stays in the picture
    curved, straight = (psnr(x[inner], middle[0][inner]) for x in (out[3], chord[0]))
    assert (
        curved > straight + 6
    )  # dB: the chord lies a quarter of a pixel off, the curve at most half of that


def test_neighbours_of_a_pair_end_at_cuts_and_ends():
    seen = []

    def between(a, b, times, around):
        seen.append(tuple(frame is not None for frame in around))
        return crossfade(a, b, times)

    x = torch.cat((pan(3), texture(48, 64, 9), texture(48, 64, 9).roll(2, -1)))
    interpolate(x, source_fps=1, target_fps=2, between=between)
    assert seen == [(False, True), (True, False), (False, False)]
    seen.clear()
    interpolate(
        pan(6), source_fps=3, target_fps=2, between=between
    )  # neighbours that are left out are not read
    assert set(seen) == {(False, False)}


@pytest.mark.parametrize("method", [bidirectional, windowed])
def test_flow_of_a_shift_is_that_shift(method):
    x = pan(2, step=4)
    flow = method(x[:1], x[1:], quality=QUALITIES["best"])
    inner = flow[..., 12:-12, 16:-16]
    wanted = torch.tensor([-4.0, 0.0]).view(1, 2, 1, 1)
    assert float((inner[:1] - wanted).abs().mean()) < 0.2  # pixels, on a smooth texture
    assert float((inner[1:] + wanted).abs().mean()) < 0.2


def test_flow_withstands_a_brightness_change():
    x = pan(2, step=3)
    flow = bidirectional(x[:1], x[1:] * 0.8 + 0.05, quality=QUALITIES["balanced"])
    error = flow[:1, :, 12:-12, 16:-16] - torch.tensor([-3.0, 0.0]).view(1, 2, 1, 1)
    assert float(error.abs().mean()) < 0.4  # pixels


@pytest.mark.parametrize("cell", [2, 4, 8])
def test_what_flutters_on_a_still_picture_is_not_followed(cell):
    """Clouds of a few pixels that come and go look like motion, and are none."""
    still, clouds = texture(96, 128, 7), [texture(96, 128, seed, grain=cell) - 0.5 for seed in (8, 9)]
    a, b = (still + 0.05 * cloud for cloud in clouds)
    made, fade = next(by_flow()(a, b, [0.5])), next(crossfade(a, b, [0.5]))
    assert (made - still).square().mean() <= 1.001 * (fade - still).square().mean()


def test_unrelated_frames_fall_back_to_the_crossfade():
    a, b, wanted = texture(48, 64, 1, grain=2), texture(48, 64, 2, grain=2), texture(48, 64, 3, grain=2)
    made, fade = next(by_flow()(a, b, [0.5])), next(crossfade(a, b, [0.5]))
    assert psnr(made, wanted) > psnr(fade, wanted) - 0.5  # nothing to follow: not worse but for the noise


@pytest.mark.parametrize("seed", range(10))
def test_no_cut_is_blended_and_no_pan_is_cut(seed):
    scene, other = pan(2, step=16, seed=seed), texture(48, 64, seed + 100)
    assert not is_cut(scene[:1], scene[1:])  # a quarter of the picture in one frame
    assert is_cut(scene[:1], other)
    out = interpolate(torch.cat((scene[:1], other)), source_fps=1, target_fps=5)
    assert all(torch.equal(x, scene[0]) or torch.equal(x, other[0]) for x in out)


def test_cuts_are_blended_on_request():
    x = torch.cat((texture(16, 16, 1), texture(16, 16, 2)))
    out = interpolate(x, source_fps=1, target_fps=2, between=crossfade, cut_threshold=None)
    assert torch.allclose(out[1], x.mean(0))


def test_equal_frames_are_alike_and_not_followed():
    x = texture(16, 16).expand(2, -1, -1, -1)
    assert likeness(x[:1], x[1:]) == pytest.approx(1, abs=1e-4)  # float32 sums over a thumbnail

    def fail(a, b, times, around):
        raise AssertionError("a still pair was followed")

    assert torch.equal(interpolate(x, source_fps=1, target_fps=4, between=fail)[2], x[0])


def test_one_frame_is_returned_as_it_is():
    x = torch.rand(1, 3, 4, 4)
    assert torch.equal(interpolate(x, source_fps=6, target_fps=24), x)


@pytest.mark.parametrize(
    "shape", [(2, 3, 1, 1), (2, 3, 1, 40), (2, 1, 20, 20), (2, 2, 20, 20), (3, 4, 33, 17)]
)
def test_odd_shapes_and_alpha_are_interpolated(shape):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    out = interpolate(x, source_fps=1, target_fps=3, cut_threshold=None)
    assert out.shape == (3 * shape[0] - 2, *shape[1:])
    assert torch.isfinite(out).all()
    assert torch.equal(out[::3], x)
    assert x.min() <= out.min()
    assert out.max() <= x.max()


def test_dtype_is_kept():
    assert interpolate(torch.rand(2, 3, 8, 8).half(), source_fps=1, target_fps=2).dtype == torch.float16


@pytest.mark.parametrize("value", [0, -6, float("nan"), float("inf"), 0.0])
@pytest.mark.parametrize("name", ["source_fps", "target_fps", "slow_motion"])
def test_impossible_rates_are_refused(name, value):
    rates = {"source_fps": 6, "target_fps": 24, "slow_motion": 1, name: value}
    with pytest.raises(ValueError, match=f"{name} is .*; use a positive number"):
        interpolate(torch.rand(2, 3, 4, 4), **rates)


def test_wrong_frames_are_refused():
    for bad, words in (
        (torch.rand(3, 4, 4), "shape"),
        (torch.rand(0, 3, 4, 4), "shape"),
        (torch.zeros(2, 3, 4, 4).byte(), "white level"),
    ):
        with pytest.raises(ValueError, match=words):
            interpolate(bad, source_fps=1, target_fps=2)
    with pytest.raises(ValueError, match="quality 'ultra' is unknown; use fast, balanced, best"):
        by_flow("ultra")


def test_steps_are_reported_and_an_exception_cancels():
    steps = []
    interpolate(torch.rand(3, 3, 4, 4), source_fps=1, target_fps=2, on_step=lambda i, n: steps.append((i, n)))
    assert steps == [(i, 5) for i in range(5)]

    def cancel(i, n):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interpolate(torch.rand(3, 3, 4, 4), source_fps=1, target_fps=2, on_step=cancel)


def test_one_pair_is_held_at_a_time():
    seen = []

    def between(a, b, times, around):
        seen.append((len(a), len(b)))
        return crossfade(a, b, times)

    x = pan(6)
    before = x.clone()
    interpolate(x, source_fps=1, target_fps=4, between=between)
    assert seen == [(1, 1)] * 5
    assert torch.equal(x, before)
