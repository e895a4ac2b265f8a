"""Nearest neighbours against explicit float64 differences."""

import pytest
import torch
from torch import Tensor

from pointssl.ops.neighbours import knn, knn_among, knn_reference
from pointssl_datasets.base.errors import UserError

pytestmark = pytest.mark.usefixtures("backend")


def distances(points: Tensor, idx: Tensor) -> Tensor:
    """Sorted float64 distances to the chosen points: what must agree when some are equally far."""
    points = points.double()
    batch = torch.arange(len(points))[:, None, None]
    return (points[batch, idx] - points[:, :, None]).norm(dim=-1).sort(-1).values


def clouds(count: int, points: int, channels: int, seed: int = 0) -> Tensor:
    return torch.randn(count, points, channels, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channels", [1, 3, 64])
@pytest.mark.parametrize(
    ("points", "k"),
    [(1, 1), (7, 7), (50, 1), (160, 20), (161, 20), (168, 20), (169, 20), (500, 20), (515, 60)],
)
def test_equals_the_reference(points: int, k: int, channels: int):
    x = clouds(2, points, channels).double()
    found = knn(x, k)
    assert found.shape == (2, points, k)
    assert found.dtype == torch.int64
    assert torch.equal(found.sort(-1).values, knn_reference(x, k).sort(-1).values)


def test_the_reference_by_hand():
    x = torch.tensor([[[0.0], [1.0], [3.0], [7.0]]])
    assert knn_reference(x, 2).tolist() == [[[0, 1], [1, 0], [2, 1], [3, 2]]]
    assert knn_reference(x, 3)[0, 3].tolist() == [3, 2, 1]


def test_far_from_the_origin():
    """float32 leaves 1e-4 of resolution at 1000; neighbours must be as near as the true ones."""
    x = clouds(2, 400, 3) + 1000
    assert torch.allclose(
        distances(x, knn(x, 10)), distances(x, knn_reference(x, 10)), rtol=1e-2, atol=1e-3
    )


@pytest.mark.parametrize("points", [60, 400])
def test_duplicates(points: int):
    x = clouds(2, points, 3)
    x[:, points // 4 :] = x[:, :1]
    found = knn(x, 20)
    assert all(len(row.unique()) == 20 for row in found.flatten(0, 1))
    assert torch.allclose(distances(x, found), distances(x, knn_reference(x, 20)), atol=2e-3)


def test_all_points_the_same():
    found = knn(torch.ones(2, 300, 3), 20)
    assert all(len(row.unique()) == 20 for row in found.flatten(0, 1))
    assert int(found.min()) >= 0
    assert int(found.max()) < 300


def test_input_that_is_not_contiguous():
    x = clouds(3, 200, 3).permute(2, 1, 0).contiguous().permute(2, 1, 0).double()
    assert not x.is_contiguous()
    assert torch.equal(knn(x, 9).sort(-1).values, knn_reference(x, 9).sort(-1).values)


@pytest.mark.parametrize("find", [knn, knn_reference])
def test_too_few_points(find):
    with pytest.raises(
        UserError, match=r"clouds of 5 points .* k = 6.*raise --points or lower --k"
    ):
        find(clouds(1, 5, 3), 6)


def test_no_gradient_flows():
    x = clouds(1, 200, 3).requires_grad_()
    assert not knn(x, 3).requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_does_not_reach_the_search(dtype: torch.dtype):
    """Near points are as good as equal in half precision, and other neighbours another network."""
    x = torch.nn.functional.normalize(clouds(2, 300, 3), dim=-1)
    exact = knn(x, 20).sort(-1).values
    among = knn_among(x[:, :50], x, 3).sort(-1).values
    with torch.autocast("cpu", dtype):
        assert torch.equal(knn(x, 20).sort(-1).values, exact)
        assert torch.equal(knn_among(x[:, :50], x, 3).sort(-1).values, among)
    narrow = x.to(dtype)
    found = knn(narrow, 20).sort(-1).values
    assert torch.equal(found, knn(narrow.float(), 20).sort(-1).values)


@pytest.mark.parametrize("spoilt", [False, True])
def test_a_large_cloud(spoilt: bool):
    """Where the CPU's kernels sort the points of space into boxes, unless some are not numbers."""
    x = clouds(1, 2100, 3).double()
    if spoilt:
        x[0, 5] = torch.nan
        assert 0 <= int(knn(x, 20).min()) <= int(knn(x, 20).max()) < 2100
    else:
        assert torch.equal(knn(x, 20).sort(-1).values, knn_reference(x, 20).sort(-1).values)
