"""Batch norm over edges ``u_j + v_i`` that are never materialised: statistics and gradient."""

import torch
from torch import Tensor

from pointssl.ops.collectives import sum_over_ranks
from pointssl.ops.gather import in_degree, neighbour_sum, reverse_neighbour_sum


def center_and_var(
    u: Tensor, v: Tensor, idx: Tensor, synced: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Centre ``u`` and ``v`` so that the edges have mean zero.

    Args:
        u: ``(R, O)``, contribution of each row as a neighbour.
        v: ``(Q, O)``, contribution of each centre.
        idx: ``(Q, K)`` row numbers of the neighbours.
        synced: compute statistics over all processes.

    Returns:
        ``u`` and ``v`` without their means; mean and biased variance of the edges ``(O,)``; the
        number of edges ``()``.
    """
    centres, k = idx.shape
    degree = in_degree(idx, len(u), u.dtype)
    # The mean by in-degree loses a digit, but it only centres; the remainder is added below.
    sums = torch.cat((degree @ u, k * v.sum(0), u.new_tensor([centres * k])))
    sums = sum_over_ranks(sums, synced)
    count = sums[-1]
    mean_u, mean_v = (sums[:-1] / count).chunk(2)
    u, v = u - mean_u, v - mean_v
    around = neighbour_sum(u, idx)
    rest = (around.sum(0) + k * v.sum(0)) / (centres * k)
    squares = degree @ u.square() + 2 * (v * around).sum(0) + k * v.square().sum(0)
    squares = torch.cat((squares, rest * (centres * k)))
    squares, rest = (sum_over_ranks(squares, synced) / count).chunk(2)
    return u, v - rest, mean_u + mean_v + rest, squares - rest.square(), count


def edge_norm_backward(
    grad_u: Tensor,
    grad_v: Tensor,
    u: Tensor,
    v: Tensor,
    idx: Tensor,
    gamma: Tensor,
    inv_std: Tensor,
    means: Tensor,
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of ``u`` and ``v`` through a batch norm over the edges ``u_j + v_i``.

    With the gradient g of the norm's output and the normalised value z of an edge, the gradient of
    the edge is ``scale * (g - mean(g) - z * mean(g z))``. It is summed over the edges that end in
    each row, and over the edges of each centre.

    Args:
        grad_u: ``(R, O)``, g summed over the edges that end in a row.
        grad_v: ``(Q, O)``, g summed over the edges of a centre.
        u, v: as returned by :func:`center_and_var`.
        means: ``(2, O)``: means of g and of g z over all edges.

    Returns:
        ``(R, O)`` and ``(Q, O)``.
    """
    k = idx.shape[1]
    scale = gamma * inv_std
    slant = means[1] * inv_std
    degree = in_degree(idx, len(u), u.dtype)[:, None]
    ends = degree * u + reverse_neighbour_sum(v, idx, len(u))
    around = neighbour_sum(u, idx) + k * v
    grad_u = scale * (grad_u - degree * means[0] - slant * ends)
    grad_v = scale * (grad_v - k * means[0] - slant * around)
    return grad_u, grad_v


def leaky_relu_backward(grad: Tensor, y: Tensor, slope: float) -> Tensor:
    """Compute the gradient of a leaky ReLU from its *output* ``y``, which has the input's sign."""
    return torch.ops.aten.leaky_relu_backward(grad, y, slope, True)
