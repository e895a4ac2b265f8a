"""Section ``loading``: how long a network waits for packed clouds while it computes."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pointssl.augment import drawing, one_view, scale_shift_view
from pointssl.benchmarks.backbones import SMALL as FEW
from pointssl.benchmarks.backbones import Case, Run, Sizes, Work, encoder_of
from pointssl.benchmarks.floor import count_operations
from pointssl.benchmarks.timing import wait
from pointssl.engine.distributed import World
from pointssl.engine.loading import read_batches, seeded, shard_rows
from pointssl_datasets.serving.dataset import load_dataset

BATCH = 16
WAIT_GOAL = 0.02  # share of the time of a pass


def cases(level: str, gpu: bool) -> list[Case]:
    """Return the cases of this section: an epoch of extraction and one of training."""
    quick = {"clouds": 32, "points": 256}
    sizes = quick if level == "quick" else {"clouds": 512 if gpu else 64, "points": 1024}
    return [
        Case(
            section="loading",
            name=f"{mode}, {sizes['clouds']} packed clouds x {sizes['points']}",
            make=partial(_make, mode),
            sizes=sizes,
            small={"clouds": 32, "points": FEW["points"]},
            work=partial(_work, mode),
            settle=_settle,
            measures_memory=False,
        )
        for mode in ("extraction", "training")
    ]


def _make(mode: str, side: str, sizes: Sizes, device: torch.device, dtype: torch.dtype) -> Run:
    """Prepare an epoch over generated, packed clouds. Both sides use our network; the textbook
    reads single clouds between the network's steps."""
    place = tempfile.TemporaryDirectory(prefix="pointssl-bench-")
    data = load_dataset(
        "shapes", None, "train", points=sizes["points"], size=sizes["clouds"],
        cache_dir=Path(place.name),
    )  # fmt: skip
    encoder = encoder_of("dgcnn", "ours").to(device, dtype)
    world = World(0, 0, 1, device)

    def batches() -> Iterable[dict[str, Tensor]]:
        if side == "textbook":
            return DataLoader(_OneByOne(data), BATCH, num_workers=0)
        return read_batches(data, shard_rows(len(data), BATCH, world), device)

    def run() -> tuple[float, Tensor]:
        encoder.train(mode == "training")
        waits: list[float] = []
        began, features = time.perf_counter(), []
        for number, batch in enumerate(time_waits(batches(), waits)):
            batch = {key: value.to(device) for key, value in batch.items()}
            if mode == "training":
                draw = drawing(batch, seeded(device, 0, number), 0, 1)
                batch = one_view(batch, draw, scale_shift_view)
                encoder.zero_grad(set_to_none=True)
                cloud = encoder(batch["xyz"].to(dtype)).cloud
                cloud.square().mean().backward()
            else:
                with torch.inference_mode():
                    cloud = encoder(batch["xyz"].to(dtype)).cloud
            wait(device)  # so that computing does not count as waiting
            features.append(cloud.detach())
        share = sum(waits) / (time.perf_counter() - began)
        assert place  # keeps the temporary folder alive
        return share, torch.cat(features)

    return run


class _OneByOne(Dataset[dict[str, Tensor]]):
    """The dataset without reading of whole batches."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.data[index]


def time_waits(
    batches: Iterable[dict[str, Tensor]], waits: list[float]
) -> Iterator[dict[str, Tensor]]:
    """Yield ``batches``, appending the seconds of waiting for each to ``waits``."""
    iterator, nothing = iter(batches), object()
    while True:
        began = time.perf_counter()
        batch: Any = next(iterator, nothing)
        waits.append(time.perf_counter() - began)
        if batch is nothing:
            return
        yield batch


def _settle(output: tuple[float, Tensor]) -> list[Tensor]:
    return [output[1]]


def _work(mode: str, sizes: Sizes) -> Work:
    """Count the network's operations, on a batch of two; clouds are read once."""
    few = {**sizes, "clouds": 2}
    encoder = encoder_of("dgcnn", "ours").train(mode == "training")
    xyz = torch.rand(2, few["points"], 3)

    def step() -> None:
        cloud = encoder(xyz).cloud
        if mode == "training":
            cloud.square().mean().backward()

    operations = count_operations(step) * sizes["clouds"] / 2
    return Work(operations, 12 * sizes["clouds"] * sizes["points"])
