"""Checkpoints of small networks with random weights, as `pretrain` and `finetune` write them."""

import torch

from pointssl.backbones.build import build_encoder
from pointssl.checkpoints.file import save_checkpoint
from pointssl.tasks.loading import build_task

SMALL = {
    "dgcnn": {"k": 4, "embedding": 16, "channels": [8, 8]},
    "dgcnn_seg": {"k": 4, "embedding": 16, "channels": 8},
    "tiny:PointMlp": {"embedding": 16},
}
PARTS = {"chair": ("back", "seat", "leg"), "table": ("top", "leg")}  # of the part networks
ROOM = ("floor", "wall", "clutter")  # of the scene networks
WIDTHS = {"normals": 3, "colours": 3, "place": 3}


def save_encoder(path, *, backbone="dgcnn", points=32, normals=False, normalise="unit-sphere"):
    """An encoder alone; returns the path."""
    arguments = {**SMALL[backbone], "in_channels": 6 if normals else 3}
    facts = {
        "backbone": backbone, "backbone_args": arguments, "points": points, "normals": normals,
        "normalise": normalise, "up_axis": "y", "classes": [], "trained_on": {"dataset": "none"},
    }  # fmt: skip
    encoder = lively(build_encoder(backbone, seed=1, **arguments))
    save_checkpoint(path, {"encoder": encoder.state_dict(), "facts": facts})
    return path


def save_task(path, task, *, backbone="dgcnn", points=32, feats=(), category="given", **changes):
    """An encoder with a head: "cls" of three classes, "partseg" of :data:`PARTS`, or "semseg"."""
    arguments = {**SMALL[backbone], "in_channels": 3 + sum(WIDTHS[name] for name in feats)}
    if task == "cls":
        args, classes, parts, parts_of = {"classes": 3}, ["bed", "chair", "lamp"], [], []
    elif task == "partseg":
        classes = list(PARTS)
        parts = [f"{kind}/{part}" for kind, names in PARTS.items() for part in names]
        args, parts_of = {"parts": 5}, [[0, 1, 2], [3, 4]]
        args["categories"] = 2 if category == "given" else 0
    else:
        args, classes, parts, parts_of = {"parts": 3}, [], list(ROOM), []
    facts = {
        "task": task, "task_args": args, "backbone": backbone, "backbone_args": arguments,
        "points": points, "normals": "normals" in feats, "normalise": "unit-sphere",
        "classes": classes, "parts": parts, "parts_of": parts_of, "feats": list(feats),
        "category": category if task == "partseg" else "none", "up_axis": "y",
        "trained_on": {"dataset": "none"}, "block_size": 1.0, **changes,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = lively(build_task(facts))
    save_checkpoint(
        path,
        {"encoder": network.encoder.state_dict(), "method": network.state_dict(), "facts": facts},
    )
    return path


def lively(network):
    """Norms as after training, so that a norm left out or applied twice shows; and outputs that
    differ from cloud to cloud."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            size = module.running_mean.shape
            module.running_mean.copy_(0.1 * torch.randn(size, generator=generator))
            module.running_var.copy_(0.05 + 0.1 * torch.rand(size, generator=generator))
            if module.affine:
                module.weight.data.copy_(0.5 + torch.rand(size, generator=generator))
                module.weight.data[::5] *= -1
                module.bias.data.copy_(0.1 * torch.randn(size, generator=generator))
    return network
