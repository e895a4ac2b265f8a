"""What probes share: the loop over point-sampling seeds, the scale of features, and checks."""

from collections.abc import Callable, Iterable, Sequence
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
from pointssl.probes.split import Split
from pointssl_datasets.base.errors import DataError

Floats = NDArray[np.float64]

ROWS = 1024  # of a similarity matrix at a time


def evaluate_seeds(
    passes: Sequence[Split],
    one_seed: Callable[[Split, int], dict[str, Any]],
    *,
    classes: Sequence[str],
    label_fraction: float = 1.0,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Classify the test features of every seed, and sum up.

    Seed number i also seeds the share of train labels (and, in ``one_seed``, the folds of a
    cross-validation), so two encoders evaluated alike see the same labels and folds.

    Args:
        passes: a split for each seed; the labels are the same for every seed.
        one_seed: takes a split, with the chosen labels alone, and the seed; returns
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
    check_seeds(passes)
    entries, matrices = [], []
    for seed, (train_x, train_y, test_x, test_y) in enumerate(passes):
        check_problem(train_x, train_y, test_x, test_y)
        chosen = stratified_subset(train_y, label_fraction, seed)
        entry = one_seed(Split(train_x[chosen], train_y[chosen], test_x, test_y), seed)
        entries.append({**entry, "train": len(chosen)})
        matrices.append(confusion_matrix(test_y, entry["predicted"], len(classes)))
    total = np.sum(matrices, axis=0)
    rows = per_class_rows(total, classes)
    for row in rows:
        row["shapes"] //= len(entries)
    return {
        **_over_seeds(passes, entries),
        "accuracy": mean_std([overall_accuracy(matrix) for matrix in matrices]),
        "class_accuracy": mean_std(
            [mean_class_accuracy(matrix, classes)[0] for matrix in matrices]
        ),
        "per_class": rows,
        "absent_classes": mean_class_accuracy(total, classes)[1],
        "confusion": total.tolist(),
        "label_fraction": float(label_fraction),
        "train": entries[0]["train"],
    }, entries


def score_seeds(
    passes: Sequence[Split],
    one_seed: Callable[[Split, int], dict[str, Any]],
    keys: Iterable[str],
) -> dict[str, Any]:
    """``one_seed(split, seed)`` of every seed, and the mean and deviation of its numbers ``keys``.

    Raises:
        DataError: features or labels that can't be evaluated.
    """
    check_seeds(passes)
    entries = []
    for seed, split in enumerate(passes):
        check_problem(*split)
        entries.append(one_seed(Split(*split), seed))
    return {
        **{key: mean_std([entry[key] for entry in entries]) for key in keys},
        **_over_seeds(passes, entries),
    }


def _over_seeds(passes: Sequence[Split], entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Numbers of seeds and shapes, the width of the features, and the notes of all seeds."""
    first = Split(*passes[0])
    return {
        "seeds": len(entries),
        "train": len(first.train_y),
        "test": len(first.test_y),
        "dimension": int(first.train_x.shape[1]),
        "notes": list(dict.fromkeys(note for entry in entries for note in entry["notes"])),
    }


def check_seeds(passes: Sequence[Split]) -> None:
    """Raises DataError unless there is a seed, and all have the same labels."""
    if not passes:
        raise DataError("there are no features to evaluate: 0 seeds")
    first = Split(*passes[0])
    for seed, (_, train_y, _, test_y) in enumerate(passes):
        if not np.array_equal(test_y, first.test_y) or not np.array_equal(train_y, first.train_y):
            raise DataError(f"features of seed {seed} have other labels than those of seed 0")


def check_problem(
    train_x: NDArray[Any],
    train_y: NDArray[Any],
    test_x: NDArray[Any],
    test_y: NDArray[Any] | None = None,
) -> None:
    """Raises DataError for shapes that don't fit, numbers that aren't finite, or missing classes.

    A class of train that test lacks is no error: it is left out of the mean class accuracy.
    """
    for split, x, y in (("train", train_x, train_y), ("test", test_x, test_y)):
        if x.ndim != 2 or 0 in x.shape:
            raise DataError(f"{split} features have shape {x.shape}, expected (shapes, features)")
        if y is not None and y.shape != (len(x),):
            raise DataError(f"{split}: {len(x)} features but labels of shape {y.shape}")
        bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
        if len(bad):
            raise DataError(
                f"{split} features are not finite (NaN or infinite) for {len(bad)} of {len(x)} "
                f"shapes, first number {bad[0]}: look at the weights and at that cloud"
            )
    if train_x.shape[1] != test_x.shape[1]:
        raise DataError(
            f"train features have {train_x.shape[1]} numbers, test features {test_x.shape[1]}: "
            "extract both with the same encoder"
        )
    known = np.unique(train_y)
    if len(known) < 2:
        raise DataError(f"a probe needs at least two classes, train has only label {known[0]}")
    unseen = [] if test_y is None else np.setdiff1d(test_y, known).tolist()
    if unseen:
        raise DataError(
            f"test has labels {unseen} that no train shape has: "
            "train and test must have the same classes"
        )


def standardise(train_x: NDArray[Any], test_x: NDArray[Any]) -> tuple[Floats, Floats]:
    """Both by the mean and standard deviation of ``train_x (M, D)`` alone; float64.

    A feature that is constant in train is centred and not scaled, as in scikit-learn's
    ``StandardScaler``. The values are compared: rounding makes their deviation not quite 0.
    """
    train = np.asarray(train_x, np.float64)
    test = np.asarray(test_x, np.float64)
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    constant = train.max(axis=0) == train.min(axis=0)
    deviation[constant | (deviation == 0)] = 1.0
    return (train - mean) / deviation, (test - mean) / deviation


def unit_rows(x: NDArray[Any]) -> Floats:
    """``x (M, D)`` with rows of length 1, so that inner products are cosines; a row of 0 stays."""
    x = np.asarray(x, np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
