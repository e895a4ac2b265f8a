"""The patch transformer against Point-MAE's encoder, its weights loaded as any public file."""

from pathlib import Path

import pytest
import torch
from golden import load_golden, relative
from shared import needs_shared
from torch import Tensor, nn

import pointssl


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_golden("point_mae_encoder")


@pytest.fixture
def encoder(golden: dict[str, Tensor], tmp_path: Path) -> nn.Module:
    weights = {k.removeprefix("weights."): v for k, v in golden.items() if k.startswith("weights.")}
    torch.save({"base_model": weights}, tmp_path / "pretrain.pth")
    sizes = {"groups": 16, "group_size": 16, "heads": 4, "start": "first"}
    return pointssl.load_encoder(tmp_path / "pretrain.pth", **sizes)


@needs_shared
def test_groups(golden: dict[str, Tensor], encoder: nn.Module) -> None:
    groups, centres = encoder.patches.group(golden["xyz"])
    assert torch.equal(centres, golden["centers"])
    for ours, theirs in zip(groups.flatten(0, 1), golden["groups"].flatten(0, 1), strict=True):
        assert torch.equal(ours.unique(dim=0), theirs.unique(dim=0))  # in no order


@needs_shared
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tokens(golden: dict[str, Tensor], encoder: nn.Module, dtype: torch.dtype) -> None:
    encoder.to(dtype)
    tokens = encoder.patches.embed(golden["groups"].to(dtype))
    positions = encoder.patches.position(golden["centers"].to(dtype))
    with torch.no_grad():
        assert relative(encoder.trunk(tokens, positions)[-1], golden["eval.tokens"]) < 1e-5


@needs_shared
def test_a_whole_cloud(golden: dict[str, Tensor], encoder: nn.Module) -> None:
    tokens = golden["eval.tokens"]
    with torch.no_grad():
        cloud = encoder(golden["xyz"]).cloud
    assert relative(cloud, tokens.amax(1) + tokens.mean(1)) < 1e-5
