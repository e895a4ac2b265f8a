"""EdgeConv as the papers write it, with the full edge tensor: the oracle of the fast path.

Wang et al. 2019, Dynamic Graph CNN for Learning on Point Clouds (arXiv 1801.07829).
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm


def edge_features(x: Tensor, idx: Tensor, centres: Tensor | None = None) -> Tensor:
    """``[x_j - x_i ; x_i]`` for each centre i and each of its neighbours j.

    Args:
        x: ``(B, N, C)``.
        idx: ``(B, M, K)`` indices into N.
        centres: ``(B, M, C)``, by default ``x``.

    Returns:
        ``(B, M, K, 2C)``.
    """
    batch = torch.arange(x.shape[0], device=x.device)[:, None, None]
    centre = x if centres is None else centres
    centre = centre[:, :, None].expand(-1, -1, idx.shape[-1], -1)
    return torch.cat((x[batch, idx] - centre, centre), dim=-1)


def _shared_layer(edges: Tensor, weight: Tensor, norm: _BatchNorm, slope: float) -> Tensor:
    """The same linear layer, norm and leaky ReLU on every edge, ``(B, N, K, C)``."""
    edges = F.linear(edges, weight)
    edges = norm(edges.flatten(0, 2)).view_as(edges)
    return F.leaky_relu(edges, slope)


def edge_conv_reference(
    x: Tensor,
    idx: Tensor,
    weight: Tensor,
    norm: _BatchNorm,
    slope: float = 0.2,
    centres: Tensor | None = None,
) -> Tensor:
    """``max_j leaky_relu(norm(W [x_j - x_i ; x_i]))``, ``(B, N, C)`` to ``(B, M, O)``."""
    return _shared_layer(edge_features(x, idx, centres), weight, norm, slope).max(dim=2).values


def double_edge_conv_reference(
    x: Tensor,
    idx: Tensor,
    weight1: Tensor,
    norm1: _BatchNorm,
    weight2: Tensor,
    norm2: _BatchNorm,
    slope: float = 0.2,
    centres: Tensor | None = None,
) -> Tensor:
    """Two shared layers on every edge, then the maximum: ``(B, N, C)`` to ``(B, M, P)``."""
    edges = _shared_layer(edge_features(x, idx, centres), weight1, norm1, slope)
    return _shared_layer(edges, weight2, norm2, slope).max(dim=2).values
