"""Farthest point sampling, balls and interpolation against slow and obvious twins."""

import pytest
import torch
from torch import Tensor

from pointssl.ops.interpolation import interpolate, interpolate_reference
from pointssl.ops.neighbours import ball, knn_among
from pointssl.ops.sampling import farthest_points, farthest_points_reference
from pointssl_datasets.base.errors import UsageError, UserError


def clouds(count: int, points: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, points, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("start", ["far", "first"])
@pytest.mark.parametrize(("points", "count"), [(1, 1), (20, 7), (20, 20), (5, 9)])
def test_farthest_points(points: int, count: int, start: str):
    xyz = clouds(3, points)
    found = farthest_points(xyz, count, start)
    assert found.tolist() == farthest_points_reference(xyz, count, start)
    assert all(len(row.unique()) == min(points, count) for row in found)


def test_far_start_does_not_depend_on_the_order():
    xyz = clouds(2, 30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    assert torch.equal(order[farthest_points(xyz[:, order], 8)], farthest_points(xyz, 8))


def test_farthest_points_of_equal_points():
    assert farthest_points(torch.ones(1, 6, 3), 3).shape == (1, 3)
    with pytest.raises(UsageError, match="start 'random': expected one of far, first"):
        farthest_points(clouds(1, 6), 3, "random")


def test_knn_among():
    queries, points = clouds(2, 9) + 100, clouds(2, 30, seed=1) + 100
    exact = torch.cdist(queries, points).argsort(-1)[..., :5]
    assert torch.equal(knn_among(queries, points, 5).sort(-1).values, exact.sort(-1).values)
    many = clouds(1, 5000, seed=2)  # more queries than one block holds
    exact = torch.cdist(many, points[:1]).argsort(-1)[..., :1]
    assert torch.equal(knn_among(many, points[:1] - 0, 1), exact)
    with pytest.raises(UserError, match="30 points have fewer than k = 31"):
        knn_among(queries, points, 31)


@pytest.mark.parametrize("order", ["nearest", "first"])
def test_ball(order: str):
    points = clouds(2, 40)
    queries = torch.cat((points[:, :6], torch.full((2, 1, 3), 50.0, dtype=torch.float64)), dim=1)
    found = ball(queries, points, 1.0, 8, order)
    assert found.shape == (2, 7, 8)
    for cloud in range(2):
        for query in range(7):
            far = (points[cloud] - queries[cloud, query]).norm(dim=-1).tolist()
            by = (lambda i: far[i]) if order == "nearest" else (lambda i: i)  # noqa: B023
            inside = sorted((i for i in range(40) if far[i] <= 1.0), key=by)[:8]
            inside = inside or [min(range(40), key=far.__getitem__)]
            expected = inside + inside[:1] * (8 - len(inside))
            assert found[cloud, query].tolist() == expected
    assert ball(queries, points, 1.0, 99, order).shape == (2, 7, 40)


def test_ball_by_another_order():
    with pytest.raises(UsageError, match="order 'random': expected one of nearest, first"):
        ball(clouds(1, 4), clouds(1, 4), 1.0, 2, "random")


@pytest.mark.parametrize("places", [1, 2, 12])
def test_interpolate(places: int):
    values = torch.randn(2, places, 5, dtype=torch.float64, requires_grad=True)
    at, targets = clouds(2, places), torch.cat((clouds(2, 20, seed=1), clouds(2, places)), dim=1)
    found, exact = (f(values, at, targets) for f in (interpolate, interpolate_reference))
    assert torch.allclose(found, exact, rtol=1e-10)
    assert torch.allclose(found[:, 20:], values, rtol=1e-5, atol=1e-6)
    weight = torch.randn_like(found)
    grads = [torch.autograd.grad((f * weight).sum(), values)[0] for f in (found, exact)]
    assert torch.allclose(*grads, rtol=1e-10)
