"""Whether classes appear by themselves: k-means on the features of test, without any label."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pointssl.config.options import option
from pointssl.probes.base import Probe, Split
from pointssl_datasets.base.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Clustering(Probe):
    """Cluster frozen features, and compare the clusters with the classes."""

    title: ClassVar[str] = "k-means"
    numbers: ClassVar[Mapping[str, str]] = {"NMI": "nmi", "ARI": "ari"}

    starts: int = option(10, "Starts of k-means; the tightest result counts.", "Evaluation", low=1)

    def metadata(self, split: Split) -> dict[str, Any]:
        common = super().metadata(split)
        return {**common, "clusters": classes_in_test(split), "starts": self.starts}

    def how(self, result: Mapping[str, Any]) -> str:
        return (
            f"k-means with {result['clusters']} clusters, the tightest of {result['starts']} "
            "starts, on test; no label has a part in it"
        )

    def score(self, split: Split, seed: int) -> dict[str, Any]:
        """As many clusters of test features as test has classes, standardised on train.

        NMI is the mutual information of clusters and classes over the mean of their entropies, in
        [0, 1]; ARI is 0 for clusters at random and 1 for the classes (Hubert and Arabie, 1985).

        Raises:
            DataError: test has a single class.
        """
        import numpy as np
        from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

        from pointssl.probes.common import standardise

        # float32 as the features are: half the time of k-means.
        features = standardise(split.train_x, split.test_x)[1].astype(np.float32)
        groups = cluster(features, classes_in_test(split), self.starts, seed)
        return {
            "nmi": normalized_mutual_info_score(split.test_y, groups),
            "ari": adjusted_rand_score(split.test_y, groups),
            "notes": [],
        }


def classes_in_test(split: Split) -> int:
    """How many classes test has.

    Raises:
        DataError: only one.
    """
    present = len({*split.test_y.tolist()})
    if present < 2:
        raise DataError(f"clusters need at least two classes in test, which has {present}")
    return present


def cluster(x: NDArray[Any], clusters: int, starts: int, seed: int) -> NDArray[np.int64]:
    """``(M,)`` cluster of each row of ``x (M, D)``: the tightest of ``starts`` runs of k-means.

    Each starts by k-means++ (Arthur and Vassilvitskii, 2007); tight is a small sum of squared
    distances to the centres, so that no label has a part in the choice.
    """
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different shapes than clusters
        model = KMeans(clusters, n_init=starts, random_state=seed)
        groups: NDArray[np.int64] = model.fit_predict(x).astype(np.int64)
        return groups
