"""Probes: what evaluates the features of a frozen encoder.

To add one, derive a dataclass from :class:`pointssl.probes.base.Probe` or
:class:`~pointssl.probes.base.Classifier` in one file and name it here. Its fields become the flags
of ``pointssl eval-NAME``, and `eval-all` and `pretrain --probe NAME` include it.
"""

PROBES: dict[str, str] = {
    "svm": "pointssl.probes.svm:Svm",
    "knn": "pointssl.probes.knn:Knn",
    "linear": "pointssl.probes.linear:Linear",
    "fewshot": "pointssl.probes.fewshot:FewShot",
    "cluster": "pointssl.probes.clustering:Clustering",
    "retrieval": "pointssl.probes.retrieval:Retrieval",
}
