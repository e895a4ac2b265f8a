"""Nearest neighbours on frozen features: cosine similarity, and a majority vote.

Features are standardised on train first: those of a network with rectifiers lie in a narrow cone,
where the cosine of any two is close to 1. A plain vote has no temperature, which would have to be
tuned for each encoder (Wu et al., arXiv 1805.01978, and DINO fix 0.07 for theirs). Equal votes go
to the class whose voters are more similar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pointssl.config.options import option
from pointssl.probes.base import Classifier, Split
from pointssl_datasets.base.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

GRID = (1, 3, 5, 10, 20, 50)
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Knn(Classifier):
    """Classify by nearest neighbours in frozen features."""

    title: ClassVar[str] = "nearest neighbours"

    neighbours: int | None = option(
        None, "How many vote; default: chosen by cross-validation on train.", "Evaluation", low=1
    )

    def metadata(self, split: Split) -> dict[str, Any]:
        searched = self.neighbours is None
        by_hand = f"{self.neighbours} neighbours were asked for, not chosen on train"
        return {
            **super().metadata(split),
            "multi_class": "cosine similarity, majority vote",
            "neighbours_chosen_by": self.chosen_by(FOLDS, searched),
            "caveats": [] if searched else [by_hand],
        }

    def fit_predict(self, split: Split, seed: int) -> dict[str, Any]:
        """``predicted``, ``neighbours``, ``cv`` and ``notes``; ``seed`` is that of the folds.

        Raises:
            UsageError: more neighbours than train shapes.
        """
        from pointssl.probes.common import standardise, unit_rows

        train_x, test_x = (unit_rows(x) for x in standardise(split.train_x, split.test_x))
        cv: list[dict[str, Any]] | None = None
        notes: list[str] = []
        if self.neighbours is None:
            k, cv, notes = choose_neighbours(train_x, split.train_y, GRID, FOLDS, seed)
        else:
            k = self.neighbours
            if k > len(train_x):
                raise UsageError(f"--neighbours {k}: there are only {len(train_x)} labels")
        predicted = vote(train_x, split.train_y, test_x, [k])[k]
        return {"neighbours": k, "cv": cv, "predicted": predicted, "notes": notes}


def vote(
    train_x: Floats, train_y: Ints, query_x: Floats, neighbours: Sequence[int]
) -> dict[int, Ints]:
    """For each number of neighbours, the class that they give every query: ``(K,)``.

    Args:
        train_x, query_x: ``(M, D)`` and ``(K, D)``, rows of length 1.
        train_y: ``(M,)`` integers from 0.
        neighbours: numbers of at most M.
    """
    import numpy as np

    from pointssl.probes.common import ROWS

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
    import numpy as np

    from pointssl.probes.protocols import stratified_folds

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
