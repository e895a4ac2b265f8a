"""The compiled point operations against plain torch and against slow twins."""

import multiprocessing

import pytest
import torch
from torch import Tensor

from pointssl.ops.backends import using
from pointssl.ops.chamfer import chamfer, chamfer_reference
from pointssl.ops.interpolation import interpolate, interpolate_reference
from pointssl.ops.neighbours import ball, knn_reference
from pointssl.ops.sampling import farthest_points, farthest_points_reference

pytest.importorskip("numba")
from pointssl.ops.cpu.boxes import box_knn
from pointssl.ops.cpu.knn import IN_BOXES, knn
from pointssl.ops.cpu.search import nearest
from pointssl.ops.cpu.threads import in_parallel

DTYPES = [torch.float32, torch.float64]


@pytest.fixture(autouse=True, params=[1, 2])
def threads(request: pytest.FixtureRequest):
    """Every test on one thread and on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def clouds(count: int, points: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Not contiguous, and half of the points on a coarse grid, so that many are equal or equally
    far from each other."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.randn(count, points, 8, generator=generator, dtype=dtype)
    wide[:, ::2] = (wide[:, ::2] * 2).round() / 2
    return wide[..., 1:7:2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", ["far", "first"])
@pytest.mark.parametrize(("points", "count"), [(1, 1), (5, 9), (300, 300), (1000, 64), (2049, 40)])
def test_farthest_points(points: int, count: int, start: str, dtype: torch.dtype):
    xyz = clouds(3, points, dtype)
    found = farthest_points(xyz, count, start)
    with using("torch"):
        assert torch.equal(found, farthest_points(xyz, count, start))
    if points * count < 100:
        assert found.tolist() == farthest_points_reference(xyz, count, start)


def test_farthest_points_of_unusual_clouds():
    odd = clouds(6, 600).clone()
    odd[0] = 1.0
    odd[1, 70, 1] = odd[1, 300, 0] = torch.nan
    odd[2, 5] = torch.inf
    odd[3] *= 1e30
    odd[4] *= 1e-30
    odd[5] += 1000.0
    for start in ("far", "first"):
        found = farthest_points(odd.requires_grad_(), 50, start)
        with using("torch"):
            assert torch.equal(found, farthest_points(odd, 50, start))


def _in_a_worker(xyz: Tensor) -> list[list[int]]:
    torch.set_num_threads(2)
    return farthest_points(xyz, 20).tolist()


def test_farthest_points_in_a_forked_process():
    xyz = clouds(4, 100)
    here = farthest_points(xyz, 20).tolist()  # threads are running when the process forks
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_in_a_worker, (xyz,)).get(60) == here


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["nearest", "first"])
@pytest.mark.parametrize(("points", "k", "radius"), [(1, 4, 1), (9, 12, 1), (150, 6, 0.7),
    (150, 40, 1.5), (150, 5, 0.5), (150, 5, 0), (150, 5, -1), (150, 5, float("inf"))])  # fmt: skip
def test_ball(points: int, k: int, radius: float, order: str, dtype: torch.dtype):
    xyz = clouds(2, points, dtype)
    queries = torch.cat((xyz[:, :40], xyz[:, :1] + 50), dim=1)
    found = ball(queries, xyz, radius, k, order)
    with using("torch"):
        expected = ball(queries, xyz, radius, k, order)
    if order == "first":
        assert torch.equal(found, expected)
        return
    far = torch.cdist(queries, xyz, compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(far.gather(2, found), far.gather(2, expected))  # equally far: any of them
    assert (
        (far.gather(2, found).diff(dim=2) >= 0).logical_or(found[..., 1:] == found[..., :1]).all()
    )


def test_searches_with_nan():
    xyz = clouds(2, 50).clone()
    xyz[0] = torch.nan
    xyz[1, 3] = torch.nan
    for found in (
        ball(xyz, xyz, 1.0, 5),
        ball(xyz, xyz, 1.0, 5, "first"),
        nearest(xyz, xyz, 4),
    ):
        assert ((found >= 0) & (found < 50)).all()
    large = clouds(1, IN_BOXES).clone()  # of finite ones there are boxes
    large[0, 3] = torch.nan
    found = knn(large, 4)
    assert ((found >= 0) & (found < IN_BOXES)).all()
    assert (nearest(xyz[1:, 4:], xyz[1:], 49) != 3).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 3, 31, 32, 33, 500])
def test_nearest(count: int, dtype: torch.dtype):
    queries, points = clouds(2, 60, dtype), clouds(2, count, dtype, seed=1)
    squared = (queries[:, :, None] - points[:, None]).square().sum(-1)
    for k in {1, min(3, count), min(40, count), count}:
        found = nearest(queries, points, k)
        assert (found.sort(2).values.diff(dim=2) > 0).all()
        torch.testing.assert_close(squared.gather(2, found), squared.sort(2).values[..., :k])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("points", "k"), [(1, 1), (20, 20), (33, 4), (700, 20), (700, 300), (5000, 8)]
)
def test_neighbours_in_boxes(points: int, k: int, dtype: torch.dtype):
    xyz = clouds(2, points, dtype)[:, :, :] if points < 5000 else clouds(1, points, dtype)
    found = box_knn(xyz, k)
    assert (found.sort(2).values.diff(dim=2) > 0).all()
    rows = slice(None, None, 1 + points // 300)  # not all distances of all points
    queries = xyz[:, rows]
    squared = (queries[:, :, None] - xyz[:, None]).square().sum(-1)
    near = squared.gather(2, found[:, rows]).sort(2).values
    torch.testing.assert_close(near, squared.sort(2).values[..., :k])
    if points <= 700:
        plain = knn_reference(xyz, k)
        of = (xyz[:, :, None] - xyz[:, None]).square().sum(-1)
        assert torch.allclose(of.gather(2, found).amax(2), of.gather(2, plain).amax(2))


def test_neighbours_in_boxes_of_unusual_clouds():
    flat = clouds(1, 400) * torch.tensor([1.0, 1.0, 0.0])
    line = clouds(1, 400) * torch.tensor([0.0, 1e-20, 0.0])
    same = torch.full((1, 400, 3), 7.0)
    outlier = clouds(1, 400) / 1000
    outlier[0, 17] = 1e15
    for xyz in (flat, line, same, outlier, clouds(1, 400) + 1e6):
        squared = (xyz[:, :, None] - xyz[:, None]).square().sum(-1)
        found = box_knn(xyz, 20)
        assert (found.sort(2).values.diff(dim=2) > 0).all()
        near = squared.gather(2, found).sort(2).values
        assert torch.equal(near, squared.sort(2).values[..., :20])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("places", "channels", "k"), [(1, 5, 3), (2, 1, 3), (40, 17, 3), (40, 4, 1)]
)
def test_interpolate(places: int, channels: int, k: int, dtype: torch.dtype):
    at, targets = clouds(2, places, dtype), clouds(2, 70, dtype, seed=1)
    at = at + torch.randn(at.shape, generator=torch.Generator().manual_seed(2), dtype=dtype)
    values = torch.randn(2, channels, places, dtype=dtype).mT.requires_grad_()
    inputs = (values, at.requires_grad_(), targets.requires_grad_())
    found = interpolate(*inputs, k)
    exact = interpolate_reference(*(x.double() for x in inputs), k).to(dtype)
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(found, exact, **close)
    weight = torch.randn_like(found)
    grads = [torch.autograd.grad((f * weight).sum(), inputs) for f in (found, exact)]
    for got, expected in zip(*grads, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(grads[0][0], grads[1][0], **close)


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (70, 33), (5, 200)])
def test_chamfer(n: int, m: int, dtype: torch.dtype, backend: str):
    a, b = clouds(2, n, dtype).requires_grad_(), clouds(2, m, dtype, seed=1).requires_grad_()
    with using(backend):
        found = chamfer(a, b)
    exact = chamfer_reference(a, b)
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0, "atol": 1e-10}
    for got, expected in zip(found, exact, strict=True):
        torch.testing.assert_close(got, expected, **close)


def test_gradient_of_chamfer():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, n, 3, generator=generator).requires_grad_() for n in (20, 31))
    grads = [
        torch.autograd.grad(to_b.sum() + 2 * to_a.sum(), (a, b))
        for to_b, to_a in (chamfer(a, b), chamfer_reference(a, b))
    ]
    for got, expected in zip(*grads, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_inputs_that_fall_back_to_torch():
    plane = clouds(2, 40)[..., :2]
    assert torch.equal(ball(plane, plane, 0.0, 1)[..., 0] < 40, torch.ones(2, 40, dtype=bool))
    values = torch.randn(2, 40, 5)
    found = interpolate(values, plane, plane + 0.1)
    torch.testing.assert_close(found, interpolate_reference(values, plane, plane + 0.1))
    with pytest.raises((RuntimeError, IndexError)):
        interpolate(values[:, :2], clouds(2, 40), clouds(2, 40, seed=1))


def test_ranges_cover_the_whole_and_errors_propagate():
    seen: list[int] = []
    in_parallel(lambda start, stop: seen.extend(range(start, stop)), 7)
    assert sorted(seen) == list(range(7))
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda start, stop: 1 // (stop - 7), 7)
