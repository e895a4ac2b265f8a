"""Building encoders by name, and loading them back from checkpoints."""

import sys
from pathlib import Path

import pytest
import torch

import pointssl
from pointssl.backbones.build import build_encoder
from pointssl.checkpoints.encoder import load_encoder
from pointssl.checkpoints.file import save_checkpoint
from pointssl.config.arguments import parse_arguments
from pointssl_datasets.base.errors import UsageError, UserError

SMALL = {"k": 5, "embedding": 16}


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, torch.nn.Module]:
    encoder = build_encoder("dgcnn", seed=1, **SMALL)
    encoder(torch.randn(2, 20, 3))  # moves the running statistics
    path = tmp_path / "last.pt"
    facts = {"backbone": "dgcnn", "backbone_args": SMALL}
    save_checkpoint(path, {"encoder": encoder.state_dict(), "facts": facts})
    return path, encoder.eval()


def test_seed_is_reproducible():
    first, again, other = (build_encoder("dgcnn", seed=s, **SMALL) for s in (3, 3, 4))
    weights = [list(encoder.parameters()) for encoder in (first, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert not torch.equal(weights[0][0], weights[2][0])


def test_a_seed_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    build_encoder("dgcnn", seed=3, **SMALL)
    assert torch.equal(torch.get_rng_state(), before)
    build_encoder("dgcnn", **SMALL)  # without one, that is what is used
    assert not torch.equal(torch.get_rng_state(), before)


def test_arguments_reach_the_class():
    encoder = pointssl.build_encoder("dgcnn", k=7, embedding=24, channels=(4, 8), slope=0.1)
    assert (encoder.k, encoder.cloud_dim, encoder.point_dim) == (7, 48, 12)


def test_unknown_name():
    with pytest.raises(UsageError, match=r"unknown backbone 'dgcn', did you mean 'dgcnn'\?"):
        build_encoder("dgcn")


def test_unknown_argument():
    with pytest.raises(UsageError, match=r"no argument 'embeding', did you mean 'embedding'\?"):
        build_encoder("dgcnn", embeding=3)
    with pytest.raises(UsageError, match="It takes: k, embedding"):
        build_encoder("dgcnn", zzz=3)


OWN = """
from torch import nn
from pointssl.backbones.features import Features

class Mean(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.cloud_dim = self.point_dim = width
        self.linear = nn.Linear(3, width)

    def forward(self, xyz, feats=None):
        points = self.linear(xyz)
        return Features(points.mean(1), points)
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_own_backbone.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_own_backbone"
    sys.modules.pop("my_own_backbone", None)


def test_own_class(own_module: str, tmp_path: Path):
    name = f"{own_module}:Mean"
    encoder = build_encoder(name, width=6, seed=0)
    assert encoder(torch.zeros(2, 5, 3)).cloud.shape == (2, 6)
    path = tmp_path / "own.pt"
    facts = {"backbone": name, "backbone_args": {"width": 6}}
    save_checkpoint(path, {"encoder": encoder.state_dict(), "facts": facts})
    xyz = torch.randn(2, 5, 3)
    assert torch.equal(load_encoder(path)(xyz).cloud, encoder(xyz).cloud)


def test_own_class_that_is_not_there(own_module: str):
    with pytest.raises(UsageError, match="module 'my_own_backbone' has no 'Median'"):
        build_encoder(f"{own_module}:Median")
    with pytest.raises(UsageError, match="no module named 'nowhere_at_all'"):
        build_encoder("nowhere_at_all:Net")


def test_round_trip(saved):
    path, encoder = saved
    loaded = load_encoder(path)
    assert not loaded.training
    assert loaded.k == 5
    xyz = torch.randn(3, 30, 3)
    for ours, theirs in zip(encoder(xyz), pointssl.load_encoder(str(path))(xyz), strict=True):
        assert torch.equal(ours, theirs)


def test_overrides(saved):
    path, encoder = saved
    loaded = load_encoder(path, k=9)
    assert loaded.k == 9
    assert torch.equal(loaded.last.linear.weight, encoder.last.linear.weight)
    with pytest.raises(UserError, match=r"last\.pt does not fit this DGCNN"):
        load_encoder(path, embedding=32)
    with pytest.raises(UsageError, match="no argument 'kk'"):
        load_encoder(path, kk=9)


def test_not_a_checkpoint(tmp_path: Path, saved):
    with pytest.raises(UserError, match="no checkpoint at"):
        load_encoder(tmp_path / "absent.pt")
    path, _ = saved
    cut = tmp_path / "cut.pt"
    cut.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"cut\.pt is not a"):
        load_encoder(cut)
    bare = tmp_path / "bare.pt"
    torch.save(build_encoder("dgcnn", **SMALL).state_dict(), bare)
    with pytest.raises(UserError, match="tensors of no network that is known here"):
        load_encoder(bare)


def test_parse_arguments():
    pairs = ["slope=0.1", "align=false", "channels=[8, 8]", "name=a=b"]
    expected = {"slope": 0.1, "align": False, "channels": [8, 8], "name": "a=b"}
    assert parse_arguments(pairs, "--backbone-arg") == expected
    for bad in ("slope", "=3"):
        with pytest.raises(UsageError, match="expected KEY=VALUE"):
            parse_arguments([bad], "--backbone-arg")
