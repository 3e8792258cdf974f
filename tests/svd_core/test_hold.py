"""A clip held in D: the paper's overwriting, and the limits that follow from the formula."""

import pytest
import torch

from svd_core.control.hold import hold, in_parts
from svd_core.sampling import noise_levels, samplers

assert_close = torch.testing.assert_close
STRONG = 8


def draw(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SHAPE = (3, 4, 6, 5)
Z, NOISE = draw(1, *SHAPE), draw(2, *SHAPE)
MASK = (draw(3, 3, 1, 6, 5) > 0).double()
SIGMAS = noise_levels.karras(14, sigma_max=75.0).double()


def denoise(x, sigma):
    """A smooth nonlinear denoiser that mixes positions, so that what is held acts on what is free."""
    return torch.tanh((x.roll(1, -1) + x.roll(1, 0) / 2) / (1 + sigma)) + 0.3 * x / (1 + sigma**2)


def overwritten(method):
    """The paper's algorithm: a step, then x <- m (z + sigma' noise) + (1 - m) x down to STRONG."""
    x = Z + SIGMAS[0] * NOISE
    for i in range(STRONG):
        x = method(denoise, x, SIGMAS[i : i + 2])
        x = MASK * (Z + SIGMAS[i + 1] * NOISE) + (1 - MASK) * x
    return method(denoise, x, SIGMAS[STRONG:])


def overwritten_inside(x, sigma):
    """What Heun's second call sees when x is overwritten between its two as well."""
    return denoise(MASK * (Z + sigma * NOISE) + (1 - MASK) * x, sigma)


def run(method, mask=MASK, level=float(SIGMAS[STRONG])):
    return method(hold(denoise, Z, mask, strong_level=level), Z + SIGMAS[0] * NOISE, SIGMAS)


def test_holding_equals_overwriting_under_euler():
    assert_close(run(samplers.euler), overwritten(samplers.euler), rtol=1e-9, atol=1e-9)


def test_holding_equals_overwriting_under_heun():
    """Both algorithms keep m (z + sigma noise) exactly, up to and including the second call of each step
    above STRONG.
    """
    x = Z + SIGMAS[0] * NOISE
    for i in range(STRONG):
        s, s_next = SIGMAS[i], SIGMAS[i + 1]
        d = (x - overwritten_inside(x, s)) / s
        middle = x + d * (s_next - s)
        d_prime = (middle - overwritten_inside(middle, s_next)) / s_next
        x = x + (d + d_prime) / 2 * (s_next - s)
        x = MASK * (Z + s_next * NOISE) + (1 - MASK) * x
    wanted = samplers.heun(denoise, x, SIGMAS[STRONG:])
    level = float(SIGMAS[STRONG]) * (1 - 1e-6)  # the second call of the last held step is at this level
    found = samplers.heun(
        hold(denoise, Z, MASK, strong_level=level), Z + SIGMAS[0] * NOISE, SIGMAS[: STRONG + 1]
    )
    assert_close(samplers.heun(denoise, found, SIGMAS[STRONG:]), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", [samplers.euler, samplers.heun, samplers.dpmpp_2m])
def test_everything_held_to_the_end_gives_the_clip(method):
    assert_close(run(method, torch.ones_like(MASK), level=0.0), Z, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", [samplers.euler, samplers.heun, samplers.dpmpp_2m])
def test_nothing_held_is_sampling_from_the_noised_clip(method):
    free = method(denoise, Z + SIGMAS[0] * NOISE, SIGMAS)
    assert torch.equal(run(method, torch.zeros_like(MASK)), free)
    assert torch.equal(run(method, level=float(SIGMAS[0])), free)


def test_what_is_held_to_the_end_is_exact_and_the_rest_is_not():
    found = run(samplers.euler, level=0.0)
    held = MASK.expand_as(Z) == 1
    assert_close(found[held], Z[held], rtol=1e-9, atol=1e-9)
    assert float((found - Z)[~held].abs().mean()) > 0.1


def test_a_multistep_sampler_starts_anew_below_the_border():
    """In parts it is the two runs one after the other; in one go it extrapolates from the held value."""
    level, reported = float(SIGMAS[STRONG]), []
    start = Z + SIGMAS[0] * NOISE
    x = samplers.dpmpp_2m(hold(denoise, Z, MASK, strong_level=0.0), start, SIGMAS[: STRONG + 1])
    wanted = samplers.dpmpp_2m(denoise, x, SIGMAS[STRONG:])
    held = hold(denoise, Z, MASK, strong_level=level)
    found = in_parts(
        samplers.dpmpp_2m, held, start, SIGMAS, border=level, on_step=lambda i, n: reported.append((i, n))
    )
    assert torch.equal(found, wanted)
    assert not torch.allclose(run(samplers.dpmpp_2m), wanted)
    assert reported == [(i, 14) for i in range(14)]


@pytest.mark.parametrize("border", [1000.0, float(SIGMAS[STRONG]), 3.3, 0.0])
def test_parts_change_nothing_for_a_one_step_sampler(border):
    start = Z + SIGMAS[0] * NOISE
    whole = samplers.heun(denoise, start, SIGMAS)
    assert torch.equal(in_parts(samplers.heun, denoise, start, SIGMAS, border=border), whole)


def test_any_tail_of_karras_is_karras_from_its_first_level():
    """Why a start level needs no new schedule."""
    whole = noise_levels.karras(30)
    for k in (5, 12, 20):
        tail = noise_levels.karras(30 - k, sigma_max=float(whole[k]))
        assert_close(tail, whole[k:], rtol=1e-4, atol=1e-7)


def test_a_half_held_latent_goes_straight_to_the_mean_of_both():
    """D = 0 held by half is D = z / 2, and Euler on a constant D is a straight line to it."""
    x = Z + SIGMAS[0] * NOISE
    half = hold(lambda x, sigma: torch.zeros_like(x), Z, torch.full_like(MASK, 0.5), strong_level=0.0)
    found = samplers.euler(half, x, SIGMAS[: STRONG + 1])
    assert_close(found, Z / 2 + (x - Z / 2) * (SIGMAS[STRONG] / SIGMAS[0]), rtol=1e-9, atol=1e-9)
