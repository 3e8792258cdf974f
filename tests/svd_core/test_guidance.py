"""Guidance over frames and levels: identities, network passes, projection, limits, momentum."""

import math

import pytest
import torch
from torch.testing import assert_close

from svd_core.sampling import guidance, noise_levels, samplers
from svd_core.sampling.guidance import Guidance, Shape

from . import references
from .test_loop import T, conditioning, noise

SCALE = guidance.linear(1.0, 2.5, 6)


def pair(frames=6, clips=1):
    g = torch.Generator().manual_seed(4)
    return (torch.randn(frames * clips, 4, 5, 7, generator=g) for _ in range(2))


def test_trapezoid_has_its_plateau_at_the_maximum():
    assert guidance.trapezoid(1.0, 3.0, 20).tolist() == [1.0, 2.0, *[3.0] * 16, 2.0, 1.0]
    assert torch.equal(guidance.trapezoid(1.0, 3.0, 9), guidance.constant(1.0, 3.0, 9))  # a tenth is no frame
    assert torch.equal(guidance.trapezoid(1.0, 3.0, 14, edge=0.0), guidance.constant(1.0, 3.0, 14))


@pytest.mark.parametrize(
    "shape",
    [Shape(), Shape(from_level=700.0), Shape(eta=1.0, limit=0.0, momentum=0.0, limit_over="frame")],
    ids=str,
)
def test_neutral_shapes_are_plain_guidance(shape):
    c, u = pair()
    plain = u + SCALE.view(-1, 1, 1, 1) * (c - u)
    found = Guidance(SCALE, shape)(c, u, 3.0)
    assert torch.equal(found, guidance.guide(c, u, SCALE))
    assert_close(found, plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [dict(eta=0.999999999), dict(limit=1e9), dict(momentum=1e-12)], ids=str)
def test_shaped_formula_meets_the_plain_one(options):
    """Settings next to the neutral ones take the general formula, which must agree with the short one."""
    c, u = pair()
    assert_close(
        Guidance(SCALE, Shape(**options))(c, u, 3.0), guidance.guide(c, u, SCALE), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(
    "options",
    [
        dict(eta=0.0),
        dict(limit=0.01),
        dict(momentum=-0.5),
        dict(over_levels="as CFG++"),
        dict(eta=0.3, limit=0.2, limit_over="frame", momentum=0.5, over_levels="as CFG++", from_level=9.0),
    ],
    ids=str,
)
def test_scale_of_one_is_the_conditional_model_whatever_else_is_set(options):
    c, u = pair(clips=2)
    run = Guidance(torch.tensor([1.0, 2.0, 1.0, 3.0, 0.5, 1.0]), Shape(**options), noise_levels.karras(5))
    for sigma in (700.0, 5.0, 0.3):
        found = run(c, u, sigma).view(2, 6, 4, 5, 7)
        assert torch.equal(found[:, [0, 2, 5]], c.view(2, 6, 4, 5, 7)[:, [0, 2, 5]])


def test_projected_guidance_is_orthogonal_to_the_picture():
    c, u = pair()
    added = Guidance(SCALE, Shape(eta=0.0))(c, u, 3.0) - c
    inner = (added * c).flatten(1).sum(1) / (added.flatten(1).norm(dim=1) * c.flatten(1).norm(dim=1) + 1e-12)
    assert inner.abs().max() < 1e-6
    assert (((c - u) * c).flatten(1).sum(1)).abs().min() > 0.1  # it was not before
    half = Guidance(SCALE, Shape(eta=0.5))(c, u, 3.0) - c
    whole = guidance.guide(c, u, SCALE) - c
    assert_close(half, (added + whole) / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(3, 4), (12, 16)])
def test_limit_binds_to_the_root_mean_square_at_every_size(size):
    g = torch.Generator().manual_seed(1)
    c, u = (torch.randn(12, 4, *size, generator=g) for _ in range(2))
    u[6:] = c[6:] + (u[6:] - c[6:]) * 1e-4  # the second clip differs too little to be limited
    two = torch.full((6,), 2.0)  # so that D - D_c is what was made of the difference
    added = Guidance(two, Shape(limit=0.05))(c, u, 3.0) - c
    assert_close(added[:6].square().mean().sqrt(), torch.tensor(0.05), rtol=1e-4, atol=0)
    assert_close(added[6:], (c - u)[6:], rtol=1e-2, atol=1e-6)
    factor = 0.05 / (c - u)[:6].square().mean().sqrt()
    assert_close(added[:6], factor * (c - u)[:6], rtol=1e-3, atol=1e-6)  # one factor a clip
    each = Guidance(two, Shape(limit=0.05, limit_over="frame"))(c, u, 3.0) - c
    assert_close(each[:6].flatten(1).square().mean(1).sqrt(), torch.full((6,), 0.05), rtol=1e-4, atol=0)


def test_momentum_adds_earlier_differences_and_forgets_another_run():
    c, u = pair()
    run, two = Guidance(torch.full((6,), 2.0), Shape(momentum=-0.5)), c - u
    added = [run(c, u, sigma) - c for sigma in (9.0, 3.0, 1.0, 9.0)]
    for found, share in zip(added, (1.0, 0.5, 0.75, 1.0)):
        assert_close(found, share * two, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="asks once at each level"):
        run(c, u, 9.0)


@pytest.mark.parametrize(
    ("options", "guided"),
    [
        ({}, 5),
        (dict(from_level=100.0), 3),
        (dict(from_level=5.0, to_level=0.3), 1),
        (dict(from_level=3.0, to_level=3.0), 0),
        (dict(to_level=700.1), 0),
    ],
    ids=str,
)
def test_passes_outside_the_interval_cost_half(options, guided):
    unet, rows = references.unet(references.SMALL), []
    unet.register_forward_pre_hook(lambda module, args: rows.append(len(args[0]) // T))
    sigmas = torch.tensor([700.0, 200.0, 50.0, 4.0, 0.2, 0.0])
    run = Guidance(guidance.linear(1.0, 2.5, T), Shape(**{"from_level": math.inf, **options}), sigmas)
    with torch.no_grad():
        out = samplers.euler(guidance.guided(unet, conditioning(), run), noise() * 700, sigmas)
    assert sum(rows) == 5 + guided
    assert rows.count(2) == guided
    if not guided:
        alone = guidance.guided(unet, conditioning(), torch.ones(T))
        with torch.no_grad():
            assert torch.equal(out, samplers.euler(alone, noise() * 700, sigmas))


def test_interval_is_open_below_and_closed_above():
    run = Guidance(SCALE, Shape(from_level=5.0, to_level=1.0))
    for sigma, inside in ((5.0, True), (5.001, False), (1.0, False), (1.001, True)):
        assert torch.equal(run.scale_at(sigma), SCALE) == inside


@pytest.mark.parametrize("n", [1, 2, 25])
def test_weights_as_cfg_plus_plus_have_mean_one_and_its_ratios(n):
    sigmas = noise_levels.karras(n)
    run = Guidance(torch.tensor([1.0, 2.0]), Shape(over_levels="as CFG++"), sigmas)
    weights = torch.stack([run.scale_at(s)[1] - 1 for s in sigmas[:-1]])
    assert_close(weights.mean(), torch.tensor(1.0), rtol=1e-4, atol=0)
    kappa = 1 / (1 - sigmas[1:] / sigmas[:-1])
    assert_close(weights / weights[-1], kappa / kappa[-1], rtol=1e-3, atol=1e-4)
    if n > 2:  # between two levels it lies between their weights
        between = run.scale_at(float((sigmas[3] * sigmas[4]).sqrt()))[1] - 1
        assert_close(between, (weights[3] + weights[4]) / 2, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(from_level=1.0, to_level=2.0), "upside down"),
        (dict(from_level=float("nan")), "not a number"),
        (dict(eta=float("nan")), "eta is nan"),
        (dict(limit=-1.0), "limit is -1"),
        (dict(momentum=1.1), "momentum is 1.1; use -1 to 1"),
        (dict(momentum=-1.1), "momentum is -1.1; use -1 to 1"),
        (dict(eta=1.1), "eta is 1.1; use 0 to 1"),
        (dict(eta=-0.1), "eta is -0.1; use 0 to 1"),
        (dict(over_levels="odd"), "over_levels is odd; use even or as CFG"),
        (dict(limit_over="row"), "limit_over is row; use clip or frame"),
    ],
)
def test_wrong_shapes_get_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Shape(**options)


@pytest.mark.parametrize(
    "options",
    [dict(eta=0.0), dict(limit=math.inf), dict(momentum=-1.0), dict(momentum=1.0), dict(to_level=math.inf)],
)
def test_bounds_of_shapes_are_allowed(options):
    assert vars(Shape(**options)) == vars(Shape()) | options


def test_weights_over_levels_need_levels():
    with pytest.raises(ValueError, match="needs the levels"):
        Guidance(SCALE, Shape(over_levels="as CFG++"))
