"""Samplers and noise levels against closed forms: for Gaussian data the ODE has an exact solution."""

import math

import pytest
import torch
from torch.testing import assert_close

from svd_core.sampling import noise_levels, samplers

STD = 0.7  # deviation of the Gaussian data


def denoise(x, sigma):
    """The exact denoiser of N(0, STD²) data."""
    return x * STD**2 / (STD**2 + sigma**2)


def exact(x, sigma_max):
    """Where the probability-flow ODE takes x from sigma_max to 0."""
    return x * STD / math.sqrt(STD**2 + sigma_max**2)


def start():
    x = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x * 80.0


def levels(n):
    return noise_levels.karras(n, sigma_max=80.0).double()


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_error_falls_with_the_order_of_the_sampler(name, order):
    sample = samplers.SAMPLERS[name]
    errors = [(sample(denoise, start(), levels(n)) - exact(start(), 80.0)).norm() for n in (40, 160)]
    # Four times the steps: 4^order less error, a third of which is granted to the asymptotic regime.
    assert errors[0] / errors[1] > 4**order / 1.5


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m"])
def test_deterministic_samplers_reach_the_exact_solution(name):
    x = samplers.SAMPLERS[name](denoise, start(), levels(400))
    assert_close(x, exact(start(), 80.0), rtol=0.03 if name == "euler" else 1e-3, atol=1e-4)


def test_euler_with_churn_draws_from_its_generator_only():
    state = torch.get_rng_state()
    runs = [
        samplers.euler(denoise, start(), levels(8), S_churn=4.0, generator=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    ]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_churn_needs_a_generator():
    with pytest.raises(ValueError, match="generator"):
        samplers.euler(denoise, start(), levels(4), S_churn=4.0)


@pytest.mark.parametrize("name", ["euler", "heun"])
@pytest.mark.parametrize(("within", "raised"), [({}, 6), (dict(S_tmin=1.0, S_tmax=20.0), 2)])
def test_churn_raises_the_levels_within_its_bounds(name, within, raised):
    sigmas, seen = torch.tensor([80.0, 20.0, 4.0, 0.9, 0.2, 0.01, 0.0]), []

    def record(x, sigma):
        seen.append(float(sigma))
        return torch.zeros_like(x)

    samplers.SAMPLERS[name](
        record, start().float(), sigmas, S_churn=0.6, generator=torch.Generator(), **within
    )
    first = seen[:: 2 if name == "heun" else 1]
    factors = [s / float(sigma) for s, sigma in zip(first, sigmas)]
    assert sum(f == pytest.approx(1.1, rel=1e-5) for f in factors) == raised
    assert sum(f == pytest.approx(1.0, rel=1e-5) for f in factors) == 6 - raised


def test_churn_adds_at_most_the_square_root_of_two():
    _, t_hat = samplers.churn(start(), levels(4), 0, 1e6, 0.0, math.inf, 1.0, torch.Generator())
    assert t_hat.item() == pytest.approx(80.0 * math.sqrt(2))


@pytest.mark.parametrize("S_noise", [0.0, 2.0])
def test_noise_of_churn_and_ancestors_is_scaled(S_noise):
    """Nothing but noise of the stated deviation is left where the data are 0."""
    x, g = torch.zeros(100_000, dtype=torch.float64), torch.Generator().manual_seed(6)
    y, t_hat = samplers.churn(x, levels(4), 0, 1.0, 0.0, math.inf, S_noise, g)
    assert_close(y.std(), S_noise * (t_hat**2 - 80.0**2).sqrt(), rtol=0.02, atol=1e-9)
    sigmas = torch.tensor([4.0, 2.0], dtype=torch.float64)
    y = samplers.euler_ancestral(lambda x, sigma: 0 * x, x, sigmas, S_noise=S_noise, generator=g)
    assert_close(
        y.std(), S_noise * (2.0 * torch.tensor(0.75, dtype=torch.float64).sqrt()), rtol=0.02, atol=1e-9
    )


def test_first_latent_has_the_deviation_of_noised_data():
    assert samplers.initial(torch.ones(1), torch.tensor(math.sqrt(3.0))).item() == pytest.approx(2.0)


def test_churned_latents_keep_the_deviation_of_their_noise_level():
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 80.0
    y, t_hat = samplers.churn(x, levels(8), 0, 8.0, 0.0, math.inf, 1.0, torch.Generator().manual_seed(4))
    assert t_hat > 80.0
    assert_close(y.std(), t_hat, rtol=0.01, atol=0)  # 200,000 draws: standard error 0.16 %


def test_ancestral_samples_have_the_data_deviation():
    g = torch.Generator().manual_seed(5)
    x = torch.randn(20_000, generator=g, dtype=torch.float64) * math.sqrt(80.0**2 + STD**2)
    y = samplers.euler_ancestral(denoise, x, levels(200), generator=g)
    assert_close(y.std().item(), STD, rtol=0.03, atol=0)  # 0.5 % sampling error, 1-2 % of 200 Euler steps


def test_ancestral_without_noise_is_euler():
    g = torch.Generator()
    assert_close(
        samplers.euler_ancestral(denoise, start(), levels(9), eta=0.0, generator=g),
        samplers.euler(denoise, start(), levels(9)),
    )


def test_consistency_sampling_returns_the_last_denoised_value():
    calls = []

    def record(x, sigma):
        calls.append(denoise(x, sigma))
        return calls[-1]

    x = samplers.lcm(record, start(), levels(4), generator=torch.Generator().manual_seed(0))
    assert torch.equal(x, calls[-1])
    assert len(calls) == 4


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_samplers_report_each_step_and_leave_their_arguments(name):
    x, sigmas, steps = start(), levels(5), []
    kept = x.clone(), sigmas.clone()
    kw = {"generator": torch.Generator()} if name in ("euler_ancestral", "lcm") else {}
    y = samplers.SAMPLERS[name](denoise, x, sigmas, on_step=lambda i, n: steps.append((i, n)), **kw)
    assert steps == [(i, 5) for i in range(5)]
    assert torch.equal(x, kept[0])
    assert torch.equal(sigmas, kept[1])
    assert y.shape == x.shape


def test_karras_levels_of_25_steps():
    published = [
        700,
        545.729,
        421.569,
        322.454,
        244.023,
        182.547,
        134.854,
        98.267,
        70.541,
        49.810,
        34.537,
        23.468,
        15.590,
    ]
    published += [10.097, 6.354, 3.870, 2.269, 1.273, 0.678, 0.339, 0.157, 0.0664, 0.0248, 0.00788, 0.002, 0]
    assert_close(
        noise_levels.karras(25), torch.tensor(published), rtol=4e-3, atol=1e-5
    )  # three printed digits


def test_ays_levels_are_the_published_ones_at_ten_steps():
    assert_close(noise_levels.ays(10), torch.tensor([*noise_levels.AYS_SVD[:-1], 0.0]))


def test_ays_levels_start_anywhere():
    for start in (695.0, 200.0, 60.0, 0.03, 0.002):
        assert noise_levels.ays(10, sigma_max=start)[0].item() == pytest.approx(start, rel=1e-5)
    assert noise_levels.ays(10, sigma_max=1000.0)[0] == 700


def test_share_of_the_schedule_counts_its_levels():
    for k, level in enumerate(noise_levels.karras(11)[:-1].tolist()):
        assert noise_levels.karras_share(level) == pytest.approx(1 - k / 10, abs=1e-5)
    assert noise_levels.karras_share(0.0) == 0


def test_exponential_levels_keep_their_ratio():
    sigmas = noise_levels.exponential(4, sigma_min=1.0, sigma_max=27.0)
    assert_close(sigmas, torch.tensor([27.0, 9.0, 3.0, 1.0, 0.0]))


def test_karras_levels_are_even_in_their_root():
    sigmas = noise_levels.karras(3, sigma_min=1.0, sigma_max=9.0, rho=2.0)
    assert_close(sigmas, torch.tensor([9.0, 4.0, 1.0, 0.0]))


def test_ays_levels_between_are_log_linear():
    sigmas = noise_levels.ays(20)
    assert len(sigmas) == 21
    assert_close(sigmas[1], torch.tensor(math.sqrt(700 * 54.5)))
    assert (sigmas[:-1] > sigmas[1:]).all()


@pytest.mark.parametrize(
    ("n", "published"),
    [
        (4, [700, 128.5637, 13.6784, 0.4969, 0]),
        (8, [700, 315.737, 128.564, 45.851, 13.678, 3.167, 0.497, 0.040, 0]),
    ],
)
def test_consistency_levels_are_those_of_animatelcm(n, published):
    assert_close(
        noise_levels.consistency(n), torch.tensor(published, dtype=torch.float32), rtol=1e-5, atol=5e-4
    )  # three printed decimals


def test_consistency_levels_end_with_the_grid():
    with pytest.raises(ValueError, match="41 steps do not fit the 40 levels"):
        noise_levels.consistency(41)


@pytest.mark.parametrize(
    "schedule", [noise_levels.consistency, noise_levels.karras, noise_levels.ays, noise_levels.exponential]
)
def test_one_step_goes_from_the_top_to_zero(schedule):
    assert_close(schedule(1), torch.tensor([700.0, 0.0]))


@pytest.mark.parametrize("schedule", [noise_levels.karras, noise_levels.ays, noise_levels.exponential])
@pytest.mark.parametrize("k", [1, 4, 8])
def test_tail_of_a_schedule_is_the_schedule_from_there(schedule, k):
    """So a lower start needs nothing but sigma_max and fewer steps."""
    levels = schedule(10)
    assert_close(schedule(10 - k, sigma_max=float(levels[k])), levels[k:], rtol=1e-4, atol=1e-7)


def test_lower_start_of_a_consistency_model_stays_on_its_levels():
    grid = noise_levels.consistency(40)
    levels = noise_levels.consistency(4, sigma_max=100.0)
    assert levels[0] == grid[grid <= 100][0]
    assert all(bool((grid == level).any()) for level in levels)
    with pytest.raises(ValueError, match="no level up to 0.001"):
        noise_levels.consistency(1, sigma_max=0.001)
