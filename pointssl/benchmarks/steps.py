"""Section ``steps``: a whole CrossPoint step: views, images, losses, backward, optimiser."""

from typing import Any

import torch
from torch import Tensor

from pointssl.benchmarks.backbones import encoder_of
from pointssl.benchmarks.case import Case, Run, Sizes, Work, as_list, random_clouds
from pointssl.benchmarks.floor import count_operations
from pointssl.benchmarks.networks import TextbookResNet
from pointssl.engine.optimizer import build_optimizer, trained_parameters
from pointssl.images import build_image_encoder
from pointssl.images.resnet import ResNet
from pointssl.methods.crosspoint import CrossPoint

SMALL = {"clouds": 4, "points": 64, "image": "resnet18", "pixels": 32}
QUICK = {"clouds": 2, "points": 512, "image": "resnet18", "pixels": 64}
FULL = {"clouds": 20, "points": 2048, "image": "resnet50", "pixels": 224}
FEWER = {**FULL, "clouds": 4}  # for CPUs, where the textbook step of 20 takes nearly a minute


def cases(level: str, gpu: bool) -> list[Case]:
    """Return the case of this section."""
    whole = FULL if gpu or level == "full" else FEWER
    sizes: dict[str, Any] = QUICK if level == "quick" else whole
    name = "CrossPoint step, {clouds} x {points}, {image} at {pixels}".format(**sizes)
    return [
        Case(
            section="steps",
            name=name,
            make=_make,
            sizes=sizes,
            small=SMALL,
            work=_work,
            settle=as_list,
            goals={} if level == "quick" else {"cpu": 4, "cuda": 3},
        )
    ]


def _make(side: str, sizes: Sizes, device: torch.device, dtype: torch.dtype) -> Run:
    """Prepare one step with Adam, which returns the loss and the gradients."""
    image_encoder = build_image_encoder(sizes["image"], seed=0)
    if side == "textbook":
        assert isinstance(image_encoder, ResNet)
        image_encoder = TextbookResNet(image_encoder)
    with torch.random.fork_rng(devices=[]):  # heads are initialised by the global generator
        torch.manual_seed(0)
        method = CrossPoint(encoder_of("dgcnn", side), image_encoder)
    method.to(device, dtype).train()
    trained = trained_parameters(method)
    if side == "textbook":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(trained, 1e-3, weight_decay=1e-6)
    else:
        optimizer = build_optimizer(trained, "adam", 1e-3, weight_decay=1e-6, momentum=0.9)
    clouds, pixels = sizes["clouds"], sizes["pixels"]
    xyz = random_clouds(2 * clouds, sizes["points"], device).to(dtype)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(clouds, 3, pixels, pixels, generator=generator).to(device, dtype)
    batch = {"xyz1": xyz[:clouds], "xyz2": xyz[clouds:], "image": images}

    def step() -> list[Tensor]:
        optimizer.zero_grad(set_to_none=True)
        loss = method(batch)["loss"]
        assert isinstance(loss, Tensor)
        loss.backward()
        optimizer.step()
        gradients = [p.grad for p in method.parameters() if p.grad is not None]
        return [loss.detach(), *gradients]

    return step


def _work(sizes: Sizes) -> Work:
    """Count the operations on two clouds and their images; parameters, gradients and the
    optimiser's two averages are read, all but the gradients written."""
    two = {**sizes, "clouds": 2}
    step = _make("ours", two, torch.device("cpu"), torch.float32)
    operations = count_operations(step) * sizes["clouds"] / 2
    method_size = sum(p.numel() for p in build_image_encoder(sizes["image"]).parameters())
    return Work(operations, 4 * 7 * method_size)
