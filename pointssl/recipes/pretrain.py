"""`pointssl pretrain`, from top to bottom: data, encoder, method, optimiser, loop, figures."""

import contextlib
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Generator, nn

from pointssl.augment import Augmentation, drawing, float_images
from pointssl.backbones.build import build_encoder, given_arguments, with_defaults
from pointssl.checkpoints.metadata import Metadata, new_metadata
from pointssl.config.options import to_dict
from pointssl.config.pretrain import PretrainConfig
from pointssl.engine.batch_size import with_batch_size
from pointssl.engine.distributed import World, start_world
from pointssl.engine.loading import count_steps, read_batches, seeded, train_rows
from pointssl.engine.optimizer import parameter_groups
from pointssl.engine.resume import earlier_run
from pointssl.engine.training import LAST, check_batch, train_in_run_dir
from pointssl.methods.base import Batch, Method
from pointssl.methods.build import (
    augmentation_arguments,
    build_augmentation,
    build_method,
    method_arguments,
    with_method_defaults,
)
from pointssl.recipes.pretrain_images import (
    image_augmentation,
    image_encoder_of,
    images_are_fixed,
    serve_features,
)
from pointssl.recipes.pretrain_output import (
    describe,
    draw_curves,
    draw_method,
    report_epoch,
    write_results,
)
from pointssl.recipes.pretrain_probe import BEST, open_probe
from pointssl.recipes.splits import open_split
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.serving.mixing import PointDataset
from pointssl_datasets.sets import GENERATED

RECIPE = f"{__name__}:run"


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
    config = with_method_defaults(config)
    path = config.run_dir / LAST
    if path.exists():
        config = with_batch_size(config, 0, world, path, run=RECIPE)
    check_batch(config, world)
    earlier = earlier_run(path, config)
    probe = open_probe(config, world)
    image_encoder = image_encoder_of(config)  # before hours of rendering for one that isn't there
    dataset = open_dataset(config, world)
    config = with_batch_size(config, len(dataset), world, run=RECIPE)
    steps = count_steps(len(dataset), config.batch_size)
    method = make_method(config, image_encoder)
    metadata = describe_encoder(config, dataset)
    prepare = partial(
        augmented, method=method, augment=build_augmentation(config),
        image_augment=image_augmentation(config), world=world,
    )  # fmt: skip

    options = to_dict(config)
    kept: dict[str, Any] = {}  # the best epoch, with --keep best

    def begin() -> dict[str, Any] | None:
        """Called when the weights are those that training starts from, a checkpoint's included.

        Returns:
            the row of epoch 0, if there is anything to say of a random initialisation.
        """
        describe(config, dataset, method, steps, world)
        if probe:
            probe.describe()
        if images_are_fixed(config, method):
            serve_features(config, dataset, method, world)
        return probe.before_training(method.encoder) if probe and earlier is None else None

    def report(row: dict[str, Any]) -> dict[str, Any]:
        """Score the encoder where it is due, print the meters to watch; all of them are logged."""
        if probe:
            epoch = row["epoch"]
            scores = probe.after_epoch(epoch, method, kept, metadata=metadata, options=options)
            row = {**row, **scores}
        watch = {**method.watch, **(probe.headlines if probe else {})}
        return report_epoch(row, watch, world)

    trained = train_in_run_dir(
        method,
        config,
        world,
        metadata=metadata,
        earlier=earlier,
        steps=steps,
        batches=lambda epoch, start: epoch_batches(config, dataset, epoch, start, world),
        prepare=prepare,
        report=report,
        describe=begin,
        groups=None
        if config.decay_all
        else parameter_groups(method, weight_decay=config.weight_decay, decay_all=False),
        after_step=method.after_step,
        kept=kept,
    )
    if not trained:
        world.say(f"{config.run_dir} is finished: {config.epochs} epochs")
        return path
    if world.is_main:
        write_results(config, dataset, steps, kept, world)
        draw_curves(config.run_dir, {**method.watch, **(probe.watch if probe else {})})
    with contextlib.closing(epoch_batches(config, dataset, 0, 0, world)) as batches:
        first = prepare(next(batches), seeded(world.device, config.seed))
    draw_method(config.run_dir, method, first, world)
    if "best" in kept:
        world.say(
            f"best by {kept['best']['by']}: {kept['best']['score']:.3f} after epoch "
            f"{kept['best']['epoch']}: {config.run_dir / BEST}"
        )
    world.say(f"checkpoint: {path}")
    return path


def open_dataset(config: PretrainConfig, world: World) -> PointDataset:
    """The train split, with images if the method gets any; rank 0 packs it, the others wait."""
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
            f"--data {config.data} has no images: render some with --views 8, "
            "or leave them out with --image-encoder none"
        )
    return dataset


def make_method(config: PretrainConfig, image_encoder: nn.Module | None) -> Method:
    """The method around its encoder; ``--seed`` decides all weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        encoder = build_encoder(config.backbone, **encoder_arguments(config))
        return build_method(
            config.method,
            encoder,
            image_encoder,
            freeze_image=config.freeze_image,
            **method_arguments(config),
        )


def encoder_arguments(config: PretrainConfig) -> dict[str, Any]:
    return {"in_channels": 6 if config.normals else 3, **given_arguments(config)}


def describe_encoder(config: PretrainConfig, dataset: PointDataset) -> Metadata:
    """What later commands need to know of the encoder, and how it was trained."""
    metadata = new_metadata(
        backbone=config.backbone,
        backbone_args=with_defaults(config.backbone, encoder_arguments(config)),
        points=config.points,
        normals=config.normals,
        normalise=config.normalise,
        classes=list(dataset.classes),
        trained_on=dataset.facts(),
    )
    return {
        **metadata,
        "method": config.method,
        "method_args": method_arguments(config),
        "augment": config.augment,
        "augment_args": augmentation_arguments(config),
        "image_encoder": config.image_encoder,
    }


LABELS = ("label", "part")  # of a batch; no method sees them


def augmented(
    batch: Batch,
    generator: Generator,
    *,
    method: Method,
    augment: Augmentation,
    image_augment: Literal["crosspoint", "none"],
    world: World,
) -> Batch:
    """A batch of the dataset as the method takes it, without labels."""
    batch = {name: value for name, value in batch.items() if name not in LABELS}
    draw = drawing(batch, generator, world.rank, world.size)
    return float_images(method.views(batch, draw, augment), draw, image_augment)


def epoch_batches(
    config: PretrainConfig, dataset: PointDataset, epoch: int, start: int, world: World
) -> Any:
    """This rank's batches of an epoch; the same seeds choose the same points and images."""
    dataset.set_epoch(epoch)
    rows = train_rows(len(dataset), config.batch_size, config.seed, epoch, world, start)
    return read_batches(dataset, rows, world.device, config.workers)
