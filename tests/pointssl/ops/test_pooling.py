"""Maximum and mean over points against torch's."""

import pytest
import torch

from pointssl.ops.pooling import max_and_mean_over_points, max_over_points

pytestmark = pytest.mark.usefixtures("backend")


def a_cloud(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    x = torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(0), dtype=dtype).mT
    x[1, 3:6] = x[1, :1] + 9  # equal ones: the gradient goes to the first
    assert not x.is_contiguous()
    return x


def gradients(run, x: torch.Tensor) -> list[torch.Tensor]:
    inside = x.clone().requires_grad_()
    outputs = run(inside)
    weights = torch.Generator().manual_seed(1)
    total = sum((y * torch.randn(y.shape, generator=weights, dtype=y.dtype)).sum() for y in outputs)
    return [*outputs, *torch.autograd.grad(total, inside)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_maximum_and_mean(dtype: torch.dtype):
    x = a_cloud(dtype)
    found = gradients(max_and_mean_over_points, x)
    expected = gradients(lambda x: (x.max(dim=1).values, x.mean(dim=1)), x)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_maximum_alone():
    x = a_cloud()
    found = gradients(lambda x: (max_over_points(x),), x)
    for ours, theirs in zip(found, gradients(lambda x: (x.max(dim=1).values,), x), strict=True):
        assert torch.equal(ours, theirs)


def test_nan_propagates_and_empty_clouds_raise():
    x = a_cloud()
    x[0, 4, 2] = torch.nan
    assert max_over_points(x).isnan().nonzero().tolist() == [[0, 2]]
    with pytest.raises(IndexError):
        max_over_points(x[:, :0])
