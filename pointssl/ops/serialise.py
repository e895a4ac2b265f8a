"""Orders in which the points of a cloud can be read one after the other."""

import torch
from torch import Tensor

from pointssl.ops.exporting import is_exporting
from pointssl_datasets.base.errors import UsageError

ORDERS = {"xyz": 3, "hilbert": 2}
"""Name of an order -> how often it reads the cloud."""
BITS = 16  # of a cell's coordinate; three of them fit an int64


@torch.no_grad()
def serial_orders(places: Tensor, order: str = "hilbert", cell: float = 0.02) -> Tensor:
    """Permutations that put points one after the other; of equals the earlier point comes first.

    Args:
        places: ``(B, M, 3)``.
        order: ``"xyz"``: along the x, the y and the z axis; ``"hilbert"``: along a Hilbert curve
            and along the same curve with x and y exchanged.
        cell: edge of the grid's cells that the Hilbert curve runs through, in the unit of the
            places. The grid starts at the lowest cell that each cloud has a point in.

    Returns:
        ``(B, V, M)`` int64, with V = 3 or 2.

    Raises:
        UsageError: no such order, or a cell without size.
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
    return numbers.argsort(dim=-1, stable=not is_exporting())  # which ONNX has not


def hilbert_index(cells: Tensor, bits: int = BITS) -> Tensor:
    """The place of each cell on a Hilbert curve through a cube of ``2**bits`` cells an edge.

    Skilling 2004, Programming the Hilbert curve (AIP Conf. Proc. 707). Cells one after the other on
    the curve share a face. In a cube of eight times the edge the lowest corner is walked through in
    the same order, so that 16 bits order a small grid as 13, 10 or 7 do.

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
