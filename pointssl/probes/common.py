"""Train labels in, test labels out, once per point-sampling seed: what all classifiers share."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl.metrics import (
    confusion_matrix,
    mean_class_accuracy,
    mean_std,
    overall_accuracy,
    per_class_rows,
)
from pointssl.probes.protocols import stratified_subset
from pointssl.probes.svm import check_problem
from pointssl_datasets.base.errors import DataError

Split = tuple[NDArray[Any], NDArray[np.int64], NDArray[Any], NDArray[np.int64]]


def evaluate_seeds(
    features_by_seed: Sequence[Split],
    one_seed: Callable[[Split, int], dict[str, Any]],
    *,
    classes: Sequence[str],
    label_fraction: float = 1.0,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Classify the test features of every seed, and sum up.

    Seed number i also seeds the share of train labels (and, in ``one_seed``, the folds of a
    cross-validation), so two encoders evaluated alike see the same labels and folds.

    Args:
        features_by_seed: for each seed ``(train_x (M, D), train_y (M,), test_x (K, D),
            test_y (K,))``; the labels are the same for every seed.
        one_seed: takes such a tuple, with the chosen labels alone, and the seed; returns
            ``predicted (K,)``, ``notes`` and whatever else the caller wants back.
        classes: names that the labels index.
        label_fraction: stratified share of the train labels that is used.

    Returns:
        Plain values, fit for JSON: accuracies in [0, 1], of which ``std`` is the population's over
        seeds; ``confusion`` (row: true class) summed over seeds; and what ``one_seed`` returned.

    Raises:
        UsageError: the fraction is out of range.
        DataError: features or labels that can't be evaluated.
    """
    check_seeds(features_by_seed)
    first = features_by_seed[0]
    entries, matrices = [], []
    for seed, (train_x, train_y, test_x, test_y) in enumerate(features_by_seed):
        check_problem(train_x, train_y, test_x, test_y)
        chosen = stratified_subset(train_y, label_fraction, seed)
        entry = one_seed((train_x[chosen], train_y[chosen], test_x, test_y), seed)
        entries.append({**entry, "train": len(chosen)})
        matrices.append(confusion_matrix(test_y, entry["predicted"], len(classes)))
    total = np.sum(matrices, axis=0)
    rows = per_class_rows(total, classes)
    for row in rows:
        row["shapes"] //= len(entries)
    return {
        "seeds": len(entries),
        "accuracy": mean_std([overall_accuracy(matrix) for matrix in matrices]),
        "class_accuracy": mean_std(
            [mean_class_accuracy(matrix, classes)[0] for matrix in matrices]
        ),
        "per_class": rows,
        "absent_classes": mean_class_accuracy(total, classes)[1],
        "confusion": total.tolist(),
        "label_fraction": float(label_fraction),
        "train": entries[0]["train"],
        "test": len(first[3]),
        "dimension": int(first[0].shape[1]),
        "notes": list(dict.fromkeys(note for entry in entries for note in entry["notes"])),
    }, entries


def check_seeds(features_by_seed: Sequence[Split]) -> None:
    """Raises DataError unless there is a seed, and all have the same labels."""
    if not features_by_seed:
        raise DataError("there are no features to evaluate: 0 seeds")
    first = features_by_seed[0]
    for seed, (_, train_y, _, test_y) in enumerate(features_by_seed):
        if not np.array_equal(test_y, first[3]) or not np.array_equal(train_y, first[1]):
            raise DataError(f"features of seed {seed} have other labels than those of seed 0")
