"""Loops over the edges ``u_j + v_i`` of an edge convolution; see :mod:`pointssl.ops.cpu.edge_conv`.

Each row of ``uv (R, 2 O)`` is ``[u | v]``, the result of one matrix product.
"""

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.compiling import compiled

CHUNKS = 16  # separate sums per chunk make results independent of the number of threads


@compiled
def largest(
    start: int, stop: int, uv: NDArray, idx: NDArray, shift: NDArray, slope: float, out: NDArray
) -> None:
    """Compute ``leaky(max_j u_j + v_i + shift) (R, O)``."""
    k, channels = idx.shape[1], out.shape[1]
    slant = out.dtype.type(slope)
    for row in range(start, stop):
        top, centre = out[row], uv[row][channels:]
        top[:] = uv[idx[row, 0]][:channels]
        for j in range(1, k):
            neighbour = uv[idx[row, j]][:channels]
            for c in range(channels):
                value = neighbour[c]
                top[c] = value if (value > top[c]) | (value != value) else top[c]
        for c in range(channels):
            value = top[c] + centre[c] + shift[c]
            top[c] = value if value > 0 else slant * value


@compiled
def winners_and_sums(
    start: int, stop: int, uv: NDArray, idx: NDArray, pivot: NDArray, gamma: NDArray,
    best: NDArray, slot: NDArray, sums: NDArray,
) -> None:  # fmt: skip
    """Find each centre's edge that is largest after the norm, relative to ``pivot``, and its index;
    add the sums of all edges and of their squares to ``sums (CHUNKS, 2, O)``."""
    rows, k = idx.shape
    channels = uv.shape[1] // 2
    which = np.empty(channels, np.int32)
    # Separate arrays: the compiler can't prove that slices of one array don't overlap.
    top, edge = np.empty(channels, uv.dtype), np.empty(channels, uv.dtype)
    first, second = np.empty(channels, uv.dtype), np.empty(channels, uv.dtype)
    sign, shift = np.empty(channels, uv.dtype), np.empty(channels, uv.dtype)
    for c in range(channels):
        sign[c] = 1 if gamma[c] >= 0 else -1  # a negative scale needs the minimum
    for chunk in range(start, stop):
        for row in range(chunk * rows // CHUNKS, (chunk + 1) * rows // CHUNKS):
            centre = uv[row][channels:]
            first[:] = 0
            second[:] = 0
            top[:] = -np.inf
            which[:] = 0
            for c in range(channels):
                shift[c] = sign[c] * (centre[c] - pivot[c])
            for j in range(k):
                # Short loops over few arrays: the compiler vectorises only those.
                neighbour = uv[idx[row, j]][:channels]
                for c in range(channels):
                    edge[c] = sign[c] * neighbour[c] + shift[c]
                for c in range(channels):
                    first[c] += edge[c]
                    second[c] += edge[c] * edge[c]
                for c in range(channels):
                    better = (edge[c] > top[c]) | (edge[c] != edge[c])
                    top[c] = edge[c] if better else top[c]
                    which[c] = j if better else which[c]
            for c in range(channels):
                best[row, c] = sign[c] * top[c]
                slot[row, c] = which[c]
                sums[chunk, 0, c] += sign[c] * first[c]
                sums[chunk, 1, c] += second[c]


@compiled
def centre_gradients(
    start: int, stop: int, uv: NDArray, idx: NDArray, mean: NDArray, grad: NDArray,
    scale: NDArray, offset: NDArray, slant: NDArray, out: NDArray,
) -> None:  # fmt: skip
    """Write each centre's ``scale * grad - sum_j (offset + slant * (u_j + v_i))`` to the right half
    of ``out (R, 2 O)``, with ``mean (2 O)`` subtracted from ``uv``."""
    k, channels = idx.shape[1], grad.shape[1]
    total = np.empty(channels, uv.dtype)
    for row in range(start, stop):
        centre, target, change = uv[row][channels:], out[row][channels:], grad[row]
        for c in range(channels):
            total[c] = k * (centre[c] - mean[channels + c])
        for j in range(k):
            neighbour = uv[idx[row, j]][:channels]
            for c in range(channels):
                total[c] += neighbour[c] - mean[c]
        for c in range(channels):
            target[c] = scale[c] * change[c] - k * offset[c] - slant[c] * total[c]


@compiled
def neighbour_gradients(
    start: int, stop: int, lanes: int, channels: int, uv: NDArray, idx: NDArray, slot: NDArray,
    mean: NDArray, grad: NDArray, scale: NDArray, offset: NDArray, slant: NDArray, out: NDArray,
) -> None:  # fmt: skip
    """Add each edge's ``scale * grad - offset - slant * (u_j + v_i)`` to its neighbour j in the
    left half of ``out``, for a range of channels."""
    left, right = lanes * start, min(lanes * stop, channels)
    rows, k = idx.shape
    space = np.empty(channels, uv.dtype)
    degree = np.zeros(len(uv), uv.dtype)
    for row in range(rows):
        centre = uv[row][channels + left : channels + right]
        less, more, part = offset[left:right], slant[left:right], space[left:right]
        middle = mean[channels + left : channels + right]
        for c in range(len(part)):
            part[c] = less[c] + more[c] * (centre[c] - middle[c])
        for j in range(k):
            target = out[idx[row, j]][left:right]
            degree[idx[row, j]] += 1
            for c in range(len(part)):
                target[c] -= part[c]
        for c in range(left, right):
            out[idx[row, slot[row, c]], c] += scale[c] * grad[row, c]
    for row in range(len(uv)):
        neighbour, target = uv[row][left:right], out[row][left:right]
        more, middle = slant[left:right], mean[left:right]
        for c in range(len(more)):
            target[c] -= degree[row] * more[c] * (neighbour[c] - middle[c])
