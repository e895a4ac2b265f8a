"""From a method to what the loop steps: its optimiser, and its wrapping for many processes."""

from typing import cast

import torch
from torch import nn

from pointssl.engine.distributed import World


def build_optimizer(
    module: nn.Module, kind: str, lr: float, *, weight_decay: float, momentum: float
) -> torch.optim.Optimizer:
    """``adam``, ``adamw`` or ``sgd`` over what is trained; ``momentum`` is for the last."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if kind == "sgd":
        return torch.optim.SGD(parameters, lr, momentum=momentum, weight_decay=weight_decay)
    adam = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
    return adam(parameters, lr, weight_decay=weight_decay)


def on_devices(method: nn.Module, world: World, *, compiled: bool = False) -> nn.Module:
    """Compiled and wrapped for many processes as asked; checkpoints never see the wrapping."""
    model = method
    if compiled:
        model = cast(nn.Module, torch.compile(model))
    if world.size > 1:
        devices = [world.local_rank] if world.device.type == "cuda" else None
        model = nn.parallel.DistributedDataParallel(model, device_ids=devices)
    return model
