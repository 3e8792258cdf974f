"""A lower start with the right mean, the low-pass, and conditions by noise level, against closed forms."""

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

from svd_core.control import motion
from svd_core.models.vae import SCALE
from svd_core.sampling import noise_levels, samplers

SHAPE = (5, 4, 6, 7)


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_strength_runs_from_untouched_to_the_lowest_start():
    assert motion.start_level(0.0) == 700.0
    assert motion.start_level(1.0) == pytest.approx(motion.LOWEST)
    levels = [motion.start_level(s / 10) for s in range(11)]
    assert levels == sorted(levels, reverse=True)
    assert [motion.raised_bucket(127, s) for s in (0.0, 0.5, 1.0)] == [127.0, 191.0, 255.0]
    assert motion.raised_bucket(300, 1.0) == 300.0


def end_of(mean, deviation, data_mean, data_variance, level):
    """Mean and deviation that exact sampling makes of N(mean, deviation²) for such data.

    The denoiser of Gaussian data is known and affine, so two runs carry the whole distribution.
    """

    def denoise(x, sigma):
        return data_mean + data_variance / (data_variance + sigma**2) * (x - data_mean)

    sigmas = noise_levels.karras(400, sigma_max=level).double()
    low, high = (samplers.heun(denoise, x, sigmas) for x in (mean, mean + deviation))
    return low, high - low


@pytest.mark.parametrize("level", [100.0, 10.0])
def test_analytic_init_removes_the_error_of_a_lower_start(level):
    a, variance = 2 * rand(*SHAPE), torch.full(SHAPE, 0.8, dtype=torch.float64)
    zero = torch.zeros_like(a)
    plain_mean, plain_deviation = end_of(zero, zero + level, a, variance, level)
    start = motion.Start(a, 0.8)
    spread = motion.first(torch.ones_like(a), level, start) - motion.first(zero, level, start)
    mean, deviation = end_of(motion.first(zero, level, start), spread, a, variance, level)
    assert_close(mean, a, rtol=0, atol=1e-9)
    assert_close(deviation, variance.sqrt(), rtol=1e-4, atol=0)  # 400 steps of Heun
    # starting around zero leaves the share sqrt(v / (v + level²)) of the mean behind
    assert_close(plain_mean - a, -a * (0.8 / (0.8 + level**2)) ** 0.5, rtol=1e-3, atol=0)
    assert (plain_deviation - variance.sqrt()).abs().min() > 0.3 / level**2


def test_analytic_init_helps_where_the_data_is_not_isotropic():
    a, variance, level = 2 * rand(*SHAPE), rand(*SHAPE, seed=1).square() + 0.05, 10.0
    zero = torch.zeros_like(a)
    start = motion.Start(a, float(variance.mean()))
    plain = end_of(zero, zero + level, a, variance, level)
    wide = zero + (level**2 + start.variance) ** 0.5
    init = end_of(a, wide, a, variance, level)
    errors = [
        [float((mean - a).abs().mean()), float((deviation - variance.sqrt()).abs().mean())]
        for mean, deviation in (plain, init)
    ]
    assert errors[1][0] < 1e-9 < 0.05 < errors[0][0]
    assert errors[1][1] < errors[0][1]


def test_first_latents_have_the_stated_mean_and_variance():
    start = motion.Start(torch.full((200, 4, 16, 16), 0.7), 3.0)
    noise = torch.randn(200, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    x = motion.first(noise, 2.0, start)
    assert float(x.mean()) == pytest.approx(0.7, abs=0.02)  # of 204800 draws with deviation 2.6
    assert float(x.var()) == pytest.approx(7.0, rel=0.02)


def test_statistics_of_clips_are_their_mean_and_variance(tmp_path):
    clips = [rand(*SHAPE, seed=i).float() for i in range(9)]
    start, count = motion.gather(iter(clips))
    assert count == 9
    z = torch.stack(clips)
    assert_close(start.mean, z.mean(0))
    assert start.variance == pytest.approx(float(z.var(0, unbiased=False).mean()), rel=1e-5)
    path = tmp_path / "mine.safetensors"
    save_file({motion.MEAN: start.mean, motion.VARIANCE: torch.tensor(start.variance)}, path)
    again = motion.read_statistics(path, SHAPE)
    assert torch.equal(again.mean, start.mean)
    assert again.variance == pytest.approx(start.variance)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"other": torch.zeros(2)}, "lacks Expectation_x_0 and trCov_d"),
        ({motion.MEAN: torch.zeros(9, 4, 6, 7), motion.VARIANCE: torch.ones(1)}, "cannot be resized"),
        (
            {motion.MEAN: torch.zeros(SHAPE), motion.VARIANCE: torch.tensor(-1.0)},
            "one variance of at least 0",
        ),
        ({motion.MEAN: torch.full(SHAPE, float("nan")), motion.VARIANCE: torch.ones(1)}, "no finite mean"),
        ({motion.MEAN: torch.zeros(SHAPE), motion.VARIANCE: torch.ones(2)}, "one variance"),
    ],
)
def test_wrong_statistics_get_one_sentence(tmp_path, tensors, sentence):
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match=rf"bad\.safetensors.*{sentence}"):
        motion.read_statistics(tmp_path / "bad.safetensors", SHAPE)


def test_colour_of_the_photo_holds_no_layout():
    concat = rand(1, 4, 6, 7).float() + torch.tensor([1.0, -2.0, 0.5, 3.0]).view(4, 1, 1)
    start = motion.colour(concat, 5)
    assert start.mean.shape == SHAPE
    assert_close(start.mean, (concat * SCALE).mean((2, 3), keepdim=True).expand(SHAPE))
    assert start.variance == pytest.approx(float((concat * SCALE).var((2, 3), unbiased=False).mean()))
    assert torch.equal(motion.photo(concat, 5).mean, (concat * SCALE).expand(SHAPE))


def test_low_pass_keeps_colour_and_takes_detail():
    z = rand(2, 4, 32, 48).float() + torch.tensor([1.0, -2.0, 0.5, 3.0]).view(4, 1, 1)
    assert torch.equal(motion.low_pass(z, 1.0), z)
    assert torch.equal(motion.low_pass(z, 0.3, 0.0), z)
    detail = [
        float((motion.low_pass(z, f) - z.mean((2, 3), keepdim=True)).square().mean())
        for f in (0.75, 0.5, 0.25)
    ]
    assert detail == sorted(detail, reverse=True)
    assert detail[-1] < 0.1
    smooth = motion.low_pass(torch.linspace(0, 1, 48).expand(1, 4, 32, 48), 0.5)
    assert float((smooth.mean() - 0.5).abs()) < 1e-3
    assert motion.low_pass(z, 0.01).shape == z.shape


def test_conditions_change_at_the_stated_level():
    denoise = motion.switched(lambda x, s: x + 1, lambda x, s: x - 1, 50.0)
    x = torch.zeros(2)
    assert [float(denoise(x, torch.tensor(s))[0]) for s in (700.0, 50.1, 50.0, 0.1)] == [1, 1, -1, -1]
