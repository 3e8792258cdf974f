"""Layers against the stock ones in float64."""

import pytest
import torch
import torch.nn.functional as F

from svd_core.models import ops

from .references import relative_error


def channels_last(*shape, mean=0.0):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=g) + mean * torch.randn(1, shape[1], 1, 1, generator=g)
    return x.to(memory_format=torch.channels_last)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(2, 32, 3, 5), (3, 32, 64, 96), (2, 64, 7, 351), (1, 16, 3, 40_000)])
@pytest.mark.parametrize("mean", [0.0, 5.0])
def test_group_norm_equals_float64(shape, mean):
    """1e-6 is float32 rounding of data five deviations off zero; the stock channels-last kernel: 5e-5."""
    x = channels_last(*shape, mean=mean)
    weight, bias = torch.rand(shape[1]) + 0.5, torch.randn(shape[1])
    expected = F.group_norm(x.double(), 16, weight.double(), bias.double(), 1e-5)
    y = ops.group_norm(x, 16, weight, bias, 1e-5)
    assert relative_error(y, expected) <= 2e-6
    assert y.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_group_norm_of_single_values_is_its_bias():
    """Where every group is one value, which the stock function refuses as if it were to be trained on."""
    norm = ops.GroupNorm(4, 4)
    norm.bias.copy_(torch.arange(4.0))
    x = torch.rand(1, 4, 1, 1, generator=torch.Generator().manual_seed(0))
    # x and the mean are scaled by 1 / sqrt(1e-5) = 316 apart from each other; a float there is known to 3e-5.
    torch.testing.assert_close(norm(x).flatten(), norm.bias, rtol=0, atol=3e-5)


def test_group_norm_has_the_stock_gradient():
    x = channels_last(2, 32, 32, 32).requires_grad_()
    (ours,) = torch.autograd.grad(
        ops.group_norm(x, 8, torch.ones(32), torch.zeros(32), 1e-5).square().sum(), x
    )
    (stock,) = torch.autograd.grad(F.group_norm(x, 8).square().sum(), x)
    torch.testing.assert_close(ours, stock)


def test_group_norm_learns_from_an_input_that_needs_no_gradient():
    """Torch 2.11 ends the process here on a channels-last input."""
    x, weight = channels_last(1, 8, 3, 16), torch.ones(8, requires_grad=True)
    (ours,) = torch.autograd.grad(ops.group_norm(x, 4, weight, torch.zeros(8), 1e-5).square().sum(), weight)
    (stock,) = torch.autograd.grad(F.group_norm(x.contiguous(), 4, weight).square().sum(), weight)
    torch.testing.assert_close(ours, stock)


@torch.no_grad()
def test_normalising_in_place_gives_the_same_values():
    x = channels_last(2, 32, 32, 32, mean=2.0)
    kept, weight, bias = x.clone(), torch.rand(32) + 0.5, torch.randn(32)
    expected = ops.group_norm(x, 8, weight, bias, 1e-5)
    assert torch.equal(x, kept)
    y = ops.group_norm(x, 8, weight, bias, 1e-5, inplace=True)
    assert y.data_ptr() == x.data_ptr()
    assert torch.equal(y, expected)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 8, 4, 4), (2, 8, 5, 7), (2, 8, 64, 64)])
def test_moments_equal_float64(shape):
    x = channels_last(*shape, mean=3.0)
    mean, variance = ops.moments(x, 4)
    exact_variance, exact_mean = torch.var_mean(x.double().reshape(shape[0], 4, -1), dim=2, correction=0)
    assert relative_error(mean, exact_mean) <= 1e-6
    assert relative_error(variance, exact_variance) <= 1e-6


def test_merged_moments_are_those_of_the_union():
    x = torch.randn(1, 4, 60, 1, generator=torch.Generator().manual_seed(1)) + 2
    parts = [ops.moments(p, 2) for p in x.split([10, 20, 30], dim=2)]
    mean, variance = (torch.stack(v) for v in zip(*parts))
    merged = ops.merge_moments(mean, variance, torch.tensor([10.0, 20.0, 30.0]).view(3, 1, 1), dim=0)
    for a, b in zip(merged, ops.moments(x, 2)):
        torch.testing.assert_close(a, b)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(3, 7, 24), (2, 400, 24), (1, 331, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_equals_float64(shape, bias):
    layer = ops.Linear(24, 40, bias=bias)
    x = torch.randn(shape)
    y = layer(x)
    assert y.shape == (*shape[:-1], 40)
    assert relative_error(y, layer.double()(x.double())) <= 1e-6


@torch.no_grad()
def test_linear_takes_strided_rows():
    x = torch.randn(512, 2, 24)
    layer = ops.Linear(24, 8)
    torch.testing.assert_close(layer(x[:, 0]), F.linear(x[:, 0].contiguous(), layer.weight, layer.bias))


def test_silu_works_in_place_only_without_gradients():
    x = torch.randn(8)
    kept = x.clone()
    ops.SiLU()(x)
    assert torch.equal(x, kept)
    with torch.no_grad():
        y = ops.SiLU()(x)
    assert y.data_ptr() == x.data_ptr()
    torch.testing.assert_close(y, F.silu(kept))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mean", [0.0, 5.0])
def test_moments_of_an_accelerator_equal_float64(dtype, mean):
    """Of a view that is not dense; half precision by a difference of squares in float32."""
    x = channels_last(3, 32, 40, 24, mean=mean).to(dtype)[:, :, 3:17]
    groups = x.double().unflatten(1, (8, -1)).flatten(2)
    found = ops.device_moments(x, 8)
    assert relative_error(found[0], groups.mean(2)) <= 1e-5
    assert relative_error(found[1], groups.var(2, correction=0)) <= 1e-5
    assert all(moment.dtype == torch.float32 for moment in found)
