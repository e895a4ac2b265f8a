"""Textbook versions of the backbones, with the weights of ours.

Each function runs the layers of one of our encoders with the textbook operations of
:mod:`pointssl.ops.reference`, and returns the cloud features.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.backbones.dgcnn import DGCNN
from pointssl.backbones.dgcnn_seg import DGCNNSeg
from pointssl.backbones.layers import DoubleEdgeConv, EdgeConv, PointLayer
from pointssl.backbones.pct import PCT
from pointssl.backbones.point_transformer import PointTransformer
from pointssl.images.resnet import ResNet
from pointssl.ops.reference import (
    double_edge_conv_reference,
    edge_conv_reference,
    rows_at,
    textbook_farthest,
    textbook_knn,
    textbook_knn_among,
)


def textbook_dgcnn(encoder: DGCNN, xyz: Tensor) -> Tensor:
    """Map ``(B, N, 3)`` to ``(B, D)``."""
    x, outputs = xyz, []
    for layer in encoder.edge_convs:
        assert isinstance(layer, EdgeConv)
        x = _single(layer, x, textbook_knn(x, encoder.k))
        outputs.append(x)
    last = _point_layer(encoder.last, torch.cat(outputs, dim=-1))
    return torch.cat((last.max(dim=1).values, last.mean(dim=1)), dim=-1)


def textbook_dgcnn_seg(encoder: DGCNNSeg, xyz: Tensor) -> Tensor:
    """Map ``(B, N, 3)`` to ``(B, D)``, with the T-Net."""
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
    return _point_layer(encoder.last, torch.cat((x1, x2, x3), dim=-1)).max(dim=1).values


def textbook_point_transformer(encoder: PointTransformer, xyz: Tensor) -> Tensor:
    """Map ``(B, N, 3)`` to ``(B, D)``, without a decoder; sampling starts at the first point."""
    x, places = encoder.first(xyz), xyz
    for stage in encoder.stages:
        down: Any = stage.transition
        if down is not None:
            points = places.shape[1]
            centres = rows_at(places, textbook_farthest(places, max(1, points // 4)))
            idx = textbook_knn_among(centres, places, min(down.k, points))
            apart = rows_at(places, idx) - centres[:, :, None]
            edges = torch.cat((apart, rows_at(x, idx)), dim=-1)
            for linear, norm in ((down.linear1, down.norm1), (down.linear2, down.norm2)):
                edges = linear(edges)
                edges = F.relu(norm(edges.flatten(0, 2)).view_as(edges))
            x, places = edges.max(dim=2).values, centres
        idx = textbook_knn(places, min(encoder.k, places.shape[1]))
        x = _vector_attention(stage.block, x, places, idx)
    return x.mean(dim=1)


def _vector_attention(block: Any, x: Tensor, xyz: Tensor, idx: Tensor) -> Tensor:
    """Attend with keys, values and positions of all edges as ``(B, N, k, D)``."""
    inside = block.into(x)
    query = block.query(inside)
    key, value = rows_at(block.key(inside), idx), rows_at(block.value(inside), idx)
    place = block.place(xyz[:, :, None] - rows_at(xyz, idx))
    weight = block.weigh(query[:, :, None] - key + place)
    weight = F.softmax(weight / math.sqrt(key.shape[-1]), dim=-2)
    return block.back(torch.einsum("bmnf,bmnf->bmf", weight, value + place)) + x


def textbook_pct(encoder: PCT, xyz: Tensor) -> Tensor:
    """Map ``(B, N, 3)`` to ``(B, D)``; sampling starts at the first point."""
    x, places = xyz, xyz
    for layer in encoder.point_layers:
        x = _point_layer(layer, x)
    for embedding in encoder.embeddings:
        net: Any = embedding
        points = places.shape[1]
        chosen = textbook_farthest(places, min(net.centres, points))
        centres = rows_at(places, chosen)
        idx = textbook_knn_among(centres, places, min(net.k, points))
        x, places = _double(net.edge_conv, x, idx, rows_at(x, chosen)), centres
    embedded = x
    for layer in encoder.before:
        x = _point_layer(layer, x)
    attended = []
    for attention in encoder.attentions:
        x = _offset_attention(attention, x)
        attended.append(x)
    return _point_layer(encoder.last, torch.cat((*attended, embedded), dim=-1)).max(dim=1).values


def _offset_attention(layer: Any, x: Tensor) -> Tensor:
    query = layer.query(x)
    softmax = torch.softmax(torch.bmm(query, query.mT), dim=-1)
    weights = softmax / (1e-9 + softmax.sum(dim=1, keepdim=True))
    return x + _point_layer(layer.layer, x - torch.bmm(weights.mT, layer.value(x)))


class TextbookResNet(nn.Module):
    """One of our ResNets in torch's default memory format, channels first: ``(B, 3, H, W)`` in
    [0, 1] to ``(B, dim)``."""

    def __init__(self, encoder: ResNet) -> None:
        super().__init__()
        self.encoder, self.dim = encoder, encoder.dim

    def forward(self, images: Tensor) -> Tensor:
        net = self.encoder
        x = net.bn1(net.conv1((images - net.mean) / net.std))
        x = F.max_pool2d(F.relu(x, inplace=True), 3, stride=2, padding=1)
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            for block in stage:
                x = _residual(block, x)
        return x.mean(dim=(2, 3))


def _residual(block: Any, x: Tensor) -> Tensor:
    y = F.relu(block.bn1(block.conv1(x)), inplace=True)
    y = block.bn2(block.conv2(y))
    if hasattr(block, "conv3"):
        y = block.bn3(block.conv3(F.relu(y, inplace=True)))
    y += x if block.downsample is None else block.downsample(x)
    return F.relu(y, inplace=True)


TEXTBOOK: dict[str, Callable[..., Tensor]] = {
    "dgcnn": textbook_dgcnn,
    "dgcnn_seg": textbook_dgcnn_seg,
    "point_transformer": textbook_point_transformer,
    "pct": textbook_pct,
}


def _single(layer: EdgeConv, x: Tensor, idx: Tensor) -> Tensor:
    return edge_conv_reference(x, idx, layer.linear.weight, layer.norm, layer.slope)


def _double(layer: DoubleEdgeConv, x: Tensor, idx: Tensor, centres: Tensor | None = None) -> Tensor:
    first, second = (layer.linear1.weight, layer.norm1), (layer.linear2.weight, layer.norm2)
    return double_edge_conv_reference(x, idx, *first, *second, layer.slope, centres)


def _point_layer(layer: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(layer, PointLayer)
    y = layer.linear(x)
    return F.leaky_relu(layer.norm(y.flatten(0, -2)).view_as(y), layer.slope)
