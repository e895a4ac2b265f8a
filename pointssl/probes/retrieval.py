"""Retrieval on frozen features: each test shape asks for the shapes of its class.

A gallery is ranked by cosine similarity of features standardised on train (see
:mod:`pointssl.probes.knn`). No label is used but to count what was found.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl.probes.common import Split, check_seeds, mean_std
from pointssl.probes.knn import ROWS, unit_rows
from pointssl.probes.svm import check_problem, standardise
from pointssl_datasets.base.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GALLERIES = ("test", "train")
MEASURES = ("map", "precision_1", "precision_10")


def ranked_scores(
    query_x: Floats, query_y: Ints, gallery_x: Floats, gallery_y: Ints, *, same: bool, seed: int
) -> tuple[dict[str, float], int]:
    """Means over the queries of average precision and of precision at 1 and 10, in [0, 1].

    The average precision of a query is the mean, over the shapes of its class, of the share of its
    class among all that are ranked as high (not interpolated). Equal similarities are ranked at
    random: in the order of the files, which is often by class, a collapsed encoder would look good.

    Args:
        query_x, gallery_x: ``(K, D)``, ``(G, D)``, rows of length 1.
        same: query and gallery are the same shapes, and none finds itself.
        seed: of the order of equals.

    Returns:
        the means by name, and how many queries were left out since the gallery has none of their
        class.

    Raises:
        DataError: no query has a shape of its class in the gallery.
    """
    order = np.random.default_rng(seed).permutation(len(gallery_x))
    gallery_x, gallery_y = gallery_x[order], gallery_y[order]
    sums, counted = np.zeros(len(MEASURES)), 0
    size = len(gallery_x) - same
    for first in range(0, len(query_x), ROWS):
        rows = np.arange(first, min(first + ROWS, len(query_x)))
        similar = query_x[rows] @ gallery_x.T
        if same:
            similar[order[None, :] == rows[:, None]] = -np.inf
        ranks = np.argsort(-similar, axis=1, kind="stable")[:, :size]
        hits = gallery_y[ranks] == query_y[rows, None]
        relevant = hits.sum(axis=1)
        hits, relevant = hits[relevant > 0], relevant[relevant > 0]
        precision = hits.cumsum(axis=1) / np.arange(1, size + 1)
        average = (precision * hits).sum(axis=1) / relevant
        at_10 = hits[:, :10].mean(axis=1)
        sums += average.sum(), hits[:, :1].sum(), at_10.sum()
        counted += len(hits)
    if not counted:
        raise DataError("retrieval: no test shape has another shape of its class to find")
    return dict(zip(MEASURES, (sums / counted).tolist(), strict=True)), len(query_x) - counted


def evaluate_retrieval(
    features_by_seed: Sequence[Split], *, classes: Sequence[str]
) -> dict[str, Any]:
    """Every test shape queries the other test shapes, and train, once per point-sampling seed.

    Args:
        features_by_seed, classes: as in :func:`pointssl.probes.common.evaluate_seeds`.

    Returns:
        Plain values, fit for JSON: the spread over seeds of each of ``MEASURES`` in each of
        ``GALLERIES``, as ``map_test``, and the facts of the evaluation.

    Raises:
        DataError: features or labels that can't be evaluated.
    """
    check_seeds(features_by_seed)
    _, train_y, first_x, test_y = features_by_seed[0]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in GALLERIES}
    notes: list[str] = []
    for seed, (train_x, _, test_x, _) in enumerate(features_by_seed):
        check_problem(train_x, train_y, test_x, test_y)
        train, test = (unit_rows(x) for x in standardise(train_x, test_x))
        for name, x, y in (("test", test, test_y), ("train", train, train_y)):
            scores, alone = ranked_scores(test, test_y, x, y, same=name == "test", seed=seed)
            found[name].append(scores)
            if alone:
                notes.append(f"{alone} test shapes have none of their class to find in {name}")
    return {
        "protocol": "strict",
        "similarity": "cosine",
        "standardised": True,
        **{
            f"{measure}_{name}": mean_std([row[measure] for row in rows])
            for name, rows in found.items()
            for measure in MEASURES
        },
        "seeds": len(features_by_seed),
        "train": len(train_y),
        "test": len(test_y),
        "dimension": int(first_x.shape[1]),
        "caveats": [],
        "notes": list(dict.fromkeys(notes)),
    }
