"""Comparison of every Triton kernel with plain torch, on this machine's GPU, in one table.

``python -m pointssl.benchmarks.gpu_kernels`` uses realistic sizes; without a GPU and with
``TRITON_INTERPRET=1`` it uses tiny ones, and the times are meaningless.
"""

import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from pointssl.benchmarks.timing import interleaved
from pointssl.ops import double_edge_conv as plain_double
from pointssl.ops import gather as plain
from pointssl.ops import neighbours, sampling
from pointssl.ops.backends import using
from pointssl.ops.gpu import ball, double_edge_conv, gather, knn
from pointssl.ops.gpu import interpolation as fused_interpolation
from pointssl.ops.gpu import sampling as fused_sampling
from pointssl.ops.gpu.launching import INTERPRETED

SECONDS = 0.5  # of timing per row
Run = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """A kernel compared with plain torch; ``difference`` is the largest absolute one, or inf if the
    kernel failed."""

    name: str
    shape: str
    difference: float
    torch_ms: float
    triton_ms: float
    ratio: float
    torch_mb: float
    triton_mb: float
    error: str = ""


@dataclass(frozen=True)
class Pair:
    """Two implementations of an operation; ``to_compare`` maps outputs to comparable numbers."""

    name: str
    shape: str
    torch: Run
    triton: Run
    to_compare: Callable[[Any], Any] = lambda output: output


def check_all(device: torch.device | str) -> list[Row]:
    """Compare and time each kernel and plain torch on this device."""
    device = torch.device(device)
    with using("torch"):
        return [_row(pair, device) for pair in _pairs(device, small=device.type != "cuda")]


def _row(pair: Pair, device: torch.device) -> Row:
    try:
        expected, torch_mb = _peak(pair.torch, device)
        output, triton_mb = _peak(pair.triton, device)
        difference = _difference(pair.to_compare(expected), pair.to_compare(output))
        times = interleaved({"torch": pair.torch, "triton": pair.triton}, device, SECONDS).wall
    except Exception as error:  # a compiler or driver may raise anything; continue with other rows
        nan = float("nan")
        line = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        return Row(pair.name, pair.shape, float("inf"), nan, nan, nan, nan, nan, line)
    slow, fast = (1000 * statistics.median(times[side]) for side in ("torch", "triton"))
    return Row(pair.name, pair.shape, difference, slow, fast, slow / fast, torch_mb, triton_mb)


def _peak(run: Run, device: torch.device) -> tuple[Any, float]:
    """Return the output of a call, and its peak allocation in megabytes."""
    if device.type != "cuda":
        return run(), 0.0
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    output = run()
    torch.cuda.synchronize(device)
    return output, (torch.cuda.max_memory_allocated(device) - before) / 2**20


def _difference(expected: Any, output: Any) -> float:
    if isinstance(expected, Tensor):
        expected, output = (expected,), (output,)
    pairs = [(a.double(), b.double()) for a, b in zip(expected, output, strict=True)]
    return max(float((a - b).abs().max()) for a, b in pairs)


def _pairs(device: torch.device, small: bool) -> Iterator[Pair]:
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device, dtype)

    for clouds, points, channels, k in (
        ((1, 40, 3, 5), (1, 40, 20, 5)) if small
        else ((8, 1024, 3, 20), (8, 1024, 64, 20), (8, 1024, 128, 20), (32, 2048, 3, 20),
              (8, 2048, 64, 20), (8, 4096, 3, 20), (8, 4096, 3, 40))
    ):  # fmt: skip
        x = numbers(clouds, points, channels)
        yield Pair(
            "knn", f"{clouds}x{points}x{channels} k {k}",
            partial(neighbours._knn, x, k), partial(knn.knn, x, k),
            partial(_distances, x, x),
        )  # fmt: skip

    for clouds, points, count in (
        ((1, 40, 5),) if small else ((8, 2048, 512), (32, 2048, 512), (8, 8192, 1024),
                                     (2, 20000, 256))
    ):  # fmt: skip
        x = numbers(clouds, points, 3)
        first = torch.zeros(clouds, dtype=torch.int64, device=device)
        yield Pair(
            "farthest points (indices)", f"{clouds}x{points} to {count}",
            partial(sampling.farthest_points, x, count, "first"),
            partial(fused_sampling.farthest_points, x, first, count),
        )  # fmt: skip

    clouds, points, centres = (1, 40, 6) if small else (16, 2048, 512)
    x = numbers(clouds, points, 3)
    some = x[:, :centres].contiguous()
    shape = f"{clouds}x{centres} among {points}"
    for order in neighbours.ORDERS:
        yield Pair(
            f"ball, {order}", f"{shape} k 32",
            partial(neighbours.ball, some, x, 0.4, 32, order),
            partial(ball.ball, some, x, 0.4, min(32, points), order),
            partial(_distances, some, x),
        )  # fmt: skip
    other = x.flip(1)
    yield Pair(
        "nearest (Chamfer)", f"{clouds}x{points} among {points}",
        partial(neighbours.knn_among, x, other, 1), partial(knn.nearest, x, other, 1),
        partial(_distances, x, other),
    )  # fmt: skip
    yield Pair(
        "three nearest", f"{clouds}x{points} among {centres}",
        partial(neighbours.knn_among, x, some, 3), partial(knn.nearest, x, some, 3),
        partial(_distances, x, some),
    )  # fmt: skip
    values, idx = numbers(clouds, centres, 128), knn.nearest(x, some, 3)
    weight = torch.softmax(numbers(clouds, points, 3), -1)
    yield Pair(
        "weighted sum", f"{clouds}x{points}x128",
        lambda: (plain.take_rows(values, idx) * weight[..., None]).sum(2),
        partial(fused_interpolation.weighted_sum, values, idx, weight),
    )  # fmt: skip
    yield from _over_edges(numbers, small)


def _over_edges(numbers: Callable[..., Tensor], small: bool) -> Iterator[Pair]:
    clouds, points, k = (1, 40, 4) if small else (8, 1024, 20)
    rows = clouds * points
    idx = plain.flat_index(knn.knn(numbers(clouds, points, 3), k), points)
    graph = gather.edges_by_row(idx, rows)
    yield Pair(
        "edges by row (starts)", f"{rows} k {k}",
        lambda: torch.bincount(idx.flatten(), minlength=rows).cumsum(0),
        lambda: gather.edges_by_row(idx, rows)[1][1:],
    )  # fmt: skip
    for channels in (20,) if small else (64, 256):
        for dtype in (torch.float32, torch.bfloat16):
            u = numbers(rows, channels, dtype=dtype)
            slot = plain.neighbour_max(u, idx)[1]
            shape = f"{rows}x{channels} k {k} {str(dtype)[6:]}"
            yield Pair(
                "maximum and slot", shape, partial(plain.neighbour_max, u, idx),
                partial(gather.neighbour_max, u, idx),
            )  # fmt: skip
            yield Pair(
                "sum over neighbours", shape, partial(plain.neighbour_sum, u, idx),
                partial(gather.neighbour_sum, u, idx),
            )  # fmt: skip
            yield Pair(
                "to winners, given graph", shape,
                partial(plain.to_winners, u, idx, slot, rows),
                partial(gather.to_winners, u, idx, slot, rows, graph),
            )  # fmt: skip
            yield Pair(
                "reverse sum", shape, partial(plain.reverse_neighbour_sum, u, idx),
                partial(gather.reverse_neighbour_sum, u, idx),
            )  # fmt: skip
    for inner, outer in ((20, 18),) if small else ((64, 64), (128, 128)):
        yield from _double(numbers, idx, rows, inner, outer)


def _double(
    numbers: Callable[..., Tensor], idx: Tensor, rows: int, inner: int, outer: int
) -> Iterator[Pair]:
    """Yield the double edge convolution in each precision of its matrix products."""
    shape = f"{rows}x{inner} to {outer} k {idx.shape[1]}"
    u, v = numbers(rows, inner), numbers(rows, inner)
    weight, shift = numbers(outer, inner) / inner**0.5, numbers(outer)
    plain_frozen = plain_double.double_edge_conv_frozen
    for precision in ("ieee", "tf32x3", "tf32"):
        yield Pair(
            f"double edge conv, frozen, {precision}", shape,
            partial(plain_frozen, u, v, idx, weight, shift, 0.2),
            partial(_frozen, u, v, idx, weight, shift, precision),
        )  # fmt: skip
    half = [part.bfloat16() for part in (u, v, weight, shift)]
    narrow: list[Any] = [*half[:2], idx, *half[2:], 0.2]
    yield Pair(
        "double edge conv, frozen, bfloat16", shape,
        partial(plain_frozen, *narrow),
        partial(double_edge_conv.double_edge_conv_frozen, *narrow),
    )  # fmt: skip
    scales = [numbers(size) for size in (inner, inner, outer, outer)]
    inputs = [part.requires_grad_() for part in (u, v, *scales, weight)]
    weights = numbers(rows, outer)

    def train(module: ModuleType) -> tuple[Tensor, ...]:
        a, b, gamma1, beta1, gamma2, beta2, second = inputs
        y = module.DoubleEdgeConv.apply(
            a, b, idx, gamma1, beta1, second, gamma2, beta2, (1e-5, 1e-5), 0.2, False
        )[0]
        # Gradients are sums over many edges: scale them by the largest.
        grads = torch.autograd.grad(y, inputs, weights)
        return y.detach(), *(grad / (1e-3 + grad.abs().max()) for grad in grads)

    yield Pair(
        f"double edge conv, trained, {double_edge_conv.precision()}", shape,
        partial(train, plain_double), partial(train, double_edge_conv),
    )  # fmt: skip


def _frozen(
    u: Tensor, v: Tensor, idx: Tensor, weight: Tensor, shift: Tensor, precision: str
) -> Tensor:
    """Run :func:`double_edge_conv.double_edge_conv_frozen` in this precision."""
    product = (weight.t(), -shift, 0.2, False, precision)
    best: Tensor = double_edge_conv._largest_edges(u, v, idx, *product)[0]
    return torch.nn.functional.leaky_relu(best, 0.2)


def _distances(queries: Tensor, points: Tensor, idx: Tensor) -> Tensor:
    """Return the sorted distances to the neighbours, which must agree even with ties."""
    apart = plain.take_rows(points.double(), idx) - queries.double()[:, :, None]
    return apart.norm(dim=-1).sort(-1).values


def table(rows: list[Row]) -> str:
    """Format the rows as text, one per line."""
    names = [field.name.replace("_", " ") for field in fields(Row)]
    lines = [names, *(
        [row.name, row.shape, f"{row.difference:.1e}", f"{row.torch_ms:.3f}",
         f"{row.triton_ms:.3f}", f"{row.ratio:.1f}", f"{row.torch_mb:.1f}",
         f"{row.triton_mb:.1f}", row.error]
        for row in rows
    )]  # fmt: skip
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    texts = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join(texts)


def main() -> int:
    """Print the table; return 1 if a kernel failed, 2 if kernels can't run on this machine."""
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name(), "torch", torch.__version__)
    elif not INTERPRETED:
        print("no GPU: set TRITON_INTERPRET=1 to run every kernel slowly, at tiny sizes",
              file=sys.stderr)  # fmt: skip
        return 2
    rows = check_all("cuda" if torch.cuda.is_available() else "cpu")
    print(table(rows))
    return int(any(row.error for row in rows))


if __name__ == "__main__":
    sys.exit(main())
