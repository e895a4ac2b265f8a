"""Loops of a batch norm followed by a leaky ReLU, over rows ``(R, C)``.

Each of CHUNKS ranges of rows has its own float64 sums, so that results don't depend on the number
of threads; only strips of rows are summed in the input's precision.
"""

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.compiling import compiled

CHUNKS = 16
STRIP = 32  # rows that are summed in the input's own precision


@compiled
def moments(start: int, stop: int, x: NDArray, pivot: NDArray, sums: NDArray) -> None:
    """Add the sums of ``x - pivot`` and of its square to ``sums (CHUNKS, 2, C)``."""
    rows, channels = x.shape
    # Separate arrays: the compiler can't prove that slices of one array don't overlap.
    first, second = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    for chunk in range(start, stop):
        end = (chunk + 1) * rows // CHUNKS
        for begin in range(chunk * rows // CHUNKS, end, STRIP):
            first[:] = 0
            second[:] = 0
            for row in range(begin, min(begin + STRIP, end)):
                values = x[row]
                for c in range(channels):
                    value = values[c] - pivot[c]
                    first[c] += value
                    second[c] += value * value
            for c in range(channels):
                sums[chunk, 0, c] += first[c]
                sums[chunk, 1, c] += second[c]


@compiled
def activate(
    start: int,
    stop: int,
    x: NDArray,
    mean: NDArray,
    scale: NDArray,
    bias: NDArray,
    slope: float,
    out: NDArray,
) -> None:
    """Compute ``leaky(scale * (x - mean) + bias)``."""
    channels = x.shape[1]
    slant = x.dtype.type(slope)
    for row in range(start, stop):
        values, result = x[row], out[row]
        for c in range(channels):
            value = scale[c] * (values[c] - mean[c]) + bias[c]
            result[c] = value if value > 0 else slant * value


@compiled
def gradient_sums(
    start: int, stop: int, grad: NDArray, x: NDArray, mean: NDArray, scale: NDArray, bias: NDArray,
    slope: float, sums: NDArray,
) -> None:  # fmt: skip
    """Add the sums of the gradient g before the activation and of ``g * (x - mean)`` to ``sums``,
    as in :func:`moments`."""
    rows, channels = x.shape
    slant = x.dtype.type(slope)
    first, second = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    centred, inner = np.empty(channels, x.dtype), np.empty(channels, x.dtype)
    for chunk in range(start, stop):
        end = (chunk + 1) * rows // CHUNKS
        for begin in range(chunk * rows // CHUNKS, end, STRIP):
            first[:] = 0
            second[:] = 0
            for row in range(begin, min(begin + STRIP, end)):
                # Short loops over few arrays: the compiler vectorises only those.
                values, changes = x[row], grad[row]
                for c in range(channels):
                    centred[c] = values[c] - mean[c]
                for c in range(channels):
                    inside = scale[c] * centred[c] + bias[c] > 0
                    inner[c] = changes[c] if inside else slant * changes[c]
                for c in range(channels):
                    first[c] += inner[c]
                    second[c] += inner[c] * centred[c]
            for c in range(channels):
                sums[chunk, 0, c] += first[c]
                sums[chunk, 1, c] += second[c]


@compiled
def gradient(
    start: int, stop: int, grad: NDArray, x: NDArray, mean: NDArray, scale: NDArray, bias: NDArray,
    offset: NDArray, slant: NDArray, slope: float, out: NDArray,
) -> None:  # fmt: skip
    """Compute ``scale * g - offset - slant * (x - mean)``, with the gradient g before the
    activation."""
    channels = x.shape[1]
    less = x.dtype.type(slope)
    for row in range(start, stop):
        values, changes, result = x[row], grad[row], out[row]
        for c in range(channels):
            change, value = changes[c], values[c] - mean[c]
            change = change if scale[c] * value + bias[c] > 0 else less * change
            result[c] = scale[c] * change - offset[c] - slant[c] * value
