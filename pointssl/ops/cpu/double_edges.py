"""Loops over the edges of a double edge convolution, for one block of centres.

``hidden (rows * K, O)`` is ``leaky(u_j + v_i)``; the K edges of a centre are consecutive rows.
Everything else is matrix products; see :mod:`pointssl.ops.cpu.double_edge_conv`.
"""

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.compiling import compiled

CHUNKS = 16  # separate sums per chunk make results independent of the number of threads


@compiled
def fill_hidden(
    start: int, stop: int, u: NDArray, v: NDArray, idx: NDArray, slope: float, hidden: NDArray
) -> None:
    """Compute ``hidden`` for centres ``start`` to ``stop`` of a block ``v (rows, O), idx (rows,
    K)``."""
    k, channels = idx.shape[1], u.shape[1]
    slant = u.dtype.type(slope)
    for row in range(start, stop):
        centre = v[row]
        for j in range(k):
            neighbour, edge = u[idx[row, j]], hidden[row * k + j]
            for c in range(channels):
                value = neighbour[c] + centre[c]
                edge[c] = value if value > 0 else slant * value


@compiled
def largest_edges(
    start: int, stop: int, edges: NDArray, shift: NDArray, slope: float, out: NDArray
) -> None:
    """Compute ``leaky(max_j edges + shift)``: ``(rows * K, P)`` to ``(rows, P)``."""
    rows, channels = out.shape
    k = len(edges) // rows
    slant = out.dtype.type(slope)
    for row in range(start, stop):
        top = out[row]
        top[:] = edges[row * k]
        for j in range(1, k):
            edge = edges[row * k + j]
            for c in range(channels):
                value = edge[c]
                top[c] = value if (value > top[c]) | (value != value) else top[c]
        for c in range(channels):
            value = top[c] + shift[c]
            top[c] = value if value > 0 else slant * value


@compiled
def winners_and_sums(
    start: int, stop: int, edges: NDArray, pivot: NDArray, best: NDArray, slot: NDArray,
    sums: NDArray,
) -> None:  # fmt: skip
    """Compute the maximum over each centre's K edges and its index, and add the sums of ``edges -
    pivot`` and of its square to ``sums (CHUNKS, 2, P)`` float64, for chunks ``start`` to
    ``stop``."""
    rows, channels = best.shape
    k = len(edges) // rows
    which = np.empty(channels, np.int32)
    # Separate arrays: the compiler can't prove that slices of one array don't overlap.
    first, second = np.empty(channels, edges.dtype), np.empty(channels, edges.dtype)
    edge = np.empty(channels, edges.dtype)
    for chunk in range(start, stop):
        for row in range(chunk * rows // CHUNKS, (chunk + 1) * rows // CHUNKS):
            top = best[row]
            top[:] = -np.inf
            which[:] = 0
            first[:] = 0
            second[:] = 0
            for j in range(k):
                # Short loops over few arrays: the compiler vectorises only those.
                product = edges[row * k + j]
                for c in range(channels):
                    edge[c] = product[c] - pivot[c]
                for c in range(channels):
                    first[c] += edge[c]
                    second[c] += edge[c] * edge[c]
                for c in range(channels):
                    better = (edge[c] > top[c]) | (edge[c] != edge[c])
                    top[c] = edge[c] if better else top[c]
                    which[c] = j if better else which[c]
            for c in range(channels):
                slot[row, c] = which[c]
                sums[chunk, 0, c] += first[c]
                sums[chunk, 1, c] += second[c]


@compiled
def finish_hidden_gradient(
    start: int, stop: int, hidden: NDArray, slot: NDArray, at_winners: NDArray, weight2: NDArray,
    bias: NDArray, slope: float, grad: NDArray, grad_v: NDArray,
) -> None:  # fmt: skip
    """Turn ``grad = -hidden @ M`` into the gradient before the leaky ReLU, in place.

    Adds ``bias (O,)`` to every edge and ``at_winners (rows, P)``, times ``weight2 (P, O)``, to the
    edges that won, and writes the sum over each centre's edges to ``grad_v (rows, O)``.
    """
    rows, outputs = slot.shape
    k, channels = len(hidden) // rows, hidden.shape[1]
    slant = grad.dtype.type(slope)
    for row in range(start, stop):
        for p in range(outputs):
            edge, weight, share = grad[row * k + slot[row, p]], weight2[p], at_winners[row, p]
            for c in range(channels):
                edge[c] += share * weight[c]
        centre = grad_v[row]
        centre[:] = 0
        for j in range(k):
            edge, value = grad[row * k + j], hidden[row * k + j]
            for c in range(channels):
                change = edge[c] + bias[c]
                change = change if value[c] > 0 else slant * change
                edge[c] = change
                centre[c] += change


@compiled
def scatter_gradients(
    start: int, stop: int, lanes: int, channels: int, hidden: NDArray, slot: NDArray,
    at_winners: NDArray, idx: NDArray, grad: NDArray, grad_weight2: NDArray, grad_u: NDArray,
    total: NDArray,
) -> None:  # fmt: skip
    """Add the winners' part to ``grad_weight2 (P, O)``, the edges' gradients to ``grad_u (R, O)``
    and the sum of ``hidden`` to ``total (O,)``, for a range of channels."""
    left, right = lanes * start, min(lanes * stop, channels)
    rows, outputs = slot.shape
    k = idx.shape[1]
    sums = total[left:right]
    for row in range(rows):
        for p in range(outputs):
            value = hidden[row * k + slot[row, p]][left:right]
            weight, share = grad_weight2[p][left:right], at_winners[row, p]
            for c in range(len(value)):
                weight[c] += share * value[c]
        for j in range(k):
            change, target = grad[row * k + j][left:right], grad_u[idx[row, j]][left:right]
            value = hidden[row * k + j][left:right]
            for c in range(len(change)):
                target[c] += change[c]
                sums[c] += value[c]
