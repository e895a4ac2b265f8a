"""Whether classes appear by themselves: k-means on the features of test, without any label."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from pointssl.probes.common import Split, check_seeds, mean_std
from pointssl.probes.svm import check_problem, standardise
from pointssl_datasets.base.errors import DataError

MEASURES = ("nmi", "ari")


def cluster(x: NDArray[Any], clusters: int, starts: int, seed: int) -> NDArray[np.int64]:
    """``(M,)`` cluster of each row of ``x (M, D)``: the tightest of ``starts`` runs of k-means.

    Each starts by k-means++ (Arthur and Vassilvitskii, 2007); tight is a small sum of squared
    distances to the centres, so that no label has a part in the choice.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different shapes than clusters
        model = KMeans(clusters, n_init=starts, random_state=seed)
        return model.fit_predict(x).astype(np.int64)


def evaluate_clusters(
    features_by_seed: Sequence[Split], *, starts: int = 10, classes: Sequence[str]
) -> dict[str, Any]:
    """As many clusters of test features as test has classes, once per point-sampling seed.

    Features are standardised on train. NMI is the mutual information of clusters and classes over
    the mean of their entropies, in [0, 1]; ARI is 0 for clusters at random and 1 for the classes
    (Hubert and Arabie, 1985).

    Args:
        starts: of k-means, see :func:`cluster`.
        features_by_seed, classes: as in :func:`pointssl.probes.common.evaluate_seeds`.

    Returns:
        Plain values, fit for JSON: the spread over seeds of ``nmi`` and ``ari``, and the facts of
        the evaluation.

    Raises:
        DataError: features or labels that can't be evaluated, or test has a single class.
    """
    check_seeds(features_by_seed)
    _, train_y, first_x, test_y = features_by_seed[0]
    present = len(np.unique(test_y))
    if present < 2:
        raise DataError(f"clusters need at least two classes in test, which has {present}")
    found = []
    for seed, (train_x, _, test_x, _) in enumerate(features_by_seed):
        check_problem(train_x, train_y, test_x, test_y)
        # float32 as the features are: half the time of k-means.
        features = standardise(train_x, test_x)[1].astype(np.float32)
        groups = cluster(features, present, starts, seed)
        found.append(
            (normalized_mutual_info_score(test_y, groups), adjusted_rand_score(test_y, groups))
        )
    nmi, ari = zip(*found, strict=True)
    return {
        "protocol": "strict",
        "clusters": present,
        "starts": starts,
        "standardised": True,
        "nmi": mean_std(nmi),
        "ari": mean_std(ari),
        "seeds": len(found),
        "train": len(train_y),
        "test": len(test_y),
        "dimension": int(first_x.shape[1]),
        "caveats": [],
        "notes": [],
    }
