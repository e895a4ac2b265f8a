"""Part segmentation from a network to numbers: every original point counts, every shape once."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import nn

from pointssl.engine.distributed import World
from pointssl.metrics import mean_ious, shape_iou
from pointssl.tasks.outputs import Batch, gathered, predictions
from pointssl.tasks.part_labels import PartNumbers
from pointssl_datasets.serving.dataset import CloudDataset

Ints = NDArray[np.int64]
ARGMAX = ("masked", "free")


def evaluate_parts(
    task: nn.Module,
    dataset: CloudDataset,
    rows: Ints,
    numbers: PartNumbers,
    world: World,
    *,
    batch_size: int,
    votes: int = 1,
    progress: bool = False,
    title: str = "test",
) -> dict[str, Any]:
    """Instance and class mIoU and point accuracy, with a row per category; the same on every rank.

    The network sees the points that the dataset serves; what it says is carried to every stored
    point by the nearest of them. ``masked`` takes the best among the parts of the shape's category,
    ``free`` among all.

    Returns:
        ``masked`` and ``free``, and with several votes ``masked_voted`` and ``free_voted``, each
        with ``instance_miou``, ``class_miou``, ``accuracy`` in [0, 1] and ``per_category``; and
        ``shapes``, ``points``.
    """
    mask = numbers.mask()
    suffixes = ("", "_voted") if votes > 1 else ("",)
    found: list[dict[str, Any]] = []
    for passes in predictions(
        task, dataset, rows, world, prepare=numbers.apply, batch_size=batch_size, votes=votes,
        progress=progress, title=title,
    ):  # fmt: skip
        for place, index in enumerate(passes[0][0]["index"].tolist()):
            votes_of = carried(dataset, index, place, passes)
            truth = numbers.part_map[dataset.stored(index)["part"]]
            category = int(passes[0][0]["label"][place])
            row: dict[str, Any] = {"index": index, "category": category, "points": len(truth)}
            for suffix in suffixes:
                scores = np.sum(votes_of, axis=0) if suffix else votes_of[0]
                for kind, said in zip(ARGMAX, argmax(scores, mask[category]), strict=True):
                    iou = shape_iou([said], [truth], np.array([category]), numbers.parts_of)
                    row[kind + suffix] = (float(iou[0]), int((said == truth).sum()))
            found.append(row)
    everyone = gathered(found, world)
    kinds = [kind + suffix for suffix in suffixes for kind in ARGMAX]
    return {
        **{kind: summary(everyone, kind, numbers) for kind in kinds},
        "shapes": len(everyone),
        "points": sum(row["points"] for row in everyone),
    }


def carried(
    dataset: CloudDataset, index: int, place: int, passes: list[tuple[Batch, Any]]
) -> list[NDArray[np.float32]]:
    """For each pass ``(stored points, parts)``: the probabilities of the nearest served point."""
    stored = dataset.stored(index)["xyz"]
    return [
        scores[place].numpy()[cKDTree(batch["xyz"][place].numpy()).query(stored)[1]]
        for batch, scores in passes
    ]


def argmax(scores: NDArray[Any], own: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The best part of each point among the category's ``own``, and among all."""
    return np.where(own, scores, -1.0).argmax(axis=1), scores.argmax(axis=1)


def summary(rows: list[dict[str, Any]], kind: str, numbers: PartNumbers) -> dict[str, Any]:
    """Means over shapes, and over categories of the means over their shapes."""
    ious = np.array([row[kind][0] for row in rows])
    category = np.array([row["category"] for row in rows])
    points = sum(row["points"] for row in rows)
    return {
        **mean_ious(ious, category, numbers.classes),
        "accuracy": sum(row[kind][1] for row in rows) / points,
    }


def predict_shape(
    task: nn.Module, dataset: CloudDataset, row: int, numbers: PartNumbers, world: World, kind: str
) -> tuple[Ints, Ints]:
    """Predicted and true parts of every stored point of one shape, on this rank alone."""
    alone = World(0, 0, 1, world.device)
    prepare: Callable[[Batch], Batch] = numbers.apply
    passes = next(predictions(task, dataset, np.array([row]), alone, prepare=prepare, batch_size=1))
    category = int(passes[0][0]["label"][0])
    masked, free = argmax(carried(dataset, row, 0, passes)[0], numbers.mask()[category])
    return masked if kind == "masked" else free, numbers.part_map[dataset.stored(row)["part"]]
