"""Similarity of layers: linear CKA (Kornblith et al. 2019, arXiv 1905.00414)."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor


def cka(x: Tensor, y: Tensor) -> float:
    """Compute the linear centred kernel alignment of two sets of features of the same rows.

    It is 1 for features that are equal up to rotation, scale and shift, about 0 for independent
    ones, and NaN if one is constant. HSIC uses the unbiased estimate (Song et al. 2012), as the
    plain one grows with the number of channels; it can be slightly negative.

    Args:
        x, y: ``(R, C)`` and ``(R, D)``, at least 4 rows.
    """
    x, y = _standardise(x), _standardise(y)
    return _alignment(_hsic(x, y), _hsic(x, x), _hsic(y, y))


def cka_matrix(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[list[float]]:
    """Compute :func:`cka` of each layer of ``first`` (rows) with each of ``second`` (columns)."""
    rows = [_standardise(x) for x in first.values()]
    columns = [_standardise(y) for y in second.values()]
    own_rows, own_columns = ([_hsic(x, x) for x in part] for part in (rows, columns))
    return [
        [_alignment(_hsic(x, y), a, b) for y, b in zip(columns, own_columns, strict=True)]
        for x, a in zip(rows, own_rows, strict=True)
    ]


def cka_reference(x: Tensor, y: Tensor) -> float:
    """Reference for :func:`cka` with Gram matrices ``(R, R)``, as written by Song et al."""

    def gram(features: Tensor) -> Tensor:
        features = features.double()
        return (features @ features.mT).fill_diagonal_(0)

    def hsic(k: Tensor, m: Tensor) -> float:
        n = len(k)
        ones = torch.ones(n, dtype=k.dtype)
        trace = (k @ m).trace()
        means = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        rows = 2 / (n - 2) * (ones @ k @ m @ ones)
        return float(trace + means - rows) / (n * (n - 3))

    k, m = gram(x), gram(y)
    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


def _standardise(features: Tensor) -> Tensor:
    """Centre and scale to norms of about 1, in float64; zeros if only rounding varies."""
    features = features.double()
    size = features.abs().amax()
    features = features - features.mean(0)
    scale = features.norm() / math.sqrt(len(features))
    if scale <= 1e-6 * size:
        return torch.zeros_like(features)
    return features / scale


def _hsic(x: Tensor, y: Tensor) -> float:
    """Compute HSIC of the kernels ``x x'`` and ``y y'`` without diagonals, up to a constant factor.

    Every term of :func:`cka_reference` is a product of features, so no matrix ``(R, R)`` is needed.
    """
    count = len(x)
    a, b = x.square().sum(1), y.square().sum(1)  # the diagonals
    row_a, row_b = x @ x.sum(0) - a, y @ y.sum(0) - b  # the sums of the rows without them
    trace = (x.mT @ y).square().sum() - a @ b
    means = row_a.sum() * row_b.sum() / ((count - 1) * (count - 2))
    return float(trace + means - 2 / (count - 2) * (row_a @ row_b))


def _alignment(both: float, first: float, second: float) -> float:
    return both / math.sqrt(first * second) if first > 0 and second > 0 else math.nan
