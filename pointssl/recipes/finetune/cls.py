"""`pointssl finetune cls`: which class a whole cloud is of."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Generator, Tensor, nn

from pointssl.augment import drawing, one_view, supervised_augmentation
from pointssl.config.finetune import FinetuneClsConfig
from pointssl.engine.distributed import World
from pointssl.features.encoder import LoadedEncoder
from pointssl.recipes.finetune import training as finetune
from pointssl.recipes.finetune.job import Filled, Job, Recipe
from pointssl.recipes.finetune.presets import CLS
from pointssl.recipes.finetune.splits import open_splits
from pointssl.reports.finetune import print_cls
from pointssl.tasks.class_evaluation import evaluate_classes
from pointssl_datasets.base.errors import DataError


def run(config: FinetuneClsConfig) -> dict[str, Any]:
    """Fine-tune as ``config`` says; see :func:`pointssl.recipes.finetune.training.run`."""
    return finetune.run(config, RECIPE)


def make_job(config: Filled, loaded: LoadedEncoder, world: World) -> Job:
    """Data, head, validation, test and pictures of one run."""
    preset = CLS[config.protocol]
    splits = open_splits(config, preset, loaded, world)
    classes = splits.train.classes
    for dataset in (splits.train, splits.test, *([splits.val] if splits.val is not None else [])):
        if dataset.classes != classes or (dataset.labels < 0).any():
            raise DataError(
                f"{dataset.name}: classification needs a class for every cloud, and the same "
                f"classes in all splits; {dataset.split} has {len(dataset.classes)} classes and "
                f"{int((dataset.labels < 0).sum())} clouds without one"
            )
    known = np.unique(splits.train.labels[splits.rows])
    if len(known) < 2:
        raise DataError(f"{splits.train.name}: train has a single class; there is nothing to learn")
    unseen = np.setdiff1d(splits.test.labels, known)
    if len(unseen):
        raise DataError(
            f"{splits.train.name}: test has clouds of {', '.join(classes[i] for i in unseen[:5])}, "
            "of which train has none: train and test must have the same classes"
        )
    evaluate = partial(
        evaluate_classes, world=world, batch_size=config.batch_size, progress=config.progress
    )

    def validate(task: nn.Module) -> dict[str, float]:
        assert splits.val is not None
        found = evaluate(task, splits.val, splits.val_rows, title="validation")["single"]
        return {name: found[name] for name in ("accuracy", "class_accuracy")}

    def test(task: nn.Module) -> dict[str, Any]:
        return evaluate(task, splits.test, splits.test_rows, votes=config.votes)

    augment = supervised_augmentation(config.augment, config.rotate)

    def prepare(batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        return one_view(batch, drawing(batch, generator, world.rank, world.size), augment)

    return Job(
        task="cls",
        task_args={
            "classes": len(classes),
            "head": config.head or ("linear" if config.freeze_backbone else "mlp"),
            "dropout": config.dropout,
            "smoothing": config.smoothing,
            "freeze_backbone": config.freeze_backbone,
            **preset.head,
        },
        metadata={"classes": list(classes)},
        dataset=splits.train,
        rows=splits.rows,
        prepare=prepare,
        validate=validate if len(splits.val_rows) else None,
        select_by="accuracy",
        test=test,
        draw=partial(draw, config=config, classes=classes),
        tested_on=splits.test.fingerprint,
        notes=splits.notes,
    )


def draw(
    task: nn.Module, results: dict[str, Any], *, config: Filled, classes: tuple[str, ...]
) -> list[Path]:
    """The confusion matrix of test."""
    from pointssl.reports.figures.features import confusion_figure

    found = results["test"]["single"]
    path = config.run_dir / "confusion.png"
    title = f"{results['data']}: {100 * found['accuracy']:.1f}%"
    confusion_figure(np.array(found["confusion"]), classes, title, path)
    return [path]


RECIPE = Recipe(run=f"{__name__}:run", presets=CLS, make_job=make_job, report=print_cls)
