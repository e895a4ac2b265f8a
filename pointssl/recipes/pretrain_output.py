"""What `pretrain` prints, writes and draws."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pointssl.config.pretrain import PretrainConfig
from pointssl.engine.distributed import World
from pointssl.engine.schedule import scaled_lr
from pointssl.engine.training import LAST
from pointssl.methods.base import Batch, Method
from pointssl.recipes.pretrain_images import frozen_at_random
from pointssl.runs.folder import RunFolder
from pointssl.runs.trackers import read_metrics
from pointssl_datasets.base.errors import UserError
from pointssl_datasets.serving.mixing import PointDataset


def describe(
    config: PretrainConfig, dataset: PointDataset, method: Method, steps: int, world: World
) -> None:
    """Print what is about to be trained, on what, and how."""
    for note in dataset.notes:
        world.say(f"note: {note}")
    parameters = sum(p.numel() for p in method.parameters()) / 1e6
    lr = scaled_lr(config.lr, config.batch_size, config.lr_scale_base)
    left = len(dataset) - steps * config.batch_size
    encoder = method.encoder
    k = f" (k {encoder.k})" if hasattr(encoder, "k") else ""
    images = f"images of {config.image_size} px" if dataset.has_images else "no images"
    world.say(
        f"pretraining {config.backbone}{k} by {config.method} on {config.data}: "
        f"{len(dataset)} clouds of {config.points} points, {images}; "
        f"{parameters:.1f} M parameters"
    )
    about = method.about(config.batch_size // config.accumulate)
    if about and config.accumulate > 1:
        about += f" ({config.accumulate} parts have their own)"
    world.say(
        f"{world.size} process(es) on {world.device.type}, batch {config.batch_size} in all, "
        + (f"{about}, " if about else "")
        + f"lr {lr:g}, {steps} steps x {config.epochs} epochs"
        + (f"; the last {left} clouds of each shuffled epoch are dropped" if left else "")
    )
    if frozen_at_random(config):
        world.say(
            "warning: the image encoder is frozen with random weights: give it some with "
            "--image-weights, or --image-pretrained of timm:NAME"
        )
    seen = config.batch_size // (world.size * config.accumulate)
    if world.size > 1 and not config.sync_bn and seen < 16:
        world.say(
            f"warning: batch norm sees {seen} clouds per process; "
            "--sync-bn takes the statistics over all of them"
        )


def report_epoch(row: dict[str, Any], watch: Mapping[str, str], world: World) -> dict[str, Any]:
    """Print the meters of an epoch that are to be watched, and return the row."""
    shown = {**watch, "seconds_per_step": "s/step", "data_wait": "waiting for data"}
    parts = [f"{label} {row[name]:.3f}" for name, label in shown.items() if name in row]
    world.say(f"epoch {row['epoch']}: " + ", ".join(parts))
    return row


def draw_curves(run_dir: Path, watch: Mapping[str, str] | None = None) -> None:
    """``loss_curves.png``; a run is not lost for want of a figure.

    Args:
        watch: scalars beside the usual ones, and their labels.
    """
    from pointssl.reports.figures.pretraining import loss_curves

    with contextlib.suppress(UserError):
        loss_curves(read_metrics(run_dir), run_dir / "loss_curves.png", watch)
        print(f"loss curves: {run_dir / 'loss_curves.png'}")


def write_results(
    config: PretrainConfig, dataset: PointDataset, steps: int, kept: Mapping[str, Any], world: World
) -> None:
    """``results.json``: what was trained on what, and the meters of the last epoch."""
    results = {
        "method": config.method,
        "backbone": config.backbone,
        "data": config.data,
        "clouds": len(dataset),
        "epochs": config.epochs,
        "steps_per_epoch": steps,
        "last_epoch": read_metrics(config.run_dir)[-1],
        "checkpoint": str(config.run_dir / LAST),
        **({"best": kept["best"]} if "best" in kept else {}),
    }
    RunFolder(config.run_dir, config, world).write_results(results)


@torch.no_grad()
def draw_method(run_dir: Path, method: Method, batch: Batch, world: World) -> None:
    """``method.png``: what the method shows of a batch of its views; every rank calls it."""
    heatmap = method.eval().figure(batch)
    if heatmap is None or not world.is_main:
        return
    from pointssl.reports.figures.pretraining import heatmap_figure

    with contextlib.suppress(UserError):
        heatmap_figure(*heatmap, run_dir / "method.png")
        print(f"{heatmap.title}: {run_dir / 'method.png'}")
