"""What the ranks of a process group compute in the tests; each runs in a process of its own."""

import os
import signal
from functools import partial

import torch
from processes import threads_of_the_group
from small_backbones import SMALL
from tiny import PictureNet, PointMlp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pointssl.augment import crosspoint_view, drawing, float_images, two_views
from pointssl.backbones.build import build_encoder
from pointssl.backbones.dgcnn import DGCNN
from pointssl.backbones.dgcnn_seg import DGCNNSeg
from pointssl.backbones.layers import DoubleEdgeConv, EdgeConv
from pointssl.engine.loading import seeded
from pointssl.engine.loop import Plan, Progress, train
from pointssl.engine.meters import Meters
from pointssl.engine.optimizer import on_devices
from pointssl.engine.rng import random_states
from pointssl.engine.stopping import Stopped, StopRequest, agree_to_stop
from pointssl.features.extraction import extract
from pointssl.images.resnet import resnet18
from pointssl.methods.crosspoint import CrossPoint
from pointssl.ops.batch_norm import sync_batch_norms
from pointssl.ops.collectives import gather_rows
from pointssl.ops.reference import double_edge_conv_reference, edge_conv_reference
from pointssl_datasets.base.errors import UserError
from pointssl_datasets.serving.dataset import load_dataset

BACKBONES = {
    "dgcnn": partial(DGCNN, k=4, embedding=16, channels=(8, 8)),
    "dgcnn_seg": partial(DGCNNSeg, k=4, embedding=16, channels=8),
    **{
        name: partial(build_encoder, name, **SMALL[name])
        for name in ("pct", "point_transformer", "pointnet2", "patch_transformer", "mamba")
    },
}


def grads(module):
    return {name: p.grad for name, p in module.named_parameters()}


def share(rows, world):
    """This rank's part of tensors whose first dimension is the whole batch."""
    return rows.chunk(world.size)[world.rank]


def crosspoint_step(world, backbone):
    """One step on a batch of 16 clouds over all ranks: loss, gradients, buffers after it."""
    torch.manual_seed(0)
    encoder = BACKBONES[backbone]()
    method = CrossPoint(encoder, resnet18(), projection=8, point_hidden=16, image_hidden=16)
    method = sync_batch_norms(method.double())
    data = torch.Generator().manual_seed(1)
    batch = {
        "xyz": torch.randn(16, 64, 3, generator=data, dtype=torch.float64),
        "image": torch.randint(0, 256, (16, 3, 32, 32), generator=data, dtype=torch.uint8),
        "index": torch.arange(16),
    }
    batch = {name: share(value, world) for name, value in batch.items()}
    draw = drawing(batch, seeded("cpu", 0, 7), world.rank, world.size)
    batch = float_images(two_views(batch, draw, crosspoint_view), draw, "crosspoint")
    batch["image"] = batch["image"].double()
    model = DistributedDataParallel(method) if world.size > 1 else method
    outputs = model(batch)
    outputs["loss"].backward()
    meters = Meters(world.device)
    meters.update(outputs, count=len(batch["index"]))
    return {
        "means": meters.read(), "grads": grads(method), "buffers": dict(method.named_buffers()),
        "views": {name: batch[name] for name in ("xyz1", "xyz2", "image")},
    }  # fmt: skip


def norm_step(world, dims, synced, affine=True):
    """A batch norm of 6 rows that are spread unevenly over the ranks."""
    data = torch.Generator().manual_seed(2)
    shape = (6, 5) if dims == 1 else (6, 5, 3, 2)
    x, weight = torch.randn(2, *shape, generator=data, dtype=torch.float64)
    x, weight = x * 3 + 1, weight.requires_grad_()
    norm = (nn.BatchNorm1d if dims == 1 else nn.BatchNorm2d)(5, affine=affine).double()
    if affine:
        with torch.no_grad():
            norm.weight.copy_(torch.linspace(-1, 2, 5))
            norm.bias.copy_(torch.linspace(1, 2, 5))
    if world.size > 1:
        x, weight = (t[:2] if world.is_main else t[2:] for t in (x, weight))
    x = x.detach().requires_grad_()
    module = nn.Sequential(norm)
    if synced:
        sync_batch_norms(module)
    y = module(x)
    (y * weight.detach()).sum().backward()
    return {
        "y": y.detach(), "x": x.grad, "grads": grads(module),
        "buffers": dict(module.named_buffers()),
    }  # fmt: skip


def edge_step(world, double, reference=False):
    """An edge convolution of 4 clouds, as the fast path or as the papers write it."""
    torch.manual_seed(3)
    layer = (DoubleEdgeConv(3, 6, 5) if double else EdgeConv(3, 5)).double()
    data = torch.Generator().manual_seed(4)
    x = torch.randn(4, 20, 3, generator=data, dtype=torch.float64)
    stride = 3 if double else 1  # every point is a centre, or every third
    idx = torch.randint(0, 20, (4, 20, 4), generator=data)[:, ::stride]
    weight = torch.randn(4, 20, 5, generator=data, dtype=torch.float64)[:, ::stride]
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "norm" in name:
                parameter.copy_(torch.linspace(-1, 1.5, len(parameter)))
    x, idx, weight = (share(t, world) for t in (x, idx, weight))
    x = x.clone().requires_grad_()
    if not reference:
        y = sync_batch_norms(layer)(x, idx, x[:, ::3] if double else None)
    elif double:
        y = double_edge_conv_reference(
            x, idx, layer.linear1.weight, layer.norm1, layer.linear2.weight, layer.norm2,
            centres=x[:, ::3],
        )  # fmt: skip
    else:
        y = edge_conv_reference(x, idx, layer.linear.weight, layer.norm)
    (y * weight).sum().backward()
    return {
        "y": y.detach(), "x": x.grad, "grads": grads(layer), "buffers": dict(layer.named_buffers())
    }  # fmt: skip


def gather_step(world):
    """The gradient of a function of all rows, to which every rank contributes its own part."""
    x = torch.arange(6.0, dtype=torch.float64).view(3, 2) + 10 * world.rank
    x.requires_grad_()
    everyone = gather_rows(x)
    (everyone.pow(2).sum() * (world.rank + 1)).backward()
    return {"all": everyone.detach(), "grad": x.grad}


def collectives_of_a_step(world, pictures):
    """How many collectives CrossPoint's forward and backward enter, by the profiler."""
    torch.manual_seed(0)
    method = CrossPoint(PointMlp(), PictureNet() if pictures else None, projection=8)
    batch = {name: torch.randn(4, 32, 3) for name in ("xyz1", "xyz2")}
    if pictures:
        batch["image"] = torch.rand(4, 3, 16, 16)
    counts = []
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as forward:
        loss = method(batch)["loss"]
    with torch.profiler.profile(activities=activities) as backward:
        loss.backward()
    for profile in (forward, backward):
        counts.append(sum(e.count for e in profile.key_averages() if e.key.startswith("c10d::")))
    return counts


def threads_step(world):
    """The threads of the group while it exists, of which none may outlive it."""
    nn.parallel.DistributedDataParallel(nn.Linear(2, 1))(torch.ones(1, 2)).sum().backward()
    return threads_of_the_group()


def meter_step(world):
    """Three items of mean 1 on rank 0, one of mean 5 on rank 1; then continued from their sum."""
    meters = Meters(world.device)
    meters.update({"loss": torch.tensor(1.0 if world.is_main else 5.0)}, 3 if world.is_main else 1)
    again = Meters(world.device)
    again.restore(meters.reduced(), world.is_main)
    again.update({"loss": 4.0}, count=2)
    return {"mean": meters.read()["loss"], "reduced": meters.reduced(), "again": again.read()}


def agree_step(world):
    """Rank 1 alone has a broken loss, then a signal."""
    quiet, asked = StopRequest(), StopRequest()
    asked.signal = 15
    return [
        agree_to_stop(quiet, world.is_main, world),
        agree_to_stop(quiet if world.is_main else asked, True, world),
        agree_to_stop(quiet, True, world),
    ]


def world_step(world, folder):
    """The small collectives: by rank, on every rank; and rank 0 before the others."""

    def make():
        if world.is_main:
            assert not list(folder.glob("made-*"))
        else:
            assert (folder / "made-0").exists()
        (folder / f"made-{world.rank}").touch()
        return world.rank

    torch.manual_seed(world.rank)
    states = [state["cpu"] for state in random_states(world)]
    return {
        "gather": world.gather({"rank": world.rank}),
        "largest": world.largest(world.rank, -world.rank),
        "main_first": world.main_first(make),
        "states": states,
    }


class Mean(nn.Module):
    """A loss that is as finite as its batch."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, batch):
        return {"loss": self.linear(batch["x"]).mean()}


def train_step(world, event):
    """Ten steps, in the fourth of which rank 1 alone gets a signal, or a NaN."""
    saved = []

    def batches(epoch, start):
        for step in range(start, 10):
            x = torch.full((2, 1), float(step))
            if step == 3 and world.rank == 1:
                if event == "SIGTERM":
                    os.kill(os.getpid(), signal.SIGTERM)
                else:
                    x[1] = float("nan")
            yield {"x": x, "index": torch.arange(2) + 4 * step + 2 * world.rank}

    model = Mean()
    if world.size > 1:
        model = DistributedDataParallel(model)
    plan = Plan(
        epochs=1, steps_per_epoch=10, batches=batches, prepare=lambda batch, generator: batch,
        lr_at=lambda step: 0.1, log=print, save=lambda p: saved.append((p.epoch, p.step)),
        bar=False,
    )  # fmt: skip
    progress, optimizer = Progress(), torch.optim.SGD(model.parameters(), 0.1)
    try:
        train(model, optimizer, torch.amp.GradScaler("cpu", enabled=False), plan, progress, world)
    except (Stopped, UserError) as error:
        return {"error": str(error), "at": progress.step, "saved": saved}


class Frozen(nn.Module):
    """A regression behind a batch norm whose statistics stay as they are."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.linear, self.norm, self.last = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, batch):
        error = self.last(self.norm(self.linear(batch["x"])))[:, 0] - batch["y"]
        return {"loss": error.square().mean(), "error": error.mean(), "one": 1.0}


def accumulate_step(world, parts):
    """Three steps of a batch of eight, each in ``parts`` parts on every rank."""
    data = torch.Generator().manual_seed(6)
    x, y = torch.randn(3, 8, 3, generator=data), torch.randn(3, 8, generator=data)

    def batches(epoch, start):
        for step in range(start, 3):
            batch = {"x": x[step].double(), "y": y[step].double(), "index": torch.arange(8)}
            yield {name: share(value, world) for name, value in batch.items()}

    module = Frozen().double()
    rows = []
    plan = Plan(
        epochs=1, steps_per_epoch=3, batches=batches, prepare=lambda batch, generator: batch,
        lr_at=lambda step: 0.1, log=rows.append, save=lambda progress: None, bar=False,
        accumulate=parts, clip_grad=1.0,
    )  # fmt: skip
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    train(on_devices(module, world), optimizer, scaler, plan, Progress(), world)
    times = ("seconds_per_step", "data_wait")
    return {
        "rows": {k: v for k, v in rows[0].items() if k not in times},
        "weights": dict(module.named_parameters()),
    }


def everything(world, folder):
    """All of the above, so that the processes start once."""
    found = {"crosspoint": {name: crosspoint_step(world, name) for name in BACKBONES}}
    found["norm"] = {
        f"{dims} {affine}": norm_step(world, dims, True, affine)
        for dims in (1, 2)
        for affine in (True, False)
    }
    found["edge"] = {double: edge_step(world, double) for double in (False, True)}
    found["gather"] = gather_step(world)
    found["collectives"] = {
        "points": collectives_of_a_step(world, pictures=False),
        "pictures": collectives_of_a_step(world, pictures=True),
    }
    found["meters"] = meter_step(world)
    found["agree"] = agree_step(world)
    found["train"] = {event: train_step(world, event) for event in ("SIGTERM", "NaN")}
    found["world"] = world_step(world, folder)
    return found


class Listed(torch.utils.data.Dataset):
    """The first ``count`` items of a dataset."""

    def __init__(self, dataset, count):
        self.dataset, self.count = dataset, count
        self.names, self.name, self.split = dataset.names[:count], dataset.name, dataset.split

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.dataset[index]


def features_step(world, root, counts):
    """Features of the first ``count`` clouds, and which of them this rank computed."""
    dataset = load_dataset("folder", root, "train", points=32, cache_dir=root / "cache")
    torch.manual_seed(0)
    encoder = BACKBONES["dgcnn"]()
    found = {}
    for count in counts:
        served = Listed(dataset, count)
        found[count] = torch.from_numpy(extract(encoder, served, world, batch_size=8))
    return found
