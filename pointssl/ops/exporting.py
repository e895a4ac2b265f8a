"""Variants of the evaluation-mode operations that ``torch.export`` can trace.

The fast operations loop in Python over blocks that fit a CPU's cache. The number of blocks depends
on the number of clouds, so a traced graph would be long and fixed to one batch size. These variants
compute the same formulas without blocks. While a graph is traced,
:func:`pointssl.ops.neighbours.knn`, the functions of :mod:`pointssl.ops.edge_conv` and others call
them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def is_exporting() -> bool:
    """Return whether ``torch.export`` or ``torch.onnx.export`` is tracing.

    Before torch 2.7, ``torch.compile`` can't be told apart, so it also gets these variants.
    """
    return bool(getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)())


def knn_twin(centred: Tensor, k: int) -> Tensor:
    """Compute :func:`pointssl.ops.neighbours.knn` of centred points ``(B, N, C)`` by one matrix
    product per cloud."""
    squared = centred.square().sum(-1)
    closeness = 2 * (centred @ centred.mT) - squared[:, None, :]
    return closeness.topk(k, dim=-1, sorted=False).indices


def edge_conv_twin(u: Tensor, v: Tensor, flat: Tensor, slope: float) -> Tensor:
    """Compute ``max_j leaky(u_j + v_i)``: ``u (R, O)``, ``v (Q, O)`` and rows ``(Q, K)`` to
    ``(Q, O)``.

    As in the fast path, the maximum is taken before the sum and the activation."""
    return F.leaky_relu(u[flat].amax(dim=1) + v, slope)


def double_edge_conv_twin(
    u: Tensor, v: Tensor, flat: Tensor, weight2: Tensor, shift2: Tensor, slope: float
) -> Tensor:
    """Compute ``max_j leaky(W2 leaky(u_j + v_i) + b)``, ``(Q, P)``."""
    hidden = F.leaky_relu(u[flat] + v[:, None], slope)
    return F.leaky_relu(F.linear(hidden, weight2).amax(dim=1) + shift2, slope)


def tiny() -> float:
    """Return the epsilon that keeps inverse distances finite: 1e-8, as in public code.

    ONNX's optimiser removes the addition of such a small number, so exported graphs get 1.1e-8.
    """
    return 1.1e-8 if is_exporting() else 1e-8
