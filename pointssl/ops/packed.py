"""Packed clouds of different sizes: their points, concatenated, and the end of each cloud.

.. code-block:: text

    xyz      a a a a b b c c c c c    (T, 3)
    offsets          4   6         11 (B,)     sizes 4, 2, 5

No operation here mixes clouds, so a cloud's result does not depend on the rest of the batch. If all
sizes are equal, the dense operations run on all clouds at once.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pointssl.ops.exporting import is_exporting, tiny
from pointssl.ops.gather import take_rows
from pointssl.ops.neighbours import exact, knn, knn_among
from pointssl.ops.sampling import farthest_points
from pointssl_datasets.base.errors import UserError


def pack(clouds: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Concatenate clouds ``(N_i, C)`` to ``(T, C)``, with offsets ``(B,)``: each cloud's end.

    Raises:
        UserError: there are no clouds, or one is empty or not ``(N, C)`` with the others' C.
    """
    if not clouds:
        raise UserError("no clouds to pack: expected a list of tensors (N, 3)")
    channels = clouds[0].shape[-1] if clouds[0].dim() else 0
    for place, cloud in enumerate(clouds):
        if cloud.dim() != 2 or cloud.shape[1] != channels or not len(cloud):
            raise UserError(
                f"cloud {place} has the shape {tuple(cloud.shape)}: expected (N, {channels}) with "
                "at least one point"
            )
    sizes = torch.tensor([len(cloud) for cloud in clouds], device=clouds[0].device)
    return torch.cat(list(clouds)), sizes.cumsum(0)


def sizes_of(offsets: Tensor, total: int) -> list[int]:
    """Return the size of each cloud, from offsets ``(B,)`` into ``total`` points.

    Raises:
        UserError: the offsets are invalid, or a cloud is empty.
    """
    whole = isinstance(offsets, Tensor) and offsets.dim() == 1 and len(offsets) > 0
    if not whole or offsets.is_floating_point() or offsets.dtype == torch.bool:
        got = type(offsets).__name__
        if isinstance(offsets, Tensor):
            got = f"{offsets.dtype} {tuple(offsets.shape)}"
        raise UserError(f"offsets: expected the end of each cloud, whole numbers (B,), got {got}")
    ends = offsets.tolist()
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    for cloud, size in enumerate(sizes):
        if size < 0:
            raise UserError(
                f"offsets are not sorted: cloud {cloud} ends at {ends[cloud]}, before it begins; "
                "expected the end of each cloud, not its size"
            )
        if size == 0:
            raise UserError(
                f"offsets: cloud {cloud} is empty (it ends at {ends[cloud]}): leave it out"
            )
    if ends[-1] != total:
        raise UserError(f"offsets end at {ends[-1]}, but there are {total} points")
    return sizes


@torch.no_grad()
def packed_farthest(xyz: Tensor, sizes: Sequence[int], counts: Sequence[int], start: str) -> Tensor:
    """Sample ``counts[i]`` farthest points of each cloud i, as row numbers.

    All clouds are sampled at once: they are padded with copies of their first chosen point, which
    can never be the farthest again.

    Args:
        xyz: ``(T, 3)``.
        counts: at most ``sizes``.
        start: see :func:`pointssl.ops.sampling.farthest_points`.

    Returns:
        ``(sum(counts),)`` int64.
    """
    filled = xyz.new_empty(len(sizes), 1 + max(sizes), 3)
    rows = torch.empty(filled.shape[:2], dtype=torch.int64, device=xyz.device)
    begin = 0
    for cloud, size in enumerate(sizes):
        part = xyz[begin : begin + size]
        first = farthest_points(part[None], 1, start)[0]
        filled[cloud], rows[cloud] = part[first], begin + first
        filled[cloud, 1 : size + 1] = part
        rows[cloud, 1 : size + 1] = torch.arange(begin, begin + size, device=xyz.device)
        begin += size
    chosen = rows.gather(1, farthest_points(filled, max(counts), "first"))
    return torch.cat([row[:count] for row, count in zip(chosen, counts, strict=True)])


@torch.no_grad()
def packed_knn(
    points: Tensor,
    sizes: Sequence[int],
    k: int,
    queries: Tensor | None = None,
    query_sizes: Sequence[int] | None = None,
) -> Tensor:
    """Return the row numbers of the ``k`` points of its cloud nearest to each query.

    In clouds of fewer than ``k`` points, the nearest is repeated.

    Args:
        points: ``(T, 3)``.
        queries: ``(Q, 3)``; by default the points themselves.

    Returns:
        ``(Q, k)`` int64, in no order.
    """
    centres, centre_sizes = (points, sizes) if query_sizes is None else (queries, query_sizes)
    assert centres is not None
    rows, begin = [], 0
    for cloud, some in _dense(points, sizes, centres, centre_sizes):
        clouds, size = cloud.shape[:2]
        count = min(k, size)
        near = knn(cloud, count) if queries is None else knn_among(some, cloud, count)
        if count < k:
            apart = (take_rows(cloud, near) - some[:, :, None]).square().sum(-1)
            nearest = near.gather(2, apart.argmin(dim=2, keepdim=True))
            near = torch.cat((near, nearest.expand(-1, -1, k - count)), dim=2)
        offset = begin + size * torch.arange(clouds, device=points.device)
        rows.append((near + offset[:, None, None]).flatten(0, 1))
        begin += clouds * size
    return torch.cat(rows)


def packed_interpolate(
    values: Tensor,
    places: Tensor,
    sizes: Sequence[int],
    targets: Tensor,
    target_sizes: Sequence[int],
    k: int = 3,
) -> Tensor:
    """Average the values of the ``k`` nearest places, weighted by inverse distance; the places get
    no gradient.

    As in the public code of Point Transformer; :func:`pointssl.ops.interpolation.interpolate` uses
    inverse squared distances.

    Args:
        values: ``(T, C)`` at ``places (T, 3)``.
        targets: ``(Q, 3)``.
        k: capped at the cloud's number of places.

    Returns:
        ``(Q, C)``.
    """
    with torch.no_grad():
        idx = packed_knn(places, sizes, k, targets, target_sizes)
        apart = exact(places)[idx] - exact(targets)[:, None]
        weight = 1 / (apart.norm(dim=-1) + tiny())
        available = per_point(torch.tensor(sizes, device=idx.device), target_sizes)
        weight = weight * (torch.arange(k, device=idx.device) < available[:, None])
        weight = (weight / weight.sum(1, keepdim=True)).to(values.dtype)
    total = weight[:, 0, None] * values.index_select(0, idx[:, 0])
    for place in range(1, k):  # by neighbour, to avoid a tensor (Q, k, C)
        total = torch.addcmul(total, weight[:, place, None], values.index_select(0, idx[:, place]))
    return total


def per_cloud(values: Tensor, sizes: Sequence[int], reduce: str) -> Tensor:
    """Reduce the points of each cloud by ``"mean"`` or ``"max"``, ``(T, C)`` to ``(B, C)``."""
    clouds = [cloud for cloud, _ in _dense(values, sizes, values, sizes)]
    return torch.cat([c.mean(dim=1) if reduce == "mean" else c.amax(dim=1) for c in clouds])


def per_point(values: Tensor, sizes: Sequence[int]) -> Tensor:
    """Repeat each cloud's row for all of its points, ``(B, ...)`` to ``(T, ...)``."""
    if is_exporting():  # ONNX has no such operation; the sizes are fixed in a graph
        rows = [cloud for cloud, size in enumerate(sizes) for _ in range(size)]
        return values.index_select(0, torch.tensor(rows, device=values.device))
    repeats = torch.tensor(sizes, device=values.device)
    return values.repeat_interleave(repeats, dim=0, output_size=sum(sizes))


def _dense(
    points: Tensor, sizes: Sequence[int], others: Tensor, other_sizes: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield dense pairs ``(b, N, C)`` and ``(b, M, C)``: all clouds at once if their sizes are
    equal, else one by one."""
    if len(set(sizes)) == len(set(other_sizes)) == 1:
        yield points.view(len(sizes), sizes[0], -1), others.view(len(sizes), other_sizes[0], -1)
        return
    for cloud, other in zip(points.split(sizes), others.split(other_sizes), strict=True):
        yield cloud[None], other[None]
