"""A probe where there is no test set: cross-validation on the train split alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl.probes.base import Probe
from pointssl.probes.split import Split

Folds = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]


def cross_validate(
    probe: Probe,
    x: NDArray[Any],
    y: NDArray[np.int64],
    folds: Folds,
    classes: Sequence[str],
) -> dict[str, float]:
    """The mean over ``folds`` of every number of ``probe``, by its key.

    Whatever a probe chooses, it chooses within the part of a fold that is trained on.

    Args:
        x, y: features ``(M, D)`` and labels ``(M,)``.
        folds: rows to train on and rows to score, as
            :func:`pointssl.probes.protocols.stratified_folds` makes them.
        classes: names that the labels index.

    Raises:
        DataError: features or labels that can't be evaluated.
    """
    results = [
        probe.evaluate([Split(x[fit], y[fit], x[held_out], y[held_out])], classes=classes)
        for fit, held_out in folds
    ]
    return {
        key: float(np.mean([result[key]["mean"] for result in results]))
        for key in probe.numbers.values()
    }
