"""The reference networks' key names beside ours, so that golden files load into our modules."""

import importlib

import pytest
import torch
from safetensors.torch import load_file
from shared import SHARED
from torch import Tensor, nn

import pointssl
from pointssl.ops.neighbours import knn_reference

# Our module -> the reference's linear or convolution; (our norm, its norm) where there is one.
DGCNN = {f"edge_convs.{i}": (f"conv{i + 1}.0", f"bn{i + 1}") for i in range(4)}
DGCNN |= {"last": ("conv5.0", "bn5")}

TNET = "transform_net"
DGCNN_SEG = {
    f"{TNET}.edge_conv#1": (f"{TNET}.conv1.0", f"{TNET}.bn1"),
    f"{TNET}.edge_conv#2": (f"{TNET}.conv2.0", f"{TNET}.bn2"),
    # the reference overwrites bn3, and keeps the one it really uses inside the Sequential
    f"{TNET}.point_layer": (f"{TNET}.conv3.0", f"{TNET}.conv3.1"),
    f"{TNET}#1": (f"{TNET}.linear1", f"{TNET}.bn3"),
    f"{TNET}#2": (f"{TNET}.linear2", f"{TNET}.bn4"),
    "edge_conv1#1": ("conv1.0", "bn1"),
    "edge_conv1#2": ("conv2.0", "bn2"),
    "edge_conv2#1": ("conv3.0", "bn3"),
    "edge_conv2#2": ("conv4.0", "bn4"),
    "edge_conv3": ("conv5.0", "bn5"),
    "last": ("conv6.0", "bn6"),
}
NORM = ("weight", "bias", "running_mean", "running_var")


def their_keys(table: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Our key -> the reference's key."""
    keys = {}
    for ours, (linear, norm) in table.items():
        module, _, number = ours.partition("#")
        keys[f"{module}.linear{number}.weight"] = f"{linear}.weight"
        for name in NORM:
            keys[f"{module}.norm{number}.{name}"] = f"{norm}.{name}"
    return keys


def encoder_keys(name: str) -> dict[str, str]:
    if name == "dgcnn":
        return their_keys(DGCNN)
    matrix = {f"{TNET}.matrix.{n}": f"{TNET}.transform.{n}" for n in ("weight", "bias")}
    return their_keys(DGCNN_SEG) | matrix


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
