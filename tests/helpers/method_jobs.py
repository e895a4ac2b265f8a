"""A small method of every name, and a step of each as the ranks of a process group compute it."""

import torch
from rank_jobs import grads, share
from tiny import PictureNet, PointMlp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pointssl.augment import crosspoint_view, drawing, float_images
from pointssl.engine.loading import seeded
from pointssl.engine.meters import Meters
from pointssl.methods import METHODS
from pointssl.methods.base import Method
from pointssl.methods.build import build_method, method_class
from pointssl.ops.batch_norm import sync_batch_norms

# Options with which a step takes milliseconds, for every method of METHODS.
SMALL = {
    "crosspoint": {"projection": 8, "point_hidden": 16, "image_hidden": 16},
    "vicreg": {"projection": 8, "hidden": 16},
    "barlow": {"projection": 8, "hidden": 16},
    "simsiam": {"projection": 8, "hidden": 4},
}

# A method and whether it is given images, wherever it takes them.
CASES = [
    (name, images)
    for name in METHODS
    for images in ((False, True) if method_class(name).images != "none" else (False,))
]


def small_method(name, images, encoder=None):
    torch.manual_seed(0)
    encoder = PointMlp() if encoder is None else encoder
    return build_method(name, encoder, PictureNet() if images else None, **SMALL[name])


def clouds(count, images, points=32, dtype=torch.float32):
    """A batch of the dataset: two kinds of clouds, which differ in their proportions."""
    data = torch.Generator().manual_seed(1)
    xyz = torch.randn(count, points, 3, generator=data, dtype=torch.float64)
    xyz[::2, :, 1] *= 3
    batch = {"xyz": xyz.to(dtype), "index": torch.arange(count)}
    if images:
        pixels = torch.randint(0, 256, (count, 3, 16, 16), generator=data, dtype=torch.uint8)
        pixels[::2] //= 4
        batch["image"] = pixels
    return batch


def views(method, batch, step=0, rank=0, ranks=1):
    """What the method's ``forward`` takes."""
    draw = drawing(batch, seeded("cpu", 0, step), rank, ranks)
    return float_images(method.views(batch, draw, crosspoint_view), draw, "crosspoint")


def method_step(world, name, images):
    """One step on 16 clouds over all ranks, in float64: means of scalars, gradients, buffers."""
    method = sync_batch_norms(small_method(name, images).double()).train()
    batch = {k: share(v, world) for k, v in clouds(16, images, dtype=torch.float64).items()}
    batch = views(method, batch, rank=world.rank, ranks=world.size)
    batch = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
    model = DistributedDataParallel(method) if world.size > 1 else method
    outputs = model(batch)
    outputs["loss"].backward()
    method.after_step(0.5)
    meters = Meters(world.device)
    meters.update(outputs, count=len(batch["index"]))
    return {"means": meters.read(), "grads": grads(method), "state": method.state_dict()}


def every_method(world):
    """:func:`method_step` of every case, so that the processes start once."""
    return {f"{name} {images}": method_step(world, name, images) for name, images in CASES}


class Own(nn.Module):
    """A method of somebody's own that knows nothing of ours."""

    def __init__(self, encoder, image_encoder, *, temperature=0.5, **options):
        super().__init__()
        assert image_encoder is None or isinstance(image_encoder, PictureNet)
        self.encoder, self.temperature = encoder, temperature

    def forward(self, batch):
        assert "label" not in batch
        one, two = (self.encoder(batch[name]).cloud for name in ("xyz1", "xyz2"))
        return {"loss": (one - two).square().mean() / self.temperature}


class NoImages(Method):
    """A method that takes no images."""

    def __init__(self, encoder, image_encoder=None):
        super().__init__()
        self.encoder = encoder


class Still(Method):
    """A method of ones whose loss never changes."""

    no_decay = ("token",)

    def __init__(self, encoder, image_encoder=None):
        super().__init__()
        self.encoder = encoder
        self.head, self.norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
        self.token = nn.Parameter(torch.ones(1, 2))
        for parameter in self.parameters():
            nn.init.ones_(parameter)

    def forward(self, batch):
        return {"loss": sum(0 * parameter.sum() for parameter in self.parameters())}
