"""Serialisation: orders that turn a point cloud into a sequence."""

import torch
from torch import Tensor

from pointssl.ops.exporting import is_exporting
from pointssl_datasets.base.errors import UsageError

ORDERS = {"xyz": 3, "hilbert": 2}
"""Name of an order -> number of permutations it consists of."""
BITS = 16  # per coordinate of a cell; three coordinates fit an int64


@torch.no_grad()
def serial_orders(places: Tensor, order: str = "hilbert", cell: float = 0.02) -> Tensor:
    """Return the permutations that sort the points of each cloud; ties keep their order.

    Args:
        places: ``(B, M, 3)``.
        order: ``"xyz"``: along the x, the y and the z axis; ``"hilbert"``: along a Hilbert curve
            and the same curve with x and y swapped.
        cell: edge length of the Hilbert curve's grid cells, in the unit of the places. The grid
            starts at the lowest cell that contains a point of the cloud.

    Returns:
        ``(B, V, M)`` int64, with V = 3 or 2.

    Raises:
        UsageError: unknown order, or ``cell`` is not above 0.
    """
    if order not in ORDERS:
        raise UsageError(f"order {order!r}: expected one of {', '.join(ORDERS)}")
    if order == "xyz":
        return places.mT.argsort(dim=-1, stable=not is_exporting())
    if not cell > 0:
        raise UsageError(f"cell {cell}: expected an edge length above 0")
    cells = torch.floor(places / cell)
    cells = (cells - cells.amin(1, keepdim=True)).clamp(max=2**BITS - 1).long()
    numbers = torch.stack((hilbert_index(cells), hilbert_index(cells[..., [1, 0, 2]])), dim=1)
    return numbers.argsort(dim=-1, stable=not is_exporting())  # ONNX has no stable sort


def hilbert_index(cells: Tensor, bits: int = BITS) -> Tensor:
    """Compute each cell's index on the Hilbert curve through a cube with ``2**bits`` cells per
    edge.

    Skilling 2004, Programming the Hilbert curve (AIP Conf. Proc. 707). Consecutive cells on the
    curve share a face. In a cube with eight times the edge, the lowest corner is traversed in the
    same order, so 16 bits sort a small grid as 13, 10 or 7 bits do.

    Args:
        cells: ``(..., 3)`` int64 from 0 to ``2**bits - 1``.
        bits: at most 21.

    Returns:
        ``(...)`` int64 from 0 to ``8**bits - 1``.
    """
    axes = list(cells.unbind(-1))
    for level in range(bits - 1, 0, -1):  # from the largest octants to the smallest
        low = (1 << level) - 1
        for i in range(3):
            upper = (axes[i] >> level) & 1
            mirrored = axes[0] ^ (low * upper)
            swap = (axes[0] ^ axes[i]) & (low * (1 - upper))
            axes[i] = axes[i] ^ swap
            axes[0] = mirrored ^ swap
    number = torch.zeros_like(axes[0])
    for level in range(bits - 1, -1, -1):
        for axis in axes:
            number = (number << 1) | ((axis >> level) & 1)
    for shift in (1, 2, 4, 8, 16, 32):  # from Gray code to a number
        number = number ^ (number >> shift)
    return number
