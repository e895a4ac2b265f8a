"""Which feature an evaluation sees, recorded wherever it matters."""

import json

import pytest
import torch
from in_process import refused, worked
from networks import save_encoder
from tiny import write_clouds
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl.backbones.build import build_encoder
from pointssl.features.layers import Layer
from pointssl.features.pooling import cloud_feature, named_feature, pooled
from pointssl_datasets.base.errors import UsageError


class WithToken(nn.Module):
    """A class token of ones in front of the points."""

    class_token = True
    layers = ("block",)

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Identity()

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        x = self.block(torch.cat((torch.ones_like(xyz[:, :1]), xyz), dim=1))
        return Features(x[:, 0], xyz)


def test_pooling_by_hand():
    values = torch.tensor([[[1.0, 5.0], [3.0, 1.0]]])
    layer = Layer(None, values, torch.tensor([[7.0, 8.0]]))
    for pool, expected in {
        "max": [3, 5],
        "mean": [2, 3],
        "max+mean": [3, 5, 2, 3],
        "cls": [7, 8],
        "cls+max": [7, 8, 3, 5],
    }.items():
        assert pooled(layer, pool, "block").tolist() == [expected]


def test_the_backbones_own_feature_is_a_choice_among_others():
    encoder = build_encoder("dgcnn", seed=0, k=4, embedding=16, channels=(8, 8)).eval()
    xyz = torch.randn(2, 20, 3)
    own = encoder(xyz).cloud
    assert torch.equal(cloud_feature(encoder, xyz), own)
    assert torch.equal(cloud_feature(encoder, xyz, pool="max+mean"), own)
    assert torch.equal(cloud_feature(encoder, xyz, pool="mean"), own[:, 16:])
    inner = cloud_feature(encoder, xyz, layer="edge_convs.0")
    assert torch.equal(inner[:, :8], encoder(xyz).points[..., :8].amax(1))
    assert named_feature(encoder, None, None) == "cloud feature of the backbone"
    assert named_feature(encoder, "max", None) == "max over last"
    assert named_feature(encoder, None, "edge_convs.0") == "max+mean over edge_convs.0"


def test_class_token():
    xyz = torch.randn(2, 20, 3)
    assert torch.equal(cloud_feature(WithToken(), xyz, pool="cls"), torch.ones(2, 3))
    assert torch.equal(cloud_feature(WithToken(), xyz, pool="max"), xyz.amax(1))
    encoder = build_encoder("dgcnn", seed=0, k=4, embedding=16).eval()
    with pytest.raises(UsageError, match="'last' of this encoder has no class token"):
        cloud_feature(encoder, xyz, pool="cls")


def test_results_and_cache_know_the_feature(tmp_path, capfd):
    write_clouds(tmp_path / "data", per_class=4, pictures=False)
    save_encoder(tmp_path / "w.pt")
    words = (
        "eval-svm", "--weights", tmp_path / "w.pt", "--data", "folder",
        "--data-root", tmp_path / "data", "--cache-dir", tmp_path / "cache", "--device", "cpu",
        "--no-progress", "--no-baseline", "--seeds", 1, "--out", tmp_path / "out",
    )  # fmt: skip
    own = worked(capfd, *words)
    assert "the feature of a cloud is" not in own
    pooled = worked(capfd, *words, "--pool", "max", "--layer", "edge_convs.1")
    assert "seed 0: computed" in pooled  # not those of the backbone's own feature
    assert "the feature of a cloud is the max over edge_convs.1" in pooled
    result = json.loads((tmp_path / "out" / "results.json").read_text())["results"]["pretrained"]
    assert (result["feature"], result["dimension"]) == ("max over edge_convs.1", 8)
    assert "seed 0: read" in worked(capfd, *words, "--pool", "max", "--layer", "edge_convs.1")
    assert "seed 0: read" in worked(capfd, *words)
    line = refused(capfd, 2, *words, "--pool", "cls")
    assert "has no class token; choose max, mean or max+mean" in line
    line = refused(capfd, 2, *words, "--layer", "edge_convs.7")
    assert "has no such layer, did you mean 'edge_convs.1'? It has: edge_convs.0, " in line
    line = refused(capfd, 2, "eval-fewshot", *words[1:], "--protocol", "point-mae", "--pool", "max")
    assert "leave --pool and --layer out" in line
