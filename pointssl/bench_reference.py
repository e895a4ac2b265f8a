"""The backbones as the papers' code runs them: every edge in memory, every distance sorted.

What :mod:`pointssl.bench` measures the fast path against. Each function takes one of our encoders
and runs its own layers with the textbook operations, so that the weights are the same ones.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pointssl.backbones.dgcnn import DGCNN
from pointssl.backbones.dgcnn_seg import DGCNNSeg
from pointssl.backbones.features import Features
from pointssl.backbones.layers import DoubleEdgeConv, EdgeConv, PointLayer
from pointssl.ops.edge_conv_reference import double_edge_conv_reference, edge_conv_reference


def textbook_knn(points: Tensor, k: int) -> Tensor:
    """``-|x_i|^2 + 2 x_i.x_j - |x_j|^2`` and a sorted ``topk``, as DGCNN's code has it.

    ``(B, N, C)`` to ``(B, N, k)``.
    """
    inner = -2 * torch.matmul(points, points.mT)
    squared = (points**2).sum(dim=-1, keepdim=True)
    return (-squared - inner - squared.mT).topk(k, dim=-1).indices


def textbook_dgcnn(encoder: DGCNN, xyz: Tensor) -> Features:
    """``(B, N, 3)`` through the layers of ``encoder``."""
    x, outputs = xyz, []
    for layer in encoder.edge_convs:
        assert isinstance(layer, EdgeConv)
        x = _single(layer, x, textbook_knn(x, encoder.k))
        outputs.append(x)
    points = torch.cat(outputs, dim=-1)
    last = _point_layer(encoder.last, points)
    return Features(torch.cat((last.max(dim=1).values, last.mean(dim=1)), dim=-1), points)


def textbook_dgcnn_seg(encoder: DGCNNSeg, xyz: Tensor) -> Features:
    """``(B, N, 3)`` through the layers of ``encoder``, with its T-Net."""
    net, k = encoder.transform_net, encoder.k
    assert net is not None
    x = _double(net.edge_conv, xyz, textbook_knn(xyz, k))
    x = _point_layer(net.point_layer, x).max(dim=1).values
    x = F.leaky_relu(net.norm1(net.linear1(x)), net.slope)
    x = F.leaky_relu(net.norm2(net.linear2(x)), net.slope)
    xyz = xyz @ net.matrix(x).view(-1, 3, 3)
    x1 = _double(encoder.edge_conv1, xyz, textbook_knn(xyz, k))
    x2 = _double(encoder.edge_conv2, x1, textbook_knn(x1, k))
    x3 = _single(encoder.edge_conv3, x2, textbook_knn(x2, k))
    points = torch.cat((x1, x2, x3), dim=-1)
    return Features(_point_layer(encoder.last, points).max(dim=1).values, points)


TEXTBOOK: dict[str, Callable[..., Features]] = {
    "dgcnn": textbook_dgcnn,
    "dgcnn_seg": textbook_dgcnn_seg,
}


def _single(layer: EdgeConv, x: Tensor, idx: Tensor) -> Tensor:
    return edge_conv_reference(x, idx, layer.linear.weight, layer.norm, layer.slope)


def _double(layer: DoubleEdgeConv, x: Tensor, idx: Tensor) -> Tensor:
    first, second = (layer.linear1.weight, layer.norm1), (layer.linear2.weight, layer.norm2)
    return double_edge_conv_reference(x, idx, *first, *second, layer.slope)


def _point_layer(layer: PointLayer, x: Tensor) -> Tensor:
    y = layer.linear(x)
    return F.leaky_relu(layer.norm(y.flatten(0, -2)).view_as(y), layer.slope)
