"""Named evaluation protocols: what is fixed, what is chosen on train, and what is wrong with it.

``strict`` is ours. The others repeat a published system's evaluation to the letter, and say its
flaws beside every result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.resolve import nearest


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How frozen features are evaluated with an SVM.

    Attributes:
        name: as in ``--protocol``.
        standardise: features by the mean and standard deviation of train.
        c: a fixed C, or None: chosen by stratified cross-validation on train.
        c_grid: the values tried when C is chosen.
        folds: of the cross-validation.
        sampling: which of the stored points are taken.
        points: per cloud, or None: as asked for.
        seeds: passes over the data, or None: as asked for.
        caveats: what a reader must know; printed with every result.
    """

    name: str
    standardise: bool
    c: float | None
    c_grid: tuple[float, ...]
    folds: int
    sampling: Literal["first", "random", "fps"]
    points: int | None
    seeds: int | None
    caveats: tuple[str, ...]


C_GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "strict": Protocol(
            name="strict",
            standardise=True,
            c=None,
            c_grid=C_GRID,
            folds=5,
            sampling="random",
            points=None,
            seeds=None,
            caveats=(),
        ),
        # CrossPoint (Afham et al., 2022): train_crosspoint.py; its notebook has C = 0.01.
        "crosspoint": Protocol(
            name="crosspoint",
            standardise=False,
            c=0.1,
            c_grid=C_GRID,
            folds=5,
            sampling="first",
            points=1024,
            seeds=1,
            caveats=(
                "C was chosen by eye: 0.1 in CrossPoint's training code, 0.01 in its notebook",
                "the paper selects the epoch by test accuracy; here the weights are those given",
                "raw features: a fixed C compares their scale as well as what they separate",
                "the first points of a file are not a random sample of every file; one pass, "
                "so no spread is known",
            ),
        ),
    }
)


def find_protocol(name: str) -> Protocol:
    """The protocol called ``name``.

    Raises:
        UsageError: there is none; the known ones are listed.
    """
    if name not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        hint = nearest(name, list(PROTOCOLS))
        raise UsageError(f"--protocol {name!r}: choose one of {known}{hint}")
    return PROTOCOLS[name]


def stratified_subset(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Indices, ascending, of a random share of every class; at least one shape of each.

    With one seed, the smaller of two fractions gives a subset of the larger, so that a curve over
    fractions adds labels and never swaps them.

    Args:
        labels: ``(M,)`` integers.
        fraction: in (0, 1]; a class of n gives ``fraction * n`` rounded to the nearest.

    Raises:
        UsageError: the fraction is outside (0, 1].
        DataError: there are no labels.
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"--label-fraction {fraction}: must be above 0 and at most 1")
    labels = np.asarray(labels)
    if not len(labels):
        raise DataError("there are no train labels to take a share of")
    generator = np.random.default_rng(seed)
    chosen = []
    for value in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == value))
        chosen.append(members[: max(1, int(fraction * len(members) + 0.5))])
    return np.sort(np.concatenate(chosen))


def stratified_folds(
    labels: NDArray[np.int64], folds: int, seed: int, *, chosen: str = "C", flag: str = "--c"
) -> tuple[list[tuple[NDArray[np.int64], NDArray[np.int64]]], list[str]]:
    """Folds in which every class that is validated is also trained on, and notes on what was bent.

    The number of folds falls to the size of the smallest class (2 at least). The one member of a
    class of one is in the training part of every fold, and never validated.

    Args:
        labels: ``(M,)`` integers.
        chosen, flag: what is to be chosen, and the option that gives it by hand: for the error.

    Returns:
        ``(train indices, validation indices)`` of each fold, and lines for the user.

    Raises:
        UsageError: fewer than 2 folds are asked for.
        DataError: no class has two members.
    """
    if folds < 2:
        raise UsageError(f"cross-validation needs at least 2 folds, got {folds}")
    values, counts = np.unique(labels, return_counts=True)
    if not (counts > 1).any():
        raise DataError(
            f"{chosen} can't be chosen by cross-validation: each of {len(values)} classes has one "
            f"train shape. Use more labels (--label-fraction), or give {flag}"
        )
    notes = []
    smallest = int(counts[counts > 1].min())
    if smallest < folds:
        notes.append(
            f"cross-validation has {smallest} folds instead of {folds}: the smallest class has "
            f"{smallest} train shapes"
        )
        folds = smallest
    lonely = np.flatnonzero(np.isin(labels, values[counts == 1]))
    if len(lonely):
        notes.append(
            f"{len(lonely)} classes have one train shape each: it is trained on in every fold of "
            "the cross-validation and never validated"
        )
    rest = np.setdiff1d(np.arange(len(labels)), lonely)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    splits = [
        (np.sort(np.concatenate([rest[fit], lonely])), rest[validate])
        for fit, validate in splitter.split(rest, labels[rest])
    ]
    return splits, notes
