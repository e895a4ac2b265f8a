"""Twins of the evaluation-mode operations that ``torch.export`` can draw as a graph.

The fast operations walk over blocks that fit a CPU's cache, in Python loops whose length depends
on the number of clouds, so that a graph of them would be long and of one batch size. These are the
same formulas without blocks. While a graph is drawn, :func:`pointssl.ops.neighbours.knn` and the
functions of :mod:`pointssl.ops.edge_conv` hand over to them; nothing else looks at the switch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def is_exporting() -> bool:
    """Whether ``torch.export`` or ``torch.onnx.export`` is drawing a graph just now.

    Before torch 2.7 it can't be told from ``torch.compile``, which then also gets the twins.
    """
    return bool(getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)())


def knn_twin(centred: Tensor, k: int) -> Tensor:
    """:func:`pointssl.ops.neighbours.knn` of points ``(B, N, C)`` without their mean: one matrix
    product over whole clouds."""
    squared = centred.square().sum(-1)
    closeness = 2 * (centred @ centred.mT) - squared[:, None, :]
    return closeness.topk(k, dim=-1, sorted=False).indices


def edge_conv_twin(u: Tensor, v: Tensor, flat: Tensor, slope: float) -> Tensor:
    """``max_j leaky(u_j + v_i)``: ``(Q, O)`` of ``u (R, O)``, ``v (Q, O)`` and rows ``(Q, K)``.

    The maximum stands before the sum and the activation, as in the fast path."""
    return F.leaky_relu(u[flat].amax(dim=1) + v, slope)


def double_edge_conv_twin(
    u: Tensor, v: Tensor, flat: Tensor, weight2: Tensor, shift2: Tensor, slope: float
) -> Tensor:
    """``max_j leaky(W2 leaky(u_j + v_i) + b)``, to ``(Q, P)``."""
    hidden = F.leaky_relu(u[flat] + v[:, None], slope)
    return F.leaky_relu(F.linear(hidden, weight2).amax(dim=1) + shift2, slope)


def tiny() -> float:
    """What keeps the inverse of a distance finite: 1e-8, as public code has it. ONNX's optimiser
    takes an addition of that little for none and leaves it out, so that it gets a bit more."""
    return 1.1e-8 if is_exporting() else 1e-8
