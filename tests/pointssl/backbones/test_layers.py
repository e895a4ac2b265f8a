"""The features inside an encoder, with their places."""

import pytest
import torch
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl.backbones.build import build_encoder
from pointssl.features.layers import layer_names, layer_outputs
from pointssl_datasets.base.errors import UsageError


class Thinning(nn.Module):
    """Every second point, with its place."""

    def forward(self, xyz: Tensor) -> tuple[Tensor, Tensor]:
        return xyz[:, ::2], 2 * xyz[:, ::2]


class WithToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.class_token = True
        self.thin = Thinning()
        self.block = nn.Identity()
        self.unused = nn.Identity()

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        _, x = self.thin(xyz)
        tokens = self.block(torch.cat((torch.ones_like(x[:, :1]), x), dim=1))
        return Features(tokens[:, 0], xyz)


def test_layers_of_a_dgcnn_are_what_its_features_are_made_of():
    encoder = build_encoder("dgcnn", seed=0, k=4, embedding=16, channels=(8, 8)).eval()
    xyz = torch.randn(2, 20, 3)
    found = layer_outputs(encoder, layer_names(encoder), xyz)
    assert list(found) == ["edge_convs.0", "edge_convs.1", "last"]
    features = encoder(xyz)
    points = torch.cat([found[name].features for name in list(found)[:2]], dim=-1)
    assert torch.equal(points, features.points)
    assert torch.equal(found["last"].features.amax(1), features.cloud[:, :16])
    assert torch.equal(found["last"].xyz, xyz)
    assert not encoder.last._forward_hooks


def test_places_follow_the_thinning_and_the_token_stands_apart():
    xyz = torch.randn(2, 10, 3)
    found = layer_outputs(WithToken(), ["thin", "block"], xyz)
    for layer in found.values():
        assert torch.equal(layer.xyz, xyz[:, ::2])
        assert torch.equal(layer.features, 2 * xyz[:, ::2])
    assert found["thin"].token is None
    assert torch.equal(found["block"].token, torch.ones(2, 3))


def test_refusals():
    xyz = torch.randn(2, 10, 3)
    with pytest.raises(UsageError, match=r"'blok': this WithToken has no such layer, did you mean"):
        layer_outputs(WithToken(), ["blok"], xyz)
    with pytest.raises(UsageError, match="'unused' is not used"):
        layer_outputs(WithToken(), ["unused"], xyz)
    encoder = build_encoder("dgcnn", seed=0, k=4, embedding=16, channels=(8, 8))
    with pytest.raises(UsageError, match=r"'edge_convs.0.linear' is not used"):
        layer_outputs(encoder.eval(), ["edge_convs.0.linear"], xyz)


def test_a_token_beside_as_many_groups_as_points_but_one():
    encoder = build_encoder(
        "patch_transformer", seed=0, groups=8, group_size=4, depth=2, taps=(1, 2), embedding=16,
        heads=2, class_token=True,
    ).eval()  # fmt: skip
    found = layer_outputs(encoder, ["blocks.1"], torch.randn(2, 9, 3))["blocks.1"]
    assert found.features.shape == (2, 8, 16)
    assert found.token is not None
