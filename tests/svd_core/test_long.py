"""Long videos: lengths, joins, colours held to a clamp, and the search for a continuation."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from svd_core.control import anchor, long
from svd_core.control.anchor import HELD_TO, ToStart, to_chunk
from svd_core.decode import exact
from svd_core.decode.plan import Plan
from svd_core.sampling import samplers
from svd_core.sampling.noise_levels import karras

from . import references
from .references import relative_error
from .test_decode import TINY


def texture(seed=0):
    return torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed))


def see(z):
    """A decoder: one latent position a pixel, colours from all four channels. Its inverse forgets the part of
    the fourth channel that colours do not show.
    """
    return torch.einsum("ck,nkhw->nchw", MIX, z) / 4


def imagine(x):
    return torch.einsum("kc,nchw->nkhw", torch.linalg.pinv(MIX), x) * 4


MIX = torch.tensor([[1.0, 0.5, 0.2, -0.1], [0.9, -0.4, 0.3, 0.2], [1.1, 0.1, -0.5, 0.4]])


def holding(to, strength):
    """`hold` of `extend`"""
    return partial(to_chunk, strength=strength) if to == "chunk" else ToStart(strength, see, imagine)


def drifting(gain, offset=0.0, t=14):
    """A chunk maker whose picture gains contrast over each chunk, evenly in log; nothing moves."""

    def chunk(k, clip):
        last = texture() if clip is None else clip[-1]
        u = torch.linspace(0, 1, t).view(-1, 1, 1, 1)
        mean = last.mean((1, 2), keepdim=True)
        return (last - mean) * gain**u + mean + offset * u

    return chunk


def spread(clip):
    return float((clip[-1].std((1, 2)) / clip[0].std((1, 2))).mean())  # channels keep their means


@pytest.mark.parametrize("t", [3, 14, 25])
def test_plan_covers_every_length(t):
    for frames in range(2, 200):
        way = long.plan(frames / 7, 7, t, closed=False)
        assert way.frames == frames
        assert (way.chunks - 1) * (t - 1) + 1 < max(frames, 2) or way.chunks == 1
        assert way.chunks * (t - 1) + 1 >= frames
        closed = long.plan(frames / 7, 7, t, closed=True)
        assert closed.frames == way.chunks * (t - 1) + 1
    assert long.plan(0.001, 7, t, closed=False).frames == 2


def test_three_percent_a_chunk_comes_out_flat():
    way = long.plan(8 * 13 / 7, 7, 14, closed=False)
    free, half, held = (long.extend(drifting(1.03), way, hold=holding("chunk", a)) for a in (0.0, 0.7, 1.0))
    assert spread(free) == pytest.approx(1.03**8, rel=0.02)
    assert spread(held) == pytest.approx(1, abs=1e-4)
    assert spread(half) == pytest.approx(1.03 ** (0.3 * 8), rel=0.005)
    assert math.log(spread(half)) <= math.log(spread(free)) / 3


def test_offset_is_held_too():
    way = long.plan(4 * 13 / 7, 7, 14, closed=False)
    free, held = (long.extend(drifting(1.0, 0.05), way, hold=holding("chunk", a)) for a in (0.0, 1.0))
    assert_close((free[-1] - free[0]).mean(), torch.tensor(0.2 * 52 / 53), rtol=0.03, atol=0)
    assert_close((held[-1] - held[0]).mean(), torch.tensor(0.0), rtol=0, atol=1e-5)


def test_real_fade_is_not_flattened_beyond_the_clamp():
    way = long.plan(13 / 7 + 1 / 7, 7, 14, closed=False)
    clip = long.extend(drifting(0.4), way, hold=holding("chunk", 1.0))
    assert spread(clip) == pytest.approx(0.4 / 0.9, rel=1e-4)


def colours(clip):
    """Mean and deviation of each frame's colours as a viewer sees them: t 3 each"""
    x = see(clip) / 2 + 0.5
    return x.mean((2, 3)), x.std((2, 3), correction=0)


def test_three_percent_a_chunk_comes_out_flat_in_every_frame_when_held_to_the_start():
    way = long.plan(8 * 13 / 7, 7, 14, closed=False)
    held, most = (long.extend(drifting(1.03, 0.02), way, hold=holding("start", a)) for a in (1.0, 0.7))
    for seen in colours(held):
        assert_close(seen, seen[:1].expand_as(seen), rtol=1e-3, atol=1e-3)
    left = 1.03 ** (0.3 / 0.7)  # a share of 0.3 stays, of that 0.3 again, and so on
    deviation = colours(most)[1]
    assert_close(deviation[-1] / deviation[0], torch.full((3,), left), rtol=2e-3, atol=0)


def test_what_the_start_takes_back_has_a_limit_in_every_chunk():
    """A real fade, 60 % of the contrast in each chunk, stays one, and so does a light that is switched on."""
    way = long.plan(2 * 13 / 7, 7, 14, closed=False)
    chunks = []
    hold = holding("start", 1.0)
    clip = long.extend(drifting(0.4), way, hold=hold, on_chunk=lambda k, clip, drift: chunks.append(drift))
    deviation = colours(clip)[1]
    assert_close(deviation[13] / deviation[0], torch.full((3,), 0.4 * 4 / 3), rtol=1e-4, atol=0)
    assert all(drift.clamped for drift in chunks)
    way = long.plan(13 / 7 + 1 / 7, 7, 14, closed=False)
    lit = long.extend(drifting(1.0, 4.0), way, hold=holding("start", 1.0))
    mean, deviation = colours(lit)
    light = MIX.sum(1) / 4 * 4.0 / 2
    step = mean[-1] - mean[0]
    assert_close(step, light - deviation[0] / 3, rtol=1e-4, atol=0)


def test_colours_are_mixed_where_the_decoder_mixes_them():
    """A drift of the tint that no gain or offset of single channels could take back."""
    turning = torch.zeros(4, 4)
    turning[0, 1], turning[1, 0], turning[1, 2] = 0.1, -0.1, 0.05

    def chunk(k, clip):
        turned = torch.linalg.matrix_exp(torch.linspace(0, 1, 14)[:, None, None] * turning)
        return torch.einsum("tij,jhw->tihw", turned, texture() if clip is None else clip[-1])

    way = long.plan((6 * 13 + 1) / 7, 7, 14, closed=False)
    free, held = (long.extend(chunk, way, hold=hold) for hold in (None, holding("start", 1.0)))
    wrong, left = (torch.cov(see(x)[-1].flatten(1)) - torch.cov(see(x)[0].flatten(1)) for x in (free, held))
    assert left.norm() < 1e-3 * wrong.norm()


@pytest.mark.parametrize("to", HELD_TO)
def test_first_frame_and_joins_are_untouched(to):
    z = drifting(1.2)(0, None)
    out, clamped = holding(to, 1.0)(z, z[0])
    assert clamped == (to == "chunk"), "20 % lie between both limits"
    assert torch.equal(out[0], z[0])
    gain = anchor.trend(z)[0].exp()
    assert_close(gain, torch.full((4,), 1.2, dtype=torch.float64), rtol=1e-4, atol=0)


def walking(k, clip):
    """Depends on the number of the chunk and the past alone, as every chunk must."""
    noise = torch.randn(14, 4, 8, 8, generator=torch.Generator().manual_seed(k))
    return noise + (texture() if clip is None else clip[-1])


@pytest.mark.parametrize("to", HELD_TO)
def test_longer_video_begins_with_the_shorter_one_and_resumes(to):
    short, longer = (
        long.extend(walking, long.plan(s, 7, 14, closed=False), hold=holding(to, 0.7)) for s in (4, 9)
    )
    assert torch.equal(longer[: len(short)], short)
    asked = []
    again = long.extend(
        lambda k, clip: asked.append(k) or walking(k, clip),
        long.plan(9, 7, 14, closed=False),
        hold=holding(to, 0.7),
        begin=short,
    )
    assert torch.equal(again, longer)
    assert asked == [2, 3, 4], "two whole chunks of the 28 frames were taken over"


@pytest.mark.slow
@torch.no_grad()
def test_two_minutes_decode_in_pieces_exactly_across_all_joins(monkeypatch):
    """840 frames in 65 chunks, in the least memory, against all in one piece: the frames around every join
    are off by 1e-6 at most. Decoded chunk by chunk, they are off by 17 % at least.
    """
    vae, way = references.vae(replace(TINY, ch=8, ch_mult=(1, 2))), long.plan(120, 7, 14, closed=False)
    z = long.extend(lambda k, clip: walking(k, None)[..., :4, :4], way, hold=holding("chunk", 0.7))
    joins = torch.arange(13, 839, 13)
    assert (len(z), len(joins)) == (840, 64)
    monkeypatch.setattr(exact, "plan", lambda *args, **options: Plan(keep=0.0, offload=False, peak=0))
    whole, made = vae.decode(z, t=840), exact.decode(vae, z, t=840, memory=1)
    apart = torch.cat([vae.decode(z[j : j + 14], t=len(z[j : j + 14]))[j > 0 :] for j in range(0, 839, 13)])
    for k in (-1, 0, 1):
        assert max(relative_error(made[i], whole[i]) for i in joins + k) < 1e-5
        assert min(relative_error(apart[i], whole[i]) for i in joins + k) > 0.1


def test_closing_chunk_keeps_its_colours():
    way = long.plan(13 / 7, 7, 14, closed=True)
    closed = long.extend(drifting(1.05), way, hold=holding("chunk", 1.0), closed=True)
    assert spread(closed) == pytest.approx(1.05, rel=1e-5)


def test_search_goes_on_with_the_step_that_fits():
    """Each start denoises to a ramp of its own slope, the mean of its frames;
    the search finds the asked slope.
    """
    sigmas, ramp = karras(8), torch.arange(6.0).view(6, 1, 1, 1)

    def denoise(x, sigma):
        return ramp * torch.sign(x.mean()) * x.mean().abs().clamp(max=3) / 3 * torch.ones_like(x)

    starts = [torch.full((6, 2, 3, 3), float(v)) * 700 for v in (-1, 1)]
    seen, chosen = [], []
    run = long.search(samplers.euler, starts, until=20.0, step=torch.ones(2, 3, 3), on_choice=chosen.append)
    out = run(denoise, starts[0], sigmas, on_step=lambda i, n: seen.append((i, n)))
    assert chosen == [1]
    assert_close(out[5], torch.full((2, 3, 3), 5.0), rtol=0.4, atol=0)
    steps = long.steps_of(sigmas, 20.0, 2)
    assert seen == [(i, steps) for i in range(steps)]
    assert_close(
        long.search(samplers.euler, starts[:1], until=20.0, step=torch.ones(2, 3, 3))(
            denoise, starts[0], sigmas
        ),
        samplers.euler(denoise, starts[0], sigmas),
    )


def test_drifting_chunks_say_when_they_went_beyond_the_clamp():
    drifts = []
    way = long.plan(3 * 13 / 7, 7, 14, closed=False)
    hold = holding("chunk", 0.0)
    long.extend(drifting(1.3), way, hold=hold, on_chunk=lambda k, clip, drift: drifts.append((k, drift)))
    assert [(k, drift.clamped) for k, drift in drifts] == [(0, True), (1, True), (2, True)]


def test_one_clip_is_advised_where_it_is_long_enough():
    way = long.plan(2.8, 7, 14, closed=False)
    assert way.chunks == 2
    assert "set fps to 5 and use Interpolate Video" in long.one_clip(way, 2.8, False)
    assert long.one_clip(way, 2.8, True) is None, "a closed end needs its chunks"
    assert long.one_clip(long.plan(3, 7, 14, closed=False), 3, False) is None, "4 fps were not trained"
    assert long.one_clip(long.plan(2, 7, 14, closed=False), 2, False) is None, "it is one clip"


@pytest.mark.parametrize("given", [(0, 7, 14), (float("nan"), 7, 14), (5, 0, 14), (5, 7, 2)])
def test_absurd_lengths_get_one_sentence(given):
    with pytest.raises(ValueError, match="use (numbers above 0|at least 3)"):
        long.plan(*given, closed=False)
