"""Accuracies and IoU from a confusion matrix, and the part-segmentation IoU of ShapeNetPart.

Counts come first and averages last, over the whole split at once: means of batches or of ranks
are not the mean.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Parts of each of ShapeNetPart's 16 categories, in alphabetical order (airplane 0-3, bag 4-5, ...).
SHAPENETPART_PARTS: tuple[tuple[int, ...], ...] = (
    (0, 1, 2, 3),  # airplane
    (4, 5),  # bag
    (6, 7),  # cap
    (8, 9, 10, 11),  # car
    (12, 13, 14, 15),  # chair
    (16, 17, 18),  # earphone
    (19, 20, 21),  # guitar
    (22, 23),  # knife
    (24, 25, 26, 27),  # lamp
    (28, 29),  # laptop
    (30, 31, 32, 33, 34, 35),  # motorbike
    (36, 37),  # mug
    (38, 39, 40),  # pistol
    (41, 42, 43),  # rocket
    (44, 45, 46),  # skateboard
    (47, 48, 49),  # table
)


def confusion_matrix(target: Ints, predicted: Ints, classes: int) -> Ints:
    """``(classes, classes)`` counts; row: true class, column: predicted class.

    Raises:
        DataError: lengths differ, or a label is outside ``0 ... classes - 1``.
    """
    target, predicted = np.asarray(target), np.asarray(predicted)
    if target.shape != predicted.shape or target.ndim != 1:
        raise DataError(f"{target.shape} labels but {predicted.shape} predictions")
    for kind, values in (("labels", target), ("predictions", predicted)):
        if len(values) and (values.min() < 0 or values.max() >= classes):
            raise DataError(
                f"{kind} run from {values.min()} to {values.max()}, expected 0 to {classes - 1} "
                f"for {classes} classes"
            )
    counts = np.bincount(target * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def overall_accuracy(matrix: Ints) -> float:
    """Share of shapes on the diagonal of a confusion matrix, in [0, 1].

    Raises:
        DataError: the matrix counts nothing.
    """
    if not matrix.sum():
        raise DataError("there is nothing to evaluate: 0 shapes")
    return float(np.trace(matrix) / matrix.sum())


def class_accuracies(matrix: Ints) -> Floats:
    """``(classes,)`` recall of each class, in [0, 1]; NaN for a class that no shape has."""
    totals = matrix.sum(axis=1)
    return np.where(totals > 0, np.diag(matrix) / np.maximum(totals, 1), np.nan)


def mean_class_accuracy(matrix: Ints, classes: Sequence[str]) -> tuple[float, list[str]]:
    """Mean over the classes that occur, and the names of those that don't and are left out.

    Raises:
        DataError: the matrix counts nothing.
    """
    overall_accuracy(matrix)
    accuracies = class_accuracies(matrix)
    absent = [name for name, value in zip(classes, accuracies, strict=True) if np.isnan(value)]
    return float(np.nanmean(accuracies)), absent


def per_class_rows(matrix: Ints, classes: Sequence[str]) -> list[dict[str, Any]]:
    """A row per class: ``class``, ``shapes`` in test, ``accuracy`` (None where there are none)."""
    return [
        {
            "class": name,
            "shapes": int(row.sum()),
            "accuracy": None if np.isnan(accuracy) else float(accuracy),
        }
        for name, row, accuracy in zip(classes, matrix, class_accuracies(matrix), strict=True)
    ]


def shape_iou(
    predicted: Sequence[Ints] | Ints,
    target: Sequence[Ints] | Ints,
    category: Ints,
    parts: Sequence[Sequence[int]] = SHAPENETPART_PARTS,
) -> Floats:
    """Part IoU of each shape, averaged over all parts of its category: ``(B,)``.

    A part that neither target nor prediction has counts 1. A prediction outside the category's
    parts (an argmax over all parts can give one) is simply wrong. As PointNet (Qi et al., 2017)
    defined it for ShapeNetPart (Yi et al., 2016).

    Args:
        predicted: a part per point, ``(B, N)``, or B arrays of any lengths.
        target: likewise.
        category: ``(B,)`` category of each shape.
        parts: the parts of each category.

    Raises:
        DataError: shapes that don't fit, an empty shape, an unknown category, or a target that is
            no part of the shape's category.
    """
    category = np.asarray(category)
    lengths = np.array([len(shape) for shape in target], dtype=np.int64)
    if len(predicted) != len(lengths) or category.shape != lengths.shape:
        raise DataError(
            f"{len(predicted)} predictions, {len(lengths)} targets and {category.shape} categories"
        )
    if not len(lengths) or lengths.min() == 0:
        raise DataError("part IoU needs at least one shape, and points in every shape")
    if any(len(shape) != n for shape, n in zip(predicted, lengths, strict=True)):
        raise DataError("a shape has another number of predictions than of targets")
    if category.min() < 0 or category.max() >= len(parts):
        raise DataError(
            f"categories run from {category.min()} to {category.max()}, "
            f"expected 0 to {len(parts) - 1}"
        )
    total = max(part for own in parts for part in own) + 1
    belongs = np.zeros((len(parts), total), bool)
    for index, own in enumerate(parts):
        belongs[index, list(own)] = True

    shape = np.repeat(np.arange(len(lengths)), lengths)  # of every point
    flat_predicted = np.concatenate([np.asarray(p) for p in predicted])
    flat_target = np.concatenate([np.asarray(t) for t in target])
    outside = (flat_target < 0) | (flat_target >= total)
    outside |= ~belongs[category[shape], np.where(outside, 0, flat_target)]
    if outside.any():
        point = int(np.argmax(outside))
        raise DataError(
            f"shape {shape[point]} has a point labelled {flat_target[point]}, which is no part of "
            f"its category {category[shape[point]]}"
        )
    inside = (flat_predicted >= 0) & (flat_predicted < total)
    matched = flat_predicted == flat_target

    def count(chosen: NDArray[np.bool_], part: Ints) -> Ints:
        """``(B, parts)``: chosen points of each shape that have each part."""
        cell = shape[chosen] * total + part[chosen]
        return np.bincount(cell, minlength=len(lengths) * total).reshape(-1, total)

    intersection = count(matched, flat_target)
    everywhere = np.ones_like(matched)
    union = count(inside, flat_predicted) + count(everywhere, flat_target) - intersection
    iou = np.where(union > 0, intersection / np.maximum(union, 1), 1.0)
    own_parts = belongs[category]
    return np.where(own_parts, iou, 0.0).sum(axis=1) / own_parts.sum(axis=1)


def category_iou(ious: Floats, category: Ints, categories: int) -> Floats:
    """``(categories,)`` mean of the shapes' IoU; NaN for a category without shapes."""
    shapes = np.bincount(category, minlength=categories)
    sums = np.bincount(category, weights=ious, minlength=categories)
    return np.where(shapes > 0, sums / np.maximum(shapes, 1), np.nan)


def part_iou(
    predicted: Sequence[Ints] | Ints,
    target: Sequence[Ints] | Ints,
    category: Ints,
    names: Sequence[str],
    parts: Sequence[Sequence[int]] = SHAPENETPART_PARTS,
) -> dict[str, Any]:
    """Both means of ShapeNetPart over a whole split; arguments as in :func:`shape_iou`.

    Returns:
        ``instance_miou``: mean over shapes; ``class_miou``: mean over the categories that occur of
        their mean; ``per_category``: rows of ``category``, ``shapes``, ``iou`` (None where there
        are none); ``absent``: names of the categories that are left out.

    Raises:
        DataError: as :func:`shape_iou`.
    """
    category = np.asarray(category)
    return mean_ious(shape_iou(predicted, target, category, parts), category, names)


def mean_ious(ious: Floats, category: Ints, names: Sequence[str]) -> dict[str, Any]:
    """Both means of :func:`part_iou`, and its rows, from the IoU ``(B,)`` of each shape."""
    means = category_iou(ious, category, len(names))
    counts = np.bincount(category, minlength=len(names))
    rows = [
        {"category": name, "shapes": int(n), "iou": float(mean) if n else None}
        for name, n, mean in zip(names, counts, means, strict=True)
    ]
    return {
        "instance_miou": float(ious.mean()),
        "class_miou": float(np.nanmean(means)),
        "per_category": rows,
        "absent": [row["category"] for row in rows if row["iou"] is None],
    }


def class_ious(matrix: Ints) -> Floats:
    """``(classes,)`` intersection over union of each class; NaN for one that neither truth nor
    prediction has."""
    right = np.diag(matrix)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - right
    return np.where(union > 0, right / np.maximum(union, 1), np.nan)


def mean_iou(matrix: Ints, classes: Sequence[str]) -> tuple[float, list[str]]:
    """Mean over the classes that truth or prediction has, and the names of the others.

    A class that is only predicted counts 0, as every point of it is wrong.

    Args:
        matrix: of a confusion over all points of a split, see :func:`confusion_matrix`.

    Raises:
        DataError: the matrix counts nothing.
    """
    overall_accuracy(matrix)
    ious = class_ious(matrix)
    absent = [name for name, value in zip(classes, ious, strict=True) if np.isnan(value)]
    return float(np.nanmean(ious)), absent


def mean_std(values: Sequence[float]) -> dict[str, Any]:
    """``mean``, ``std`` (the population's) and the values themselves, one per seed."""
    return {
        "mean": float(np.mean(values)),
        "std": float(np.std(values)),
        "per_seed": [float(value) for value in values],
    }
