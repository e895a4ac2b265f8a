"""The operations that a graph is drawn of equal the fast ones, and who gets them."""

import pytest
import torch
from torch import nn

from pointssl.backbones.build import build_encoder
from pointssl.backbones.layers import DoubleEdgeConv, EdgeConv
from pointssl.ops import edge_conv, neighbours
from pointssl.ops.exporting import is_exporting
from pointssl.ops.neighbours import knn, knn_reference


@pytest.fixture
def drawing(monkeypatch):
    """Call it, and the operations take the way that they take while a graph is drawn."""

    def switch():
        for module in (neighbours, edge_conv):
            monkeypatch.setattr(module, "is_exporting", lambda: True)

    return switch


def clouds(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shaken(network):
    """In evaluation mode and double precision, with norms as after training, some negative."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            width = module.num_features
            module.running_mean.copy_(clouds(width) / 5)
            module.running_var.copy_(0.5 + clouds(width, seed=1) ** 2)
            module.weight.data.copy_(clouds(width, seed=2))
            module.bias.data.copy_(clouds(width, seed=3))
    return network.double().eval()


@pytest.mark.parametrize(("count", "k"), [(40, 5), (40, 40), (7, 1)])
def test_the_same_neighbours(drawing, count, k):
    points = clouds(3, count, 4) + 100  # far from the origin
    expected = knn_reference(points, k).sort().values
    assert torch.equal(knn(points, k).sort().values, expected)
    drawing()
    assert torch.equal(knn(points, k).sort().values, expected)


@pytest.mark.parametrize("layer", [EdgeConv(4, 6), DoubleEdgeConv(4, 6, 5)])
def test_the_same_edge_convolutions(drawing, layer):
    layer, x = shaken(layer), clouds(3, 30, 4)
    idx = knn(x, 5)
    few = idx[:, ::3], x[:, ::3]  # and of a few centres
    with torch.no_grad():
        fast = torch.cat((layer(x, idx), layer(x, *few)), dim=1)
        drawing()
        twin = torch.cat((layer(x, idx), layer(x, *few)), dim=1)
    assert (fast - twin).abs().max() < 1e-12 * fast.abs().max()
    assert fast.abs().max() > 0.1


@pytest.mark.parametrize("name", ["dgcnn", "dgcnn_seg"])
def test_the_same_encoders(drawing, name):
    small = {"dgcnn": {"channels": [8, 8]}, "dgcnn_seg": {"channels": 8}}[name]
    encoder = shaken(build_encoder(name, seed=0, k=4, embedding=16, **small))
    x = clouds(2, 50, 3)
    with torch.no_grad():
        fast = encoder(x)
        drawing()
        twin = encoder(x)
    for before, after in zip(fast, twin, strict=True):
        assert (before - after).abs().max() < 1e-12 * before.abs().max()


class Asks(nn.Module):
    """Says by its sign whether a graph is being drawn."""

    def forward(self, x):
        return -x if is_exporting() else x


def test_is_exporting_is_true_only_while_tracing():
    x = torch.ones(2)
    assert torch.equal(Asks()(x), x)
    program = torch.export.export(Asks(), (x,))
    assert torch.equal(program.module()(x), -x)
    assert torch.equal(Asks()(x), x)


def test_training_uses_the_usual_operations(drawing):
    layer, x = EdgeConv(4, 6).double(), clouds(3, 30, 4)
    idx = knn(x, 5)
    usual = layer(x, idx)
    drawing()
    assert torch.equal(layer(x, idx), usual)
