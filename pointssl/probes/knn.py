"""Nearest neighbours on frozen features: cosine similarity, and a majority vote.

Features are standardised on train first: those of a network with rectifiers lie in a narrow cone,
where the cosine of any two is close to 1. A plain vote has no temperature, which would have to be
tuned for each encoder (Wu et al., arXiv 1805.01978, and DINO fix 0.07 for theirs). Equal votes go
to the class whose voters are more similar.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl.probes.common import Split, evaluate_seeds
from pointssl.probes.protocols import stratified_folds
from pointssl.probes.svm import standardise
from pointssl_datasets.base.errors import UsageError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GRID = (1, 3, 5, 10, 20, 50)
FOLDS = 5
ROWS = 1024  # of a similarity matrix at a time


def unit_rows(x: NDArray[Any]) -> Floats:
    """``x (M, D)`` with rows of length 1, so that inner products are cosines; a row of 0 stays."""
    x = np.asarray(x, np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def vote(
    train_x: Floats, train_y: Ints, query_x: Floats, neighbours: Sequence[int]
) -> dict[int, Ints]:
    """For each number of neighbours, the class that they give every query: ``(K,)``.

    Args:
        train_x, query_x: ``(M, D)`` and ``(K, D)``, rows of length 1.
        train_y: ``(M,)`` integers from 0.
        neighbours: numbers of at most M.
    """
    most, classes = max(neighbours), int(train_y.max()) + 1
    found: dict[int, list[Ints]] = {k: [] for k in neighbours}
    for first in range(0, len(query_x), ROWS):
        similar = query_x[first : first + ROWS] @ train_x.T
        nearest = np.argpartition(-similar, most - 1, axis=1)[:, :most]
        values = np.take_along_axis(similar, nearest, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        values = np.take_along_axis(values, order, axis=1)
        voters = train_y[np.take_along_axis(nearest, order, axis=1)]
        for k in neighbours:
            row = np.repeat(np.arange(len(values)), k)
            cell = row * classes + voters[:, :k].reshape(-1)
            size = len(values) * classes
            # A tie-breaker: (1 + cosine) / 2 is at most 1, so k + 1 of them are less than a vote.
            weight = 1 + (1 + values[:, :k].reshape(-1)) / (2 * (k + 1))
            votes = np.bincount(cell, weights=weight, minlength=size).reshape(-1, classes)
            found[k].append(votes.argmax(axis=1))
    return {k: np.concatenate(parts) for k, parts in found.items()}


def choose_neighbours(
    train_x: Floats, train_y: Ints, grid: Sequence[int], folds: int, seed: int
) -> tuple[int, list[dict[str, Any]], list[str]]:
    """The number of neighbours with the best mean accuracy over stratified folds of train.

    Of equally good ones the largest: the smoothest. Numbers beyond a fold's train part are left
    out.

    Returns:
        the number, rows of ``neighbours``, ``mean`` and ``std`` over folds, and lines for the user.

    Raises:
        DataError: no class has two members.
    """
    splits, notes = stratified_folds(
        train_y, folds, seed, chosen="the number of neighbours", flag="--neighbours"
    )
    possible = [k for k in grid if k <= min(len(fit) for fit, _ in splits)]
    scores: dict[int, list[float]] = {k: [] for k in possible}
    for fit, validate in splits:
        for k, guess in vote(train_x[fit], train_y[fit], train_x[validate], possible).items():
            scores[k].append(float(np.mean(guess == train_y[validate])))
    table: list[dict[str, Any]] = [
        {"neighbours": k, "mean": float(np.mean(v)), "std": float(np.std(v))}
        for k, v in scores.items()
    ]
    best = max(row["mean"] for row in table)
    return max(row["neighbours"] for row in table if row["mean"] >= best - 1e-12), table, notes


def evaluate_knn(
    features_by_seed: Sequence[Split],
    *,
    neighbours: int | None = None,
    label_fraction: float = 1.0,
    classes: Sequence[str],
) -> dict[str, Any]:
    """Classify test by its nearest neighbours in train, once per point-sampling seed.

    Args:
        neighbours: None: chosen by cross-validation on train, for each seed.
        features_by_seed, label_fraction, classes: as in
            :func:`pointssl.probes.common.evaluate_seeds`.

    Returns:
        Plain values, as :func:`pointssl.probes.svm_report.evaluate_svm` returns them.

    Raises:
        UsageError: more neighbours than train shapes.
        DataError: features or labels that can't be evaluated.
    """

    def one_seed(split: Split, seed: int) -> dict[str, Any]:
        train_x, test_x = (unit_rows(x) for x in standardise(split[0], split[2]))
        if neighbours is None:
            k, cv, notes = choose_neighbours(train_x, split[1], GRID, FOLDS, seed)
        elif neighbours > len(train_x):
            raise UsageError(f"--neighbours {neighbours}: there are only {len(train_x)} labels")
        else:
            k, cv, notes = neighbours, None, []
        predicted = vote(train_x, split[1], test_x, [k])[k]
        return {"neighbours": k, "cv": cv, "predicted": predicted, "notes": notes}

    common, entries = evaluate_seeds(
        features_by_seed, one_seed, classes=classes, label_fraction=label_fraction
    )
    searched = neighbours is None
    by_hand = f"{neighbours} neighbours were asked for, not chosen on train"
    return {
        "protocol": "strict",
        "classifier": "nearest neighbours",
        "multi_class": "cosine similarity, majority vote",
        "standardised": True,
        "neighbours": [entry["neighbours"] for entry in entries],
        "neighbours_chosen_by": f"by {FOLDS}-fold cross-validation on train"
        if searched
        else "fixed",
        "cv": [entry["cv"] for entry in entries] if searched else None,
        **common,
        "caveats": [] if searched else [by_hand],
    }
