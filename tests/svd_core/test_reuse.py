"""Reuse of deep features: exact where nothing is reused, counted, bounded by its own estimate, let go of."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from svd_core import pipeline
from svd_core.models.unet import Deep
from svd_core.sampling.denoiser import denoiser
from svd_core.sampling.guidance import Guidance, guided
from svd_core.sampling.noise_levels import karras
from svd_core.sampling.reuse import Pace, Reuse, difference
from svd_core.sampling.samplers import euler, initial
from tests.conftest import NANO

T = 4


@pytest.fixture(scope="module")
def svd():
    return pipeline.load(NANO, frames=T, width=64, height=64)


@pytest.fixture(scope="module")
def condition(svd):
    photo = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return pipeline.encode(svd, torch.nn.functional.interpolate(photo, size=(64, 64), mode="bicubic"))


def given(svd, condition, s=3.0):
    rows = condition.per_frame(T)
    x = torch.randn(T, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    c_noise = torch.full((T,), math.log(s) / 4)
    return torch.cat([x, rows.concat], 1), c_noise, rows.context, rows.vector


@pytest.mark.parametrize("branch", range(11))
@torch.no_grad()
def test_on_the_same_input_what_is_reused_changes_nothing(svd, condition, branch):
    arguments, deep = given(svd, condition), Deep(branch)
    whole = svd.unet(*arguments, t=T, deep=deep)
    assert torch.equal(whole, svd.unet(*arguments, t=T))
    assert torch.equal(svd.unet(*arguments, t=T, deep=deep), whole)


@pytest.mark.parametrize("branch", [0, 2])
@torch.no_grad()
def test_a_reused_pass_runs_the_outer_blocks_alone(svd, condition, branch):
    ran, deep = [], Deep(branch)
    blocks = [("input", svd.unet.input_blocks), ("output", svd.unet.output_blocks)]
    handles = [
        block.register_forward_hook(lambda *_, name=(stage, i): ran.append(name))
        for stage, stack in blocks
        for i, block in enumerate(stack)
    ]
    svd.unet(*given(svd, condition), t=T, deep=deep)
    assert len(ran) == 24
    ran.clear()
    svd.unet(*given(svd, condition), t=T, deep=deep)
    for handle in handles:
        handle.remove()
    outer = range(branch + 2)
    assert ran == [("input", i) for i in outer] + [("output", 12 - 1 - i) for i in reversed(outer)]


def run(svd, condition, pace, *, steps=25, scale=1.0, borders=()):
    sigmas = karras(steps)
    reuse = None if pace is None else Reuse(pace, sigmas, borders)
    guidance = Guidance(torch.linspace(1, scale, T), sigmas=sigmas)
    noise = torch.randn(T, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        denoise = guided(svd.unet, condition, guidance, reuse=reuse)
        return euler(denoise, initial(noise, sigmas[0]), sigmas), reuse


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("pace", [Pace(tau=0), Pace(tolerance=0), Pace(tau=0, uncond_every=3, tolerance=0)])
def test_where_nothing_may_be_reused_the_bytes_are_the_same(svd, condition, pace, scale):
    plain, _ = run(svd, condition, None, scale=scale, steps=8)
    found, reuse = run(svd, condition, pace, scale=scale, steps=8)
    assert torch.equal(found, plain)
    assert (reuse.reused, reuse.unguided, reuse.risk) == (0, 0, 0)


@pytest.mark.parametrize(("tau", "whole"), [(0.13, 18), (0.15, 16), (0.2, 13)])
def test_the_clock_of_the_network_decides_when(svd, condition, tau, whole):
    """25 Karras steps: the first two and the last two are whole, and where c_noise moved by more than tau."""
    levels, kept, counted = (karras(25)[:-1].log() / 4).tolist(), math.inf, 0
    for i, at in enumerate(levels):
        if i < 2 or i >= 23 or abs(at - kept) > tau:
            kept, counted = at, counted + 1
    _, reuse = run(svd, condition, Pace(tau=tau, tolerance=1.0))
    assert (reuse.whole, reuse.reused) == (counted, 25 - counted) == (whole, 25 - whole)


@pytest.mark.parametrize("pace", [Pace(0.13, tolerance=1), Pace(0.2, tolerance=1), Pace(0.2, 2, tolerance=1)])
def test_the_estimate_lies_above_the_error(svd, condition, pace):
    plain, _ = run(svd, condition, None)
    found, reuse = run(svd, condition, pace)
    true = float((found - plain).square().mean().sqrt() / plain.square().mean().sqrt())
    assert 0 < true <= reuse.risk


def test_what_was_risked_stays_within_the_tolerance(svd, condition):
    _, free = run(svd, condition, Pace(0.2, tolerance=1.0))
    found, bound = run(svd, condition, Pace(0.2, tolerance=free.risk / 2))
    assert 0 < bound.risk <= free.risk / 2
    assert 0 < bound.reused < free.reused
    assert bound.exact_from is not None
    assert f"Exact from noise level {bound.exact_from:.3g}" in bound.report()


def test_nothing_is_carried_over_a_border(svd, condition):
    levels = karras(25)[:-1]
    _, reuse = run(svd, condition, Pace(0.2, tolerance=1.0), borders=tuple((levels[1:] + levels[:-1]) / 2))
    assert reuse.reused == 0


def test_the_difference_that_guides_is_taken_from_the_step_before(svd, condition):
    plain, _ = run(svd, condition, None, scale=2.0)
    found, reuse = run(svd, condition, Pace(tau=0, uncond_every=2, tolerance=1.0), scale=2.0)
    assert (reuse.guided, reuse.unguided) == (25, 10)  # every other one from the 4th to the 22nd
    assert not torch.equal(found, plain)
    assert float((found - plain).square().mean().sqrt() / plain.square().mean().sqrt()) <= reuse.risk


def test_each_kind_of_pass_carries_its_own(svd, condition):
    reuse = Reuse(Pace(0.5, tolerance=1.0), karras(25))
    one, other = (denoiser(svd.unet, c, t=T, reuse=reuse) for c in (condition, condition.uncond()))
    x, sigma = torch.randn(T, 4, 8, 8), karras(25)[12]
    with torch.no_grad():
        for denoise in (one, one, other):
            denoise(x, sigma)
    assert [kept.refreshes for kept in reuse.kept.values()] == [2, 1]
    reuse.end()
    assert not reuse.kept


def test_difference_is_that_of_the_denoised():
    """By hand at sigma 1: D = x_in / sqrt(2) * ... with c_skip 1/2, c_out -1/sqrt(2), c_in 1/sqrt(2)."""
    x, c_noise = torch.ones(1, 8, 2, 2), torch.zeros(1)
    D = 0.5 * math.sqrt(2) - 1 / math.sqrt(2) * 3.0
    assert_close(
        difference(x, c_noise, torch.full((1, 4, 2, 2), 5.0), torch.full((1, 4, 2, 2), 3.0)),
        2 / math.sqrt(2) / abs(D),
    )


def test_a_pace_out_of_range_is_refused():
    for change in ({"tau": -1.0}, {"tolerance": math.nan}, {"branch": 11}, {"uncond_every": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(change))} is .*; use"):
            replace(Pace(), **change)


def test_the_readable_path_takes_a_pace(svd, condition):
    whole, quick = (pipeline.sample(svd, condition, seed=3, pace=pace) for pace in (None, Pace(tau=0)))
    assert torch.equal(whole, quick)
