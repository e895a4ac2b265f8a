"""The kept checkpoints, and what their networks say of three clouds."""

import json
from pathlib import Path
from typing import Any

import kept_data
import numpy as np
import torch
from kept_runs import KEPT

import pointssl
from pointssl.sklearn import PointEncoder

ENCODERS = {
    "pretrained": "pretrained/checkpoints/last.pt",
    "stopped": "stopped/checkpoints/last.pt",
    "cls": "cls/checkpoints/model.pt",
    "cls_last": "cls/checkpoints/last.pt",
    "partseg": "partseg/checkpoints/model.pt",
    "semseg": "semseg/checkpoints/model.pt",
    "crosspoint": "foreign/crosspoint.pth",
    "imported": "foreign/imported.pt",
    "imported_safetensors": "foreign/imported.safetensors",
    **{path.stem: f"backbones/{path.name}" for path in sorted((KEPT / "backbones").glob("*"))},
}
TASKS = {
    "cls": "cls/checkpoints/model.pt",
    "cls_last": "cls/checkpoints/last.pt",
    "cls_linear": "stopped_cls/checkpoints/last.pt",
    "partseg": "partseg/checkpoints/model.pt",
    "partseg_last": "partseg/checkpoints/last.pt",
    "semseg": "semseg/checkpoints/model.pt",
    "semseg_last": "semseg/checkpoints/last.pt",
}
DESCRIBED = sorted(path.stem for path in (KEPT / "described").glob("*.json"))
SCIKIT = "pretrained/checkpoints/last.pt"


def clouds(channels: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """``(3, 32, 3)`` and what else the network takes of a point, ``(3, 32, channels - 3)``."""
    xyz = np.stack([kept_data.cloud(990 + kind, kind, 32) / 8 for kind in range(3)])
    if channels == 3:
        return torch.from_numpy(xyz), None
    feats = kept_data.numbers(993, 3, 32, channels - 3).astype(np.float32) / 256
    return torch.from_numpy(xyz), torch.from_numpy(feats)


@torch.no_grad()
def encoded(path: Path) -> dict[str, np.ndarray]:
    """Features by ``pointssl.load_encoder``."""
    encoder: Any = pointssl.load_encoder(path)
    channels = int(getattr(encoder, "in_channels", 3))
    features = encoder(*clouds(channels))
    return {"cloud": features.cloud.numpy(), "points": features.points.mean(dim=1).numpy()}


@torch.no_grad()
def predicted(path: Path) -> np.ndarray:
    """Logits by ``pointssl.load_task``."""
    task: Any
    task, facts = pointssl.load_task(path)
    assert facts["task"] in ("cls", "partseg", "semseg")
    xyz, feats = clouds(facts["backbone_args"].get("in_channels", 3))
    if facts["task"] == "partseg":
        return task.logits(xyz, feats, torch.arange(3)).numpy()
    return task.logits(xyz, feats).numpy()


def describe(name: str, folder: Path) -> Path:
    """A checkpoint that was too large to keep, with other numbers in its tensors."""
    path = folder / f"{name}.pt"
    content = json.loads((KEPT / "described" / f"{name}.json").read_text())
    torch.save(kept_data.filled(content), path)
    return path


def transformed() -> np.ndarray:
    """Features by the transformer of scikit-learn."""
    several = [kept_data.cloud(990 + kind, kind, 40) for kind in range(3)]
    return PointEncoder(KEPT / SCIKIT, device="cpu").fit(several).transform(several)


def outputs(folder: Path) -> dict[str, np.ndarray]:
    """Of all of them."""
    found = {}
    for name, file in ENCODERS.items():
        found |= {f"encoder {name} {key}": v for key, v in encoded(KEPT / file).items()}
    for name, file in TASKS.items():
        found[f"task {name}"] = predicted(KEPT / file)
    for name in DESCRIBED:
        found[f"described {name}"] = predicted(describe(name, folder))
    found["scikit-learn"] = transformed()
    return found
