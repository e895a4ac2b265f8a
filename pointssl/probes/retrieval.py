"""Retrieval on frozen features: each test shape asks for the shapes of its class.

A gallery is ranked by cosine similarity of features standardised on train (see
:mod:`pointssl.probes.knn`). No label is used but to count what was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pointssl.probes.base import Probe, Split
from pointssl_datasets.base.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

MEASURES = {"mAP": "map", "P@1": "precision_1", "P@10": "precision_10"}


@dataclass(frozen=True, kw_only=True)
class Retrieval(Probe):
    """Use each shape to retrieve the others of its class."""

    title: ClassVar[str] = "retrieval"
    numbers: ClassVar[Mapping[str, str]] = {
        f"{heading} {gallery}": f"{measure}_{gallery}"
        for gallery in ("test", "train")
        for heading, measure in MEASURES.items()
    }

    def metadata(self, split: Split) -> dict[str, Any]:
        return {**super().metadata(split), "similarity": "cosine"}

    def how(self, result: Mapping[str, Any]) -> str:
        return "each test shape queries the other test shapes, and train, by cosine similarity"

    def score(self, split: Split, seed: int) -> dict[str, Any]:
        """Each of ``MEASURES`` in each gallery, as ``map_test``; ``seed`` is that of the order of
        equally similar shapes."""
        from pointssl.probes.common import standardise, unit_rows

        train, test = (unit_rows(x) for x in standardise(split.train_x, split.test_x))
        found: dict[str, Any] = {"notes": []}
        for name, x, y in (("test", test, split.test_y), ("train", train, split.train_y)):
            scores, alone = ranked_scores(test, split.test_y, x, y, same=name == "test", seed=seed)
            found |= {f"{measure}_{name}": value for measure, value in scores.items()}
            if alone:
                found["notes"].append(
                    f"{alone} test shapes have none of their class to find in {name}"
                )
        return found


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
    import numpy as np

    from pointssl.probes.common import ROWS

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
    means = dict(zip(MEASURES.values(), (sums / counted).tolist(), strict=True))
    return means, len(query_x) - counted
