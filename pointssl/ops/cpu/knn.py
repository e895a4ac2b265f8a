"""k nearest neighbours on CPUs, without a matrix of all distances and without sorting.

A row of ``closeness`` (larger is nearer) is folded into groups of columns, each with its maximum.
Bisection finds a bound that about k of the maxima reach; at least k columns reach it, and not many
more. A second bisection selects the k largest of these few. Folding and counting are vectorised,
sixteen numbers at a time.
"""

import torch
from torch import Tensor

from pointssl.ops.cpu import selection
from pointssl.ops.cpu.boxes import box_knn
from pointssl.ops.cpu.threads import in_parallel

DIRECT = 8  # maximum number of channels to sum distances directly; else use a matrix product
IN_BOXES = 2048  # minimum number of points to use boxes; in smaller clouds they save no time
TILE = 1 << 20  # numbers per tile of closeness


def knn(points: Tensor, k: int) -> Tensor:
    """Find the ``k`` nearest of centred points, ``(B, N, C)`` to ``(B, N, k)`` int64, in no
    order."""
    large = points.shape[2] == 3 and points.shape[1] >= IN_BOXES
    if large and points.isfinite().all():
        return box_knn(points, k)
    return knn_among(points, points, k)


def knn_among(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """Find the ``k`` nearest points, ``(B, Q, C)`` and ``(B, N, C)`` to ``(B, Q, k)`` int64, in no
    order."""
    clouds, count, channels = queries.shape
    found = torch.empty(clouds, count, k, dtype=torch.int64)
    if channels <= DIRECT:
        rows, columns = queries.contiguous(), points.mT.contiguous()
        in_parallel(
            selection.nearest_of_all, clouds * count, rows.numpy(), columns.numpy(), found.numpy()
        )
        return found
    step = max(1, TILE // points.shape[1])
    tile = points.new_empty(step, points.shape[1])
    for cloud, among in enumerate(points):
        weight, bias = (2 * among).t(), -among.square().sum(-1)  # |x_i|^2 is constant in a row
        for rows, part in zip(queries[cloud].split(step), found[cloud].split(step), strict=True):
            products = torch.mm(rows, weight, out=tile[: len(rows)])
            in_parallel(selection.largest, len(part), products.numpy(), bias.numpy(), part.numpy())
    return found
