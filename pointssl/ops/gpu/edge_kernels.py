"""Kernels of :mod:`pointssl.ops.gpu.double_edge_conv`.

Edges exist only in registers and are recomputed by backward. A program owns a block of centres and
loops over their K neighbours.
"""

import triton
import triton.language as tl


@triton.jit
def _hidden(u, around, idx, at, real, channels, c, K, j, slope, WIDE: tl.constexpr):
    """Return the row numbers of every centre's j-th neighbour, and ``leaky(u_j + v_i)``."""
    row = tl.load(idx + at * K + j, mask=real, other=0).to(tl.int64)
    mask = real[:, None] & (c < channels)[None, :]
    new = tl.load(u + row[:, None] * channels + c[None, :], mask=mask, other=0.0).to(WIDE)
    new = new + around
    return row, tl.where(new > 0, new, new * slope)


@triton.jit
def edges_forward(
    u, v, idx, weight, pivot, best, slot, sums, centres, inner, outer, slope, K: tl.constexpr,
    TRAIN: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr, FACTOR: tl.constexpr,
    CENTRES: tl.constexpr, INNER: tl.constexpr, OUTER: tl.constexpr,
):  # fmt: skip
    """Compute the maximum over neighbours of ``hidden @ weight (inner, outer) - pivot``; in
    training also its index, and the sum and sum of squares of this program's edges."""
    q = tl.program_id(0).to(tl.int64) * CENTRES + tl.arange(0, CENTRES)
    c = tl.arange(0, INNER)
    p = tl.program_id(1) * OUTER + tl.arange(0, OUTER)
    real = q < centres
    out = real[:, None] & (p < outer)[None, :]
    around = tl.load(
        v + q[:, None] * inner + c[None, :], mask=real[:, None] & (c < inner)[None, :], other=0.0
    ).to(WIDE)
    matrix = tl.load(
        weight + c[:, None] * outer + p[None, :],
        mask=(c < inner)[:, None] & (p < outer)[None, :], other=0.0,
    ).to(FACTOR)  # fmt: skip
    middle = tl.load(pivot + p, mask=p < outer, other=0.0).to(WIDE)
    top = tl.full((CENTRES, OUTER), float("-inf"), WIDE)
    which = tl.zeros((CENTRES, OUTER), tl.int32)
    first = tl.zeros((CENTRES, OUTER), WIDE)
    second = tl.zeros((CENTRES, OUTER), WIDE)
    for j in range(K):
        _, hidden = _hidden(u, around, idx, q, real, inner, c, K, j, slope, WIDE)
        edge = tl.dot(hidden.to(FACTOR), matrix, input_precision=PRECISION).to(WIDE)
        edge = edge - middle[None, :]
        better = (edge > top) | (edge != edge)  # propagates NaN
        top = tl.where(better, edge, top)
        if TRAIN:
            which = tl.where(better, j, which)
            first += edge
            second += edge * edge
    at = q[:, None] * outer + p[None, :]
    tl.store(best + at, top.to(best.dtype.element_ty), mask=out)
    if TRAIN:
        tl.store(slot + at, which.to(slot.dtype.element_ty), mask=out)
        part = sums + tl.program_id(0).to(tl.int64) * 2 * outer + p
        tl.store(part, tl.sum(tl.where(out, first, 0.0), axis=0), mask=p < outer)
        tl.store(part + outer, tl.sum(tl.where(out, second, 0.0), axis=0), mask=p < outer)


@triton.jit
def edges_backward(
    u, v, idx, slot, at_winners, affine, shift, weight, grad_u, grad_v, grad_weight,
    centres, inner, outer, slope, K: tl.constexpr, PRECISION: tl.constexpr, WIDE: tl.constexpr,
    FACTOR: tl.constexpr, CENTRES: tl.constexpr, INNER: tl.constexpr, OUTER: tl.constexpr,
):  # fmt: skip
    """Propagate every edge's gradient, ``hidden @ affine (inner, outer) - shift`` plus
    ``at_winners`` at the winners, to ``u`` (added atomically), ``v``, and this program's part of
    ``weight (outer, inner)``."""
    q = tl.program_id(0).to(tl.int64) * CENTRES + tl.arange(0, CENTRES)
    c = tl.arange(0, INNER)
    p = tl.arange(0, OUTER)
    real = q < centres
    ins = real[:, None] & (c < inner)[None, :]
    out = real[:, None] & (p < outer)[None, :]
    around = tl.load(v + q[:, None] * inner + c[None, :], mask=ins, other=0.0).to(WIDE)
    won = tl.load(slot + q[:, None] * outer + p[None, :], mask=out, other=0).to(tl.int32)
    prize = tl.load(at_winners + q[:, None] * outer + p[None, :], mask=out, other=0.0).to(WIDE)
    whole = (p < outer)[:, None] & (c < inner)[None, :]
    matrix = tl.load(weight + p[:, None] * inner + c[None, :], mask=whole, other=0.0).to(FACTOR)
    slanted = tl.load(
        affine + c[:, None] * outer + p[None, :],
        mask=(c < inner)[:, None] & (p < outer)[None, :], other=0.0,
    ).to(FACTOR)  # fmt: skip
    moved = tl.load(shift + p, mask=p < outer, other=0.0).to(WIDE)
    sum_v = tl.zeros((CENTRES, INNER), WIDE)
    sum_weight = tl.zeros((OUTER, INNER), WIDE)
    for j in range(K):
        row, hidden = _hidden(u, around, idx, q, real, inner, c, K, j, slope, WIDE)
        narrow = hidden.to(FACTOR)
        grad = tl.dot(narrow, slanted, input_precision=PRECISION).to(WIDE) - moved[None, :]
        grad = grad + tl.where(won == j, prize, 0.0)
        grad = tl.where(out, grad, 0.0).to(FACTOR)
        sum_weight += tl.dot(tl.trans(grad), narrow, input_precision=PRECISION).to(WIDE)
        back = tl.dot(grad, matrix, input_precision=PRECISION).to(WIDE)
        back = tl.where(hidden > 0, back, back * slope)
        sum_v += back
        tl.atomic_add(grad_u + row[:, None] * inner + c[None, :], back, mask=ins, sem="relaxed")
    tl.store(grad_v + q[:, None] * inner + c[None, :], sum_v, mask=ins)
    part = grad_weight + tl.program_id(0).to(tl.int64) * outer * inner
    tl.store(part + p[:, None] * inner + c[None, :], sum_weight, mask=whole)
