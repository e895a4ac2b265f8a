"""Norm and activation in one against torch's, one after the other."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointssl.ops.norm_act import norm_act

pytestmark = pytest.mark.usefixtures("backend")


def a_norm(channels: int, dtype: torch.dtype, momentum: float | None = 0.1) -> nn.BatchNorm1d:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(channels, momentum=momentum).to(dtype)
    nn.init.normal_(norm.weight)  # of both signs
    nn.init.normal_(norm.bias)
    return norm


def both(x: torch.Tensor, norm: nn.BatchNorm1d, slope: float):
    """Output, gradients and running statistics, ours and torch's."""
    found = []
    for run in (norm_act, lambda x, norm, slope: F.leaky_relu(norm(x), slope)):
        mine, inside = copy.deepcopy(norm), x.clone().requires_grad_()
        y = run(inside, mine, slope)
        torch.manual_seed(1)
        gradients = torch.autograd.grad(
            (y * torch.randn_like(y)).sum(), [inside, *mine.parameters()]
        )
        found.append([y, *gradients, *mine.buffers()])
    return zip(*found, strict=True)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(("rows", "channels"), [(2, 1), (7, 3), (16, 16), (333, 70)])
@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_equals_torch(rows: int, channels: int, slope: float, momentum: float | None):
    x = torch.randn(channels, rows, dtype=torch.float64).t() * 3 + 5  # strided, off the origin
    for ours, theirs in both(x, a_norm(channels, torch.float64, momentum), slope):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_single_precision_far_from_zero():
    """Squares of numbers near 1000 leave nothing of a variance near 1, unless they are centred."""
    x, norm = torch.randn(4000, 8) + 1000, a_norm(8, torch.float32)
    exact = copy.deepcopy(norm).double()
    y, expected = norm_act(x, norm, 0.2), norm_act(x.double(), exact, 0.2)
    torch.testing.assert_close(y, expected.float(), rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(norm.running_var, exact.running_var.float(), rtol=1e-2, atol=1e-5)


def test_a_channel_without_weight_or_variance():
    norm, x = a_norm(4, torch.float64), torch.randn(50, 4, dtype=torch.float64)
    with torch.no_grad():
        norm.weight[1] = 0
        x[:, 2] = 3.0
    for ours, theirs in both(x, norm, 0.2):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_evaluation_mode_and_a_single_row():
    norm, x = a_norm(4, torch.float32), torch.randn(9, 4)
    expected = F.leaky_relu(norm.eval()(x), 0.2)
    with torch.no_grad():
        torch.testing.assert_close(norm_act(x.clone(), norm, 0.2), expected)
    torch.testing.assert_close(norm_act(x, norm, 0.2), expected)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_act(x[:1], norm.train(), 0.2)


def test_only_overwrite_changes_the_input():
    norm, x = a_norm(4, torch.float32).eval(), torch.randn(9, 4)
    before = x.clone()
    with torch.no_grad():
        norm_act(x, norm, 0.2)
        assert torch.equal(x, before)
        expected = F.leaky_relu(norm(before), 0.2)
        torch.testing.assert_close(norm_act(x, norm, 0.2, overwrite=True), expected)
