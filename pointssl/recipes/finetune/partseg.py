"""`pointssl finetune partseg`: which part of an object every point belongs to."""

from functools import partial
from pathlib import Path
from typing import Any

from torch import Generator, Tensor, nn

from pointssl.augment import drawing, one_view, supervised_augmentation
from pointssl.config.finetune import FinetunePartsegConfig
from pointssl.engine.distributed import World
from pointssl.features.encoder import LoadedEncoder
from pointssl.recipes.finetune import training as finetune
from pointssl.recipes.finetune.job import Filled, Job, Recipe
from pointssl.recipes.finetune.presets import PARTSEG
from pointssl.recipes.finetune.splits import Splits, open_splits
from pointssl.recipes.splits import list_split
from pointssl.reports.figures.parts import category_bars, parts_sheet
from pointssl.reports.finetune import print_partseg
from pointssl.tasks.part_evaluation import evaluate_parts, predict_shape
from pointssl.tasks.part_labels import PartNumbers, check_known, check_parts, number_parts
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import nearest

SHOWN = 16  # categories on the sheet


def run(config: FinetunePartsegConfig) -> dict[str, Any]:
    """Fine-tune as ``config`` says; see :func:`pointssl.recipes.finetune.training.run`."""
    return finetune.run(config, RECIPE)


def headline(config: Filled) -> str:
    """Which argmax chooses the epoch and stands first: ``masked`` where the category is an input
    and the protocol takes it for one."""
    return "masked" if config.category == "given" and config.protocol == "strict" else "free"


def make_job(config: Filled, loaded: LoadedEncoder, world: World) -> Job:
    """Data, head, validation, test and pictures of one run."""
    only = chosen_class(config, loaded, world)
    splits = open_splits(config, PARTSEG[config.protocol], loaded, world, only)
    numbers = number_parts(splits.train, config.class_choice)
    for dataset, rows in (
        (splits.train, splits.rows),
        (splits.val, splits.val_rows),
        (splits.test, splits.test_rows),
    ):
        if dataset is not None:
            check_known(dataset, splits.train)
            check_parts(dataset, rows, numbers)
    evaluate = partial(
        evaluate_parts,
        numbers=numbers,
        world=world,
        batch_size=config.batch_size,
        progress=config.progress,
    )

    augment = supervised_augmentation(config.augment, config.rotate)

    def prepare(batch: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        view = one_view(batch, drawing(batch, generator, world.rank, world.size), augment)
        return numbers.apply(view)

    def validate(task: nn.Module) -> dict[str, float]:
        assert splits.val is not None
        found = evaluate(task, splits.val, splits.val_rows, title="validation")[headline(config)]
        return {name: found[name] for name in ("instance_miou", "class_miou", "accuracy")}

    def test(task: nn.Module) -> dict[str, Any]:
        found = evaluate(task, splits.test, splits.test_rows, votes=config.votes)
        return {**found, "headline": headline(config), "classes": list(numbers.classes)}

    return Job(
        task="partseg",
        task_args={
            "parts": len(numbers.parts),
            "categories": len(numbers.classes) if config.category == "given" else 0,
            "dropout": [config.dropout, config.dropout, 0.0],
            "smoothing": config.smoothing,
            "freeze_backbone": config.freeze_backbone,
        },
        metadata={
            "classes": list(numbers.classes),
            "parts": list(numbers.parts),
            "parts_of": [list(parts) for parts in numbers.parts_of],
            "category": config.category,
        },
        dataset=splits.train,
        rows=splits.rows,
        prepare=prepare,
        validate=validate if len(splits.val_rows) else None,
        select_by="instance_miou",
        test=test,
        draw=partial(draw, config=config, splits=splits, numbers=numbers, world=world),
        tested_on=splits.test.fingerprint,
        notes=splits.notes,
    )


def chosen_class(config: Filled, loaded: LoadedEncoder, world: World) -> int | None:
    """The number of ``--class-choice`` in the dataset."""
    if config.class_choice is None:
        return None
    classes = list_split(config, "train", on_unpaired=config.on_unpaired).classes
    if config.class_choice not in classes:
        raise UsageError(
            f"--class-choice {config.class_choice!r}{nearest(config.class_choice, list(classes))}: "
            f"the categories of --data {config.data} are {', '.join(classes) or 'not known'}"
        )
    return classes.index(config.class_choice)


def draw(
    task: nn.Module,
    results: dict[str, Any],
    *,
    config: Filled,
    splits: Splits,
    numbers: PartNumbers,
    world: World,
) -> list[Path]:
    """Prediction, truth and error of a test shape per category, and the bars of all."""
    test, kind = splits.test, headline(config)
    labels = numbers.label_map[test.labels[splits.test_rows]]
    shown = []
    for category, name in list(enumerate(numbers.classes))[:SHOWN]:
        rows = splits.test_rows[labels == category]
        if len(rows):
            row = int(rows[0])
            said, truth = predict_shape(task, test, row, numbers, world, kind)
            shown.append((name, test.stored(row)["xyz"], said, truth))
    sheet, bars = config.run_dir / "parts.png", config.run_dir / "categories.png"
    parts_sheet(shown, numbers.parts, sheet)
    found = results["test"][kind]
    category_bars(
        {"": [(row["category"], row["iou"]) for row in found["per_category"]]},
        f"{results['data']}: IoU by category, {kind} argmax, instance mIoU "
        f"{100 * found['instance_miou']:.1f}",
        bars,
    )
    return [sheet, bars]


RECIPE = Recipe(run=f"{__name__}:run", presets=PARTSEG, make_job=make_job, report=print_partseg)
