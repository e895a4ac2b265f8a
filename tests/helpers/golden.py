"""Golden files into our modules, by the key tables of :mod:`pointssl.checkpoints.zoo`."""

import importlib

import pytest
import torch
from safetensors.torch import load_file
from shared import SHARED
from torch import Tensor, nn

import pointssl
from pointssl.checkpoints.zoo.dgcnn import cls_keys, seg_keys
from pointssl.checkpoints.zoo.family import NORM
from pointssl.ops.neighbours import knn_reference

ALIGNED = {"transform_net.conv1.0.weight": torch.empty(0)}  # the mark of a T-Net


def encoder_keys(name: str) -> dict[str, str]:
    """Our key -> the reference's key."""
    return cls_keys({}) if name == "dgcnn" else seg_keys(ALIGNED)


def head_keys() -> dict[str, str]:
    keys = {f"{i}.{n}": f"inv_head.{i}.{n}" for i in (0, 3) for n in ("weight", "bias")}
    return keys | {f"1.{n}": f"inv_head.1.{n}" for n in NORM}


def load_golden(name: str) -> dict[str, Tensor]:
    return load_file(SHARED / "golden" / f"{name}.safetensors")


def pick(
    golden: dict[str, Tensor], prefix: str, keys: dict[str, str], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Our key -> golden tensor, convolution kernels flattened to matrices."""
    found = {}
    for ours, theirs in keys.items():
        value = golden.get(f"{prefix}.{theirs}")
        if value is not None:
            found[ours] = (
                value.reshape(value.shape[:2]).to(dtype) if value.dim() > 2 else value.to(dtype)
            )
    return found


def relative(ours: torch.Tensor, golden: torch.Tensor) -> float:
    return float((ours - golden).detach().norm() / golden.norm().clamp_min(1e-12))


def load(module: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    missing, unexpected = module.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing), missing


def use_neighbours_of_float64(monkeypatch: pytest.MonkeyPatch, backbone: str, golden: dict) -> None:
    """Near-equal neighbours flip in fp32, for the reference too: give both the exact ones."""
    module = importlib.import_module(f"pointssl.backbones.{backbone}")
    exact = pointssl.build_encoder(backbone, k=12, embedding=96).double()
    load(exact, pick(golden, "weights", encoder_keys(backbone), torch.float64))
    found: list[torch.Tensor] = []

    def record(points: torch.Tensor, k: int) -> torch.Tensor:
        found.append(knn_reference(points, k))
        return found[-1]

    monkeypatch.setattr(module, "knn", record)
    for training in (False, True):
        exact.train(training)(golden["xyz"].double())
    replay = iter(found)
    monkeypatch.setattr(module, "knn", lambda points, k: next(replay))
