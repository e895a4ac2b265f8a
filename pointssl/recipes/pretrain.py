"""`pointssl pretrain`, from top to bottom: data, encoder, method, optimiser, loop, pictures."""

import contextlib
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

import pointssl
from pointssl.augment import two_views
from pointssl.backbones.build import build_encoder, given_arguments, with_defaults
from pointssl.config.pretrain import PretrainConfig
from pointssl.engine.batch_size import with_batch_size
from pointssl.engine.distributed import World, start_world
from pointssl.engine.loading import count_steps, read_batches, train_rows
from pointssl.engine.resume import earlier_run
from pointssl.engine.schedule import scaled_lr
from pointssl.engine.training import LAST, check_batch, train_in_run_dir
from pointssl.methods import METHODS
from pointssl.recipes.pretrain_images import (
    frozen_at_random,
    image_encoder_of,
    images_are_fixed,
    serve_features,
)
from pointssl.recipes.splits import open_split
from pointssl.runs.folder import read_metrics
from pointssl_datasets import GENERATED
from pointssl_datasets.base.errors import UsageError, UserError
from pointssl_datasets.base.mixing import PointDataset
from pointssl_datasets.base.resolve import resolve


def run(config: PretrainConfig) -> Path:
    """Pretrain as ``config`` says; returns the checkpoint's path.

    Raises:
        UserError: one line about what is wrong with data, options or the run directory.
        Stopped: by a signal or ``--max-time``; the checkpoint is written.
    """
    with start_world(config.device, config.threads, config.kernels) as world:
        return pretrain(config, world)


def pretrain(config: PretrainConfig, world: World) -> Path:
    """:func:`run` in a process group that exists already."""
    path = config.run_dir / LAST
    if path.exists():
        config = with_batch_size(config, 0, world, path)
    check_batch(config, world)
    earlier = earlier_run(path, config)
    image_encoder = image_encoder_of(config)  # before hours of rendering for one that isn't there
    dataset = open_dataset(config, world)
    config = with_batch_size(config, len(dataset), world)
    steps = count_steps(len(dataset), config.batch_size)
    method, facts = build_method(config, dataset, image_encoder)

    def begin() -> None:
        """With the weights that are trained on, be they of a checkpoint."""
        describe(config, dataset, method, steps, world)
        if images_are_fixed(config, method):
            serve_features(config, dataset, method, world)

    trained = train_in_run_dir(
        method,
        config,
        world,
        facts=facts,
        earlier=earlier,
        steps=steps,
        batches=lambda epoch, start: epoch_batches(config, dataset, epoch, start, world),
        prepare=partial(
            two_views, rank=world.rank, ranks=world.size,
            augment=config.augment, rotate=config.rotate, image_augment=config.image_augment,
        ),
        report=partial(report_epoch, world=world),
        describe=begin,
    )  # fmt: skip
    if not trained:
        world.say(f"{config.run_dir} is finished: {config.epochs} epochs")
        return path
    if world.is_main:
        draw_curves(config.run_dir)
    world.say(f"checkpoint: {path}")
    return path


def open_dataset(config: PretrainConfig, world: World) -> PointDataset:
    """The train split with pictures if they are wanted; rank 0 packs it, the others wait."""
    wanted = config.image_encoder != "none"
    views = config.views
    if views is None:
        views = 4 if config.data in GENERATED else 0

    dataset = open_split(
        config,
        "train",
        world,
        progress=config.progress,
        image_size=config.image_size if wanted else None,
        views=views if wanted else 0,
        seed=config.seed,
    )
    if wanted and not dataset.has_images:
        raise UsageError(
            f"--data {config.data} has no pictures: draw some with --views 8, "
            "or leave them out with --image-encoder none"
        )
    return dataset


def build_method(
    config: PretrainConfig, dataset: PointDataset, image_encoder: nn.Module | None
) -> tuple[nn.Module, dict[str, Any]]:
    """The method with its encoders, and the facts about the encoder that later commands need."""
    arguments = {"in_channels": 6 if config.normals else 3, **given_arguments(config)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        encoder = build_encoder(config.backbone, **arguments)
        method = resolve(config.method, METHODS, "method", nn.Module)(
            encoder,
            image_encoder,
            projection=config.projection,
            temperature=config.temperature,
            within_weight=config.within_weight,
            cross_weight=config.cross_weight,
            freeze_image=config.freeze_image,
        )
    facts = {
        "pointssl": pointssl.__version__,
        "method": config.method,
        "backbone": config.backbone,
        "backbone_args": with_defaults(config.backbone, arguments),
        "points": config.points,
        "normals": config.normals,
        "normalise": config.normalise,
        "up_axis": "y",
        "classes": list(dataset.classes),
        "trained_on": {k: v for k, v in dataset.facts().items() if k != "seed"},
    }
    return method, facts


def epoch_batches(
    config: PretrainConfig, dataset: PointDataset, epoch: int, start: int, world: World
) -> Any:
    """This rank's batches of an epoch; the same seeds choose the same points and pictures."""
    dataset.set_epoch(epoch)
    rows = train_rows(len(dataset), config.batch_size, config.seed, epoch, world, start)
    return read_batches(dataset, rows, world.device, config.workers)


def describe(
    config: PretrainConfig, dataset: PointDataset, method: nn.Module, steps: int, world: World
) -> None:
    """What is about to happen, in a few lines."""
    for note in dataset.notes:
        world.say(f"note: {note}")
    parameters = sum(p.numel() for p in method.parameters()) / 1e6
    lr = scaled_lr(config.lr, config.batch_size, config.lr_scale_base)
    left = len(dataset) - steps * config.batch_size
    encoder = cast(nn.Module, method.encoder)
    k = f" (k {encoder.k})" if hasattr(encoder, "k") else ""
    pictures = f"pictures of {config.image_size} px" if dataset.has_images else "no pictures"
    world.say(
        f"pretraining {config.backbone}{k} by {config.method} on {config.data}: "
        f"{len(dataset)} clouds of {config.points} points, {pictures}; "
        f"{parameters:.1f} M parameters"
    )
    parts = f" ({config.accumulate} parts have their own)" if config.accumulate > 1 else ""
    world.say(
        f"{world.size} process(es) on {world.device.type}, batch {config.batch_size} in all, "
        f"{2 * config.batch_size // config.accumulate - 2} negatives a row{parts}, lr {lr:g}, "
        f"{steps} steps x {config.epochs} "
        f"epochs" + (f"; the last {left} clouds of each shuffled epoch are dropped" if left else "")
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


def report_epoch(row: dict[str, Any], world: World) -> dict[str, Any]:
    """Print the meters of an epoch to watch; all of them are logged."""
    shown = {
        "loss": "loss", "loss_within": "within", "loss_cross": "cross",
        "retrieval_within": "retrieval within", "retrieval_cross": "cross",
        "embedding_std": "std", "seconds_per_step": "s/step", "data_wait": "waiting for data",
    }  # fmt: skip
    parts = [f"{label} {row[name]:.3f}" for name, label in shown.items() if name in row]
    world.say(f"epoch {row['epoch']}: " + ", ".join(parts))
    return row


def draw_curves(run_dir: Path) -> None:
    """``loss_curves.png``; a run is not lost for want of a picture."""
    from pointssl.reports.figures.pretraining import loss_curves

    with contextlib.suppress(UserError):
        loss_curves(read_metrics(run_dir), run_dir / "loss_curves.png")
        print(f"loss curves: {run_dir / 'loss_curves.png'}")
