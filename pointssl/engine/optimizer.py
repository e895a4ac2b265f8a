"""The optimiser of a module, and the module wrapped for compilation and many processes."""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import nn

from pointssl.engine.distributed import World

Group = dict[str, Any]


def build_optimizer(
    parameters: Iterable[nn.Parameter] | Iterable[Group],
    kind: str,
    lr: float,
    *,
    weight_decay: float,
    momentum: float,
) -> torch.optim.Optimizer:
    """``adam``, ``adamw`` or ``sgd``; ``momentum`` is for the last.

    Args:
        parameters: what is trained, or groups of it as :func:`parameter_groups` makes them.
    """
    trained: list[Any] = list(parameters)
    common: Any = {"weight_decay": weight_decay, "fused": can_be_fused(trained)}
    if kind == "sgd":
        return torch.optim.SGD(trained, lr, momentum=momentum, **common)
    adam = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
    return adam(trained, lr, **common)


def can_be_fused(trained: list[Any]) -> bool:
    """Whether torch can update these parameters, or groups of them, in one fused kernel."""
    each = [p for one in trained for p in (one["params"] if isinstance(one, dict) else [one])]
    return all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in each)


def trained_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that ask for a gradient."""
    return [p for p in module.parameters() if p.requires_grad]


def parameter_groups(
    task: nn.Module,
    *,
    weight_decay: float,
    decay_all: bool = True,
    layer_decay: float = 1.0,
    head_scale: float = 1.0,
) -> list[Group]:
    """Groups of parameters, each with its ``weight_decay`` and its ``lr_scale``, by which the loop
    multiplies the learning rate.

    Args:
        task: a method or task with an ``encoder``; everything else in it is its head.
        decay_all: decay biases and the scales of norms too, i.e. parameters of one dimension, and
            those that their module names in ``no_decay`` (tokens, positions).
        layer_decay: layer i of the encoder's L, counted from the input, learns at
            ``layer_decay ** (L - i)`` of the rate (Clark et al. 2020, ELECTRA; Bao et al. 2021,
            BEiT). A layer is a direct child of the encoder; lists of modules count one by one.
        head_scale: ``lr_scale`` of the head.
    """
    encoder = cast(nn.Module, task.encoder)
    depth = layer_numbers(encoder)
    deepest = max(depth.values(), default=0) + 1
    spared = {
        f"{place}.{name}".lstrip(".") for place, module in task.named_modules()
        for name in getattr(module, "no_decay", ())
    }  # fmt: skip
    groups: dict[tuple[float, float], Group] = {}
    for name, parameter in task.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = head_scale
        if name.startswith("encoder."):
            scale = layer_decay ** (deepest - depth[name.removeprefix("encoder.")])
        decays = decay_all or (parameter.dim() > 1 and name not in spared)
        decay = weight_decay if decays else 0.0
        group = groups.setdefault(
            (scale, decay), {"params": [], "lr_scale": scale, "weight_decay": decay}
        )
        group["params"].append(parameter)
    return list(groups.values())


def layer_numbers(encoder: nn.Module) -> dict[str, int]:
    """Each parameter's name -> the number of its layer, from 0, in the order of definition."""
    blocks: list[str] = []
    for name, child in encoder.named_children():
        if isinstance(child, (nn.ModuleList, nn.Sequential)):
            blocks += [f"{name}.{place}." for place, _ in child.named_children()]
        else:
            blocks.append(f"{name}.")
    weighed = [name for name, _ in encoder.named_parameters()]
    blocks = [block for block in blocks if any(name.startswith(block) for name in weighed)]
    return {
        name: next((i for i, block in enumerate(blocks) if name.startswith(block)), 0)
        for name in weighed
    }


def on_devices(module: nn.Module, world: World, *, compiled: bool = False) -> nn.Module:
    """The module compiled, and wrapped for many processes; checkpoints hold the module itself."""
    model = module
    if compiled:
        model = cast(nn.Module, torch.compile(model))
    if world.size > 1:
        devices = [world.local_rank] if world.device.type == "cuda" else None
        # Gradients live in what is sent, so that they are neither copied nor held twice.
        model = nn.parallel.DistributedDataParallel(
            model, device_ids=devices, gradient_as_bucket_view=True
        )
    return model
