"""The backend torch-cluster against plain torch; `make test-cluster` builds it and runs these."""

import pytest
import torch
from torch import Tensor

from pointssl.ops import cluster
from pointssl.ops.backends import imports, using
from pointssl.ops.neighbours import knn, knn_reference
from pointssl.ops.sampling import farthest_points

needs_cluster = pytest.mark.skipif(
    not imports("torch_cluster"), reason="torch-cluster does not import: make test-cluster"
)


def clouds(count: int, points: int, channels: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, channels, points, generator=generator, dtype=dtype).mT


@needs_cluster
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("points", "channels", "k"), [(1, 3, 1), (5, 3, 5), (300, 3, 20),
    (300, 64, 20)])  # fmt: skip
def test_neighbours(points: int, channels: int, k: int, dtype: torch.dtype):
    xyz = clouds(3, points, channels, dtype)
    exact = knn_reference(xyz, k).sort(-1).values
    assert torch.equal(cluster.knn(xyz, k).sort(-1).values, exact)
    with using("cluster"):
        assert torch.equal(knn(xyz, k).sort(-1).values, exact)


@needs_cluster
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("start", ["far", "first"])
@pytest.mark.parametrize(("points", "count"), [(1, 1), (7, 7), (300, 77), (512, 3)])
def test_farthest_points(points: int, count: int, start: str, dtype: torch.dtype):
    xyz = clouds(3, points, 3, dtype)
    with using("cluster"):
        assert cluster.takes(xyz)
        found = farthest_points(xyz, count, start)
    with using("torch"):
        assert torch.equal(found, farthest_points(xyz, count, start))


@needs_cluster
def test_inputs_that_it_does_not_support():
    xyz = clouds(2, 40, 3, torch.float32)
    same = torch.ones(1, 30, 3)
    assert not cluster.takes(xyz)  # unless asked for
    with using("cluster"):
        assert farthest_points(same, 4).shape == (1, 4)
        assert knn(same, 4).shape == (1, 30, 4)
        xyz[0, 3] = torch.nan
        assert not cluster.takes(xyz)
        assert farthest_points(xyz, 4).shape == (2, 4)


@pytest.mark.skipif(imports("torch_cluster"), reason="torch-cluster is here")
def test_not_installed():
    assert not cluster.takes(torch.zeros(1, 2, 3))
