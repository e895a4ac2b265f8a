"""Section ``backbones``: a training step without optimiser, and a pass in evaluation mode."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pointssl.backbones.build import build_encoder
from pointssl.benchmarks.case import Case, Run, Sizes, Work, as_list, random_clouds
from pointssl.benchmarks.floor import count_operations
from pointssl.benchmarks.networks import TEXTBOOK

# Network, clouds, points; then goals of training and of evaluation, by device type.
ROWS: list[tuple[str, int, int, dict[str, float], dict[str, float]]] = [
    ("dgcnn", 8, 1024, {"cpu": 8, "cuda": 4}, {"cpu": 10, "cuda": 6}),
    ("dgcnn", 4, 2048, {"cpu": 7, "cuda": 4}, {"cpu": 9, "cuda": 6}),
    ("dgcnn_seg", 8, 1024, {"cpu": 5, "cuda": 3}, {"cpu": 6, "cuda": 4}),
    ("point_transformer", 4, 1024, {"cpu": 1.8, "cuda": 2}, {}),
    ("pct", 8, 1024, {"cpu": 3, "cuda": 3}, {}),
]
# Sampling starts at the first point, as in the textbook's loop.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "point_transformer": {"start": "first"},
    "pct": {"start": "first"},
}
NARROW: dict[str, dict[str, Any]] = {"point_transformer": {"embedding": 32}}
SMALL = {"clouds": 2, "points": 160}


def cases(level: str, gpu: bool) -> list[Case]:
    """Return the cases of this section; on a GPU, those of `dgcnn` also in bf16."""
    result = []
    rows = [row for row in ROWS if row[2] == 1024] if level == "quick" else ROWS
    for network, clouds, points, *goals in rows:
        for mode, wanted in zip(("train", "eval"), goals, strict=True):
            for amp in (False, True) if gpu and network == "dgcnn" else (False,):
                sizes: dict[str, Any] = {"clouds": clouds, "points": points}
                sizes = {"clouds": 2, "points": 256} if level == "quick" else sizes
                result.append(_case(network, mode, amp, sizes, {} if level == "quick" else wanted))
    return result


def _case(
    network: str, mode: str, amp: bool, sizes: dict[str, Any], goals: dict[str, float]
) -> Case:
    arguments = ARGUMENTS.get(network, {})
    full = {**sizes, "arguments": arguments}
    dgcnn = network.startswith("dgcnn")
    return Case(
        section="backbones",
        name=f"{network} {mode}{', bf16' if amp else ''}, {sizes['clouds']} x {sizes['points']}",
        make=partial(_make, network, mode, amp),
        sizes=full,
        small={**SMALL, "arguments": {**arguments, **NARROW.get(network, {})}},
        work=partial(_work, network, mode, amp),
        settle=as_list,
        goals=goals,
        memory_goal=0.2 if dgcnn and mode == "train" and goals else None,
    )


class Textbook(nn.Module):
    """One of our encoders, run with the textbook operations."""

    def __init__(self, network: str, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.run = encoder, TEXTBOOK[network]
        self.cloud_dim: int = encoder.cloud_dim  # type: ignore[assignment]

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Any:
        """Map ``(B, N, 3)`` to an object with ``cloud (B, D)``."""
        return _Cloud(self.run(self.encoder, xyz))


class _Cloud:
    def __init__(self, cloud: Tensor) -> None:
        self.cloud = cloud


def encoder_of(network: str, side: str, **arguments: Any) -> nn.Module:
    """Build the encoder of a side; both sides have the same weights.

    Noise is added to all weights, as a layer that is initialised with zeros, such as a T-Net's
    last, would hide errors in the layers before it.
    """
    encoder = build_encoder(network, seed=0, **arguments)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=noise), alpha=0.05)
    return Textbook(network, encoder) if side == "textbook" else encoder


def _make(
    network: str,
    mode: str,
    amp: bool,
    side: str,
    sizes: Sizes,
    device: torch.device,
    dtype: torch.dtype,
) -> Run:
    """Prepare one step, which returns the cloud features and the gradients."""
    encoder = encoder_of(network, side, **sizes["arguments"]).to(device, dtype)
    encoder.train(mode == "train")
    xyz = random_clouds(sizes["clouds"], sizes["points"], device).to(dtype)
    lower = amp and dtype == torch.float32

    def step() -> list[Tensor]:
        encoder.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=lower):
            if mode == "eval":
                with torch.inference_mode():
                    return [encoder(xyz).cloud]
            cloud = encoder(xyz).cloud
            loss = cloud.float().square().mean() if lower else cloud.square().mean()
        loss.backward()
        gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
        return [cloud.detach(), *gradients]

    return step


def _work(network: str, mode: str, amp: bool, sizes: Sizes) -> Work:
    """Count the operations of our algorithm on two clouds; parameters and clouds are moved once,
    in training the gradients and parameters again."""
    cpu = torch.device("cpu")
    two = {**sizes, "clouds": 2}
    step = _make(network, mode, False, "ours", two, cpu, torch.float32)
    parameters = sum(p.numel() for p in build_encoder(network, seed=0).parameters())
    moved = 4 * (parameters * (3 if mode == "train" else 1) + 3 * sizes["clouds"] * sizes["points"])
    operations = count_operations(step) * sizes["clouds"] / 2
    return Work(operations, moved, "bfloat16" if amp else "float32")
