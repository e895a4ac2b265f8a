"""The kernels for GPUs against plain torch; where there is no GPU, in Triton's interpreter."""

import interpreting  # isort: skip  # before all that may import Triton

import copy
import functools
import os
import pathlib
import subprocess
import sys

import pytest
import torch
from small_backbones import SMALL
from torch import Tensor

from pointssl.backbones.build import build_encoder
from pointssl.ops import backends, edge_conv, neighbours
from pointssl.ops import double_edge_conv as plain_double
from pointssl.ops import gather as plain
from pointssl.ops.backends import using
from pointssl.ops.interpolation import interpolate, interpolate_reference
from pointssl.ops.neighbours import ball
from pointssl.ops.sampling import farthest_points, farthest_points_reference

from pointssl.ops.gpu import double_edge_conv as fused_double  # isort: skip
from pointssl.ops.gpu import gather, knn, sampling  # isort: skip
from pointssl.benchmarks import gpu_kernels  # isort: skip

DEVICE = interpreting.DEVICE
opcheck = torch.library.opcheck
SCHEMA = ("test_schema", "test_autograd_registration", "test_faketensor")


@pytest.fixture(autouse=True)
def plain_torch():
    """The twins run by torch, unless a test says otherwise."""
    with using("torch"):
        yield


def numbers(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return values.to(DEVICE, dtype)


def edges(centres: int, k: int, rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    idx = torch.randint(0, rows, (centres, k), generator=generator)
    idx[0] = idx[0, 0]  # all neighbours the same: the first wins
    return idx.to(DEVICE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_maxima_and_sums(dtype: torch.dtype):
    values, idx = numbers(30, 21, dtype=dtype), edges(33, 5, 30)
    best, slot, total = gather.neighbour_max_and_sum(values, idx)
    expected, winner = plain.neighbour_max(values, idx)
    assert torch.equal(best, expected)
    assert torch.equal(slot, winner)
    assert slot[0].unique().tolist() == [0]
    assert slot.dtype == torch.uint8
    exact = values.double()[idx].sum(1)
    digits = {torch.bfloat16: 2e-2, torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    assert torch.allclose(total.double(), exact, rtol=digits, atol=digits)
    assert torch.equal(gather.neighbour_sum(values, idx), total)
    assert torch.equal(gather.neighbour_max(values, idx)[1], slot)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_transposed_sums_and_maxima(dtype: torch.dtype):
    grad, idx = numbers(33, 21, dtype=dtype), edges(33, 5, 30)
    slot = plain.neighbour_max(numbers(30, 21), idx)[1]
    graph = gather.edges_by_row(idx, 30)
    digits = 5e-2 if dtype == torch.bfloat16 else 1e-12
    for found, expected in (
        (
            gather.to_winners(grad, idx, slot, 30, graph),
            plain.to_winners(grad.double(), idx, slot, 30),
        ),
        (
            gather.reverse_neighbour_sum(grad, idx, 30),
            plain.reverse_neighbour_sum(grad.double(), idx, 30),
        ),
        (
            gather.in_degree(idx, 30, dtype),
            plain.in_degree(idx, 30, torch.float64),
        ),
    ):
        assert found.dtype == dtype
        assert torch.allclose(found.double(), expected, rtol=digits, atol=digits)


def test_values_that_are_not_contiguous():
    values, idx = numbers(17, 12).t(), edges(6, 3, 17).t().contiguous().t()
    values = torch.stack((values, values), dim=-1)[..., 0].t()
    assert not values.is_contiguous()
    assert torch.equal(gather.neighbour_max(values, idx)[0], values[idx].amax(1))


def test_nan_propagates_and_more_neighbours_than_fit_a_byte():
    values = torch.arange(300.0, device=DEVICE)[:, None]
    idx = torch.arange(300, device=DEVICE).expand(2, 300)
    assert gather.neighbour_max(values, idx)[1].unique().tolist() == [299]
    values[7] = torch.nan
    assert gather.neighbour_max(values, idx)[0].isnan().all()


def differentiable(name: str) -> tuple:
    values = numbers(6, 3, dtype=torch.float64).requires_grad_()
    weight = numbers(5, 3, dtype=torch.float64, seed=2).requires_grad_()
    tensors = (values, edges(5, 3, 6), weight)
    return tensors if name == "weighted_sum" else tensors[:2]


@pytest.mark.parametrize(
    "name", ["neighbour_max", "neighbour_max_and_sum", "neighbour_sum", "weighted_sum"]
)
def test_gradients_and_registration(name: str):
    operator, args = getattr(gather, name), differentiable(name)
    whole = name in ("neighbour_max", "weighted_sum")  # under torch.compile's tracer, too
    opcheck(operator, args, **({} if whole else {"test_utils": SCHEMA}))

    def floats(*args: Tensor) -> list[Tensor]:
        found = operator(*args)
        return [part for part in ([found] if isinstance(found, Tensor) else found)
                if part.is_floating_point()]  # fmt: skip

    assert torch.autograd.gradcheck(floats, args, fast_mode=True)


def test_registration_of_those_without_a_gradient():
    cloud = numbers(1, 20, 3)
    first = torch.zeros(1, dtype=torch.int64, device=DEVICE)
    opcheck(knn.nearest_points, (cloud, cloud, 3), test_utils=SCHEMA)
    opcheck(knn.nearest_ordered, (cloud, cloud, 3), test_utils=SCHEMA)
    opcheck(sampling.farthest_points, (cloud, first, 4), test_utils=SCHEMA)
    from pointssl.ops.gpu.ball import _first

    opcheck(_first, (cloud, cloud, 0.5, 3), test_utils=SCHEMA)
    u, idx, weight = numbers(6, 3), edges(6, 2, 6), numbers(4, 3)
    double = (u, u, idx, weight.t(), numbers(4), 0.2, True, "ieee")
    opcheck(fused_double._largest_edges, double, test_utils=SCHEMA)
    slot = torch.zeros(6, 4, dtype=torch.uint8, device=DEVICE)
    back = (u, u, idx, slot, numbers(6, 4), weight.t(), numbers(4), weight, 0.2, "ieee")
    opcheck(fused_double._edge_gradients, back, test_utils=SCHEMA)


@pytest.mark.parametrize(
    ("dtype", "queries", "points", "channels", "k"),
    [
        (torch.float32, 20, 150, 3, 20),  # more than a block of each
        (torch.float32, 17, 140, 70, 5),  # channels of three steps
        (torch.float64, 5, 37, 20, 37),  # all of them
        (torch.float32, 3, 1, 3, 1),
        (torch.float32, 4, 70, 9, 64),
    ],
)
def test_nearest_points(dtype: torch.dtype, queries: int, points: int, channels: int, k: int):
    a = numbers(2, queries, channels, dtype=dtype)
    b = numbers(channels, points, 2, dtype=dtype, seed=1).permute(2, 1, 0)
    distance = (a.double()[:, :, None] - b.double()[:, None]).square().sum(-1)
    expected, order = distance.sort(-1)
    found, squared = knn.nearest_ordered(a, b, k)
    assert torch.equal(found, order[..., :k])
    if channels <= knn.DIRECT or dtype == torch.float64:
        assert torch.allclose(squared.double(), expected[..., :k], rtol=1e-5)
    among = knn.knn_among(a, b, k)
    assert torch.equal(among.sort(-1).values, order[..., :k].sort(-1).values)


def test_ties_give_distinct_points():
    found = knn.knn(torch.ones(1, 150, 3, device=DEVICE), 20)
    assert all(len(row.unique()) == 20 for row in found[0])
    assert found.max() < 150
    ordered = knn.nearest(torch.ones(1, 2, 3, device=DEVICE), torch.ones(1, 9, 3, device=DEVICE), 4)
    assert ordered.tolist() == [[[0, 1, 2, 3]] * 2]


def test_nan_gives_valid_indices():
    cloud = numbers(1, 140, 3)
    cloud[0, 5] = torch.nan
    found = knn.knn(cloud, 10)
    assert int(found.min()) >= 0
    assert int(found.max()) < 140


@pytest.mark.parametrize("resident", [8192, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_farthest_points(resident: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sampling, "RESIDENT", resident)  # in registers, or from memory in tiles
    cloud = numbers(2, 70, 3, dtype=dtype)
    cloud[:, 10:30] = cloud[:, :1]
    expected = farthest_points(cloud, 15)
    with using("triton"):
        assert torch.equal(farthest_points(cloud, 15), expected)
        assert farthest_points(cloud[:, :3], 9).shape == (2, 3)
    assert expected.tolist() == farthest_points_reference(cloud.cpu(), 15)


def test_mismatched_batches_raise():
    with pytest.raises(ValueError, match=r"queries \(1, 5, 3\) among points \(2, 9, 3\)"):
        knn.nearest(numbers(1, 5, 3), numbers(2, 9, 3), 2)


@pytest.mark.parametrize("order", ["first", "nearest"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ball(order: str, dtype: torch.dtype):
    points = numbers(2, 150, 3, dtype=dtype)
    queries = points[:, :20] + 0.01
    queries[:, 0] = 50  # nothing within reach
    queries[:, 1] = points[:, 1] + torch.tensor([0.5, 0, 0], dtype=dtype, device=DEVICE)
    for k in (12, 150) if order == "first" else (12,):
        expected = ball(queries, points, 0.7, k, order)
        with using("triton"):
            assert torch.equal(ball(queries, points, 0.7, k, order), expected)


def test_interpolation():
    values, places, targets = numbers(2, 20, 5), numbers(2, 20, 3, seed=1), numbers(2, 40, 3)
    values.requires_grad_()
    expected = interpolate_reference(values, places, targets)
    with using("triton"):
        found = interpolate(values, places, targets)
    assert torch.allclose(found, expected, atol=1e-5)
    grads = [torch.autograd.grad(y.square().sum(), values)[0] for y in (found, expected)]
    assert torch.allclose(*grads, atol=1e-4)


def double_arguments(rows: int, centres: int, k: int, inner: int, outer: int, dtype: torch.dtype):
    shapes = [(rows, inner), (centres, inner), (inner,), (inner,), (outer, inner), (outer,)]
    shapes.append((outer,))
    u, v, *rest = [
        numbers(*shape, dtype=dtype, seed=seed).requires_grad_()
        for seed, shape in enumerate(shapes)
    ]
    return [u, v, edges(centres, k, rows), *rest, (1e-5, 1e-5), 0.2, False]


@pytest.mark.parametrize(
    ("sizes", "dtype"),
    [
        ((9, 7, 4, 5, 6), torch.float64),
        ((70, 75, 3, 20, 64), torch.float32),  # more than a block of centres
        ((20, 33, 2, 80, 70), torch.float32),  # wide: two blocks of columns, backward by torch
    ],
)
def test_double_edge_convolution(sizes: tuple[int, ...], dtype: torch.dtype):
    args = double_arguments(*sizes, dtype)
    wanted = [part for part in args if isinstance(part, Tensor) and part.requires_grad]
    results, gradients = [], []
    for module in (plain_double, fused_double):
        found = module.DoubleEdgeConv.apply(*args)
        results.append(found)
        weights = numbers(*found[0].shape, dtype=dtype, seed=9)
        gradients.append(torch.autograd.grad(found[0], wanted, weights))
    digits = 1e-10 if dtype == torch.float64 else 1e-4
    for pair in (*zip(*results, strict=True), *zip(*gradients, strict=True)):
        assert torch.allclose(*pair, rtol=digits, atol=digits)


def test_gradient_of_the_double_edge_convolution():
    args = double_arguments(5, 4, 2, 2, 3, torch.float64)
    assert torch.autograd.gradcheck(
        lambda *x: fused_double.DoubleEdgeConv.apply(*x)[0], args, fast_mode=True
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_frozen_double_edge_convolution(dtype: torch.dtype):
    u, v, idx = numbers(20, 20, dtype=dtype), numbers(70, 20, seed=1, dtype=dtype), edges(70, 3, 20)
    weight, shift = numbers(18, 20, seed=2, dtype=dtype), numbers(18, seed=3, dtype=dtype)
    assert fused_double.fits(u, weight)
    found = fused_double.double_edge_conv_frozen(u, v, idx, weight, shift, 0.2)
    exact = [part.double() for part in (u, v)], [part.double() for part in (weight, shift)]
    expected = plain_double.double_edge_conv_frozen(*exact[0], idx, *exact[1], 0.2)
    digits = {torch.bfloat16: 0.1, torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    assert found.dtype == dtype
    assert torch.allclose(found.double(), expected, rtol=digits, atol=digits)


@pytest.mark.skipif(
    interpreting.HAS_GPU, reason="python -m pointssl.benchmarks.gpu_kernels is for GPUs"
)
def test_the_table_of_all_kernels(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu_kernels, "SECONDS", 0.0)
    monkeypatch.setattr(
        gpu_kernels, "interleaved", functools.partial(gpu_kernels.interleaved, least=1)
    )
    rows = gpu_kernels.check_all("cpu")
    for row in rows:
        assert row.difference < (0.1 if "bfloat16" in row.shape + row.name else 1e-4), row
    lines = gpu_kernels.table(rows).splitlines()
    assert len(lines) == 1 + len(rows)
    assert lines[0].split()[:3] == ["name", "shape", "difference"]


def test_a_kernel_that_fails_leaves_the_other_rows():
    def fail() -> Tensor:
        raise RuntimeError("out of registers")

    row = gpu_kernels._row(
        gpu_kernels.Pair("a", "b", lambda: torch.ones(1), fail), torch.device("cpu")
    )
    assert row.error == "RuntimeError: out of registers"
    assert row.difference == float("inf")


@pytest.mark.slow
def test_kernels_compile_for_gpus():
    """Down to machine code of an H100, for which no GPU is needed, and into its shared memory."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = pathlib.Path(__file__).parents[2] / "helpers" / "compile_gpu_kernels.py"
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 13


@pytest.mark.parametrize("name", ["dgcnn", "dgcnn_seg", "pointnet2"])
@pytest.mark.parametrize("training", [False, True])
def test_a_whole_backbone_with_both_backends(name: str, training: bool):
    """All the choices at once: features and gradients are those of plain torch."""
    encoder = build_encoder(name, seed=0, **SMALL[name]).to(DEVICE).train(training)
    found = []
    for backend in ("torch", "triton"):
        mine = copy.deepcopy(encoder)
        with using(backend):
            cloud = mine(numbers(2, 40, 3)).cloud
            cloud.square().sum().backward()
        found.append([cloud.detach(), *(p.grad for p in mine.parameters() if p.grad is not None)])
    largest = max(float(value.abs().max()) for value in found[0])
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-4 * largest)


def layers(dtype: torch.dtype) -> list[torch.nn.Module]:
    torch.manual_seed(0)
    made = [torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5)]
    made += [torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4)]
    with torch.no_grad():
        for norm in made[1::2]:
            norm.weight.copy_(torch.randn(len(norm.weight)))
            norm.running_mean.normal_()
    return [layer.to(DEVICE, dtype) for layer in made]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("double", [True, False])
def test_edge_convolutions_from_points_to_gradients(train: bool, double: bool):
    x = numbers(2, 12, 3, dtype=torch.float64).requires_grad_()
    weights = numbers(2, 12, 4 if double else 5, dtype=torch.float64, seed=1)
    results = []
    for backend in ("torch", "triton"):
        first, norm1, second, norm2 = layers(torch.float64)
        norm1.train(train), norm2.train(train)
        with using(backend):
            idx = neighbours.knn(x, 4)
            if double:
                y = edge_conv.double_edge_conv(x, idx, first.weight, norm1, second.weight, norm2)
            else:
                y = edge_conv.edge_conv(x, idx, first.weight, norm1)
            wanted = [x, first.weight, norm1.weight, norm1.bias]
            grads = torch.autograd.grad(y, wanted, weights)
            with torch.no_grad():
                still = edge_conv.edge_conv(x, idx, first.weight, norm1.eval())
        results.append((y, *grads, norm1.running_mean, norm1.running_var, still))
    for pair in zip(*results, strict=True):
        assert torch.allclose(*pair, rtol=1e-10, atol=1e-10)


def test_graphs_of_training_are_whole():
    """torch.compile sees operators, and nothing that makes it stop."""
    x = numbers(1, 12, 3).requires_grad_()
    first, norm1, second, norm2 = layers(torch.float32)

    def loss(x: Tensor) -> Tensor:
        idx = neighbours.knn(x, 4)
        return (
            edge_conv.double_edge_conv(x, idx, first.weight, norm1, second.weight, norm2)
            .square()
            .sum()
        )

    with using("triton"):
        expected = torch.autograd.grad(loss(x), x)[0]
        compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
        assert torch.allclose(torch.autograd.grad(compiled(x), x)[0], expected, atol=1e-4)


def test_broken_kernels_are_not_used(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Tensor) -> None:
        raise RuntimeError("Failed to find C compiler")

    values = numbers(4, 2)
    with using("triton"):
        assert backends.backend_for(values) == "triton"
        monkeypatch.setattr(gather, "neighbour_max", fail)
        backends._triton_works.cache_clear()
        with pytest.warns(UserWarning, match="plain torch does instead.*Failed to find C compiler"):
            assert backends.backend_for(values) == "torch"
        monkeypatch.undo()
        backends._triton_works.cache_clear()
