"""Few-shot classification by protocol, from features; and what is wrong with each protocol."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pointssl.metrics import class_accuracies, confusion_matrix
from pointssl.probes.episodes import Episode
from pointssl.probes.svm import fit_predict_kernel, kernel_matrices, standardise
from pointssl.reports.tables import owned, percent, remarks, text_table
from pointssl_datasets.base.errors import DataError

C = 1.0
SETTINGS = ((5, 10), (5, 20), (10, 10), (10, 20))
APART = (
    "few-shot numbers of different protocols answer different questions: never put them in one "
    "table"
)


@dataclass(frozen=True, kw_only=True)
class FewshotProtocol:
    """How episodes are drawn and answered.

    Attributes:
        name: as in ``--protocol``.
        query_split: where queries come from; the support is from train.
        queries: of each class, at most.
        at_least: that a class must have.
        runs: episodes of each setting.
        finetune: the whole network is trained on each support; else an SVM on frozen features.
        sampling: which of the stored points are taken.
        points: at most, or None: as the encoder was trained.
        seeds: of the choice of points, or None: as asked for.
        caveats: what a reader must know; printed with every result.
    """

    name: str
    query_split: str
    queries: int
    at_least: int
    runs: int
    finetune: bool
    sampling: str
    points: int | None
    seeds: int | None
    caveats: tuple[str, ...]


FEWSHOT: Mapping[str, FewshotProtocol] = MappingProxyType(
    {
        # C can't be chosen honestly from one or ten shapes a class: it is 1 on features that are
        # standardised on the support, where it hardly matters, as they are separable.
        "strict": FewshotProtocol(
            name="strict",
            query_split="test",
            queries=20,
            at_least=1,
            runs=100,
            finetune=False,
            sampling="random",
            points=None,
            seeds=None,
            caveats=(),
        ),
        # CrossPoint (Afham et al., 2022): eval_ssl_fewshot; 10 runs, 50 in its script.
        "crosspoint": FewshotProtocol(
            name="crosspoint",
            query_split="train",
            queries=20,
            at_least=20,
            runs=10,
            finetune=False,
            sampling="first",
            points=2048,
            seeds=1,
            caveats=(
                "support and query both come from the train split: an encoder pretrained on it "
                "has seen every query",
                "the first points of a file are not a random sample of every file",
                "the original's episodes are not seeded: they can't be asked again, these can",
            ),
        ),
        # Point-MAE (Pang et al., 2022) and its family, after Sharma and Kaul (2020).
        "point-mae": FewshotProtocol(
            name="point-mae",
            query_split="test",
            queries=20,
            at_least=20,
            runs=10,
            finetune=True,
            sampling="random",
            points=None,
            seeds=1,
            caveats=(
                "the public code reports the best epoch by accuracy on the queries; here the last "
                "epoch counts",
                "the folds are drawn here: they are not those published for ModelNet40",
            ),
        ),
    }
)


def score_episode(support_x: NDArray[Any], query_x: NDArray[Any], episode: Episode) -> float:
    """Mean accuracy over the classes of a linear SVC (C = 1) trained on the support, in [0, 1].

    Args:
        support_x, query_x: features ``(S, D)`` and ``(Q, D)`` of the episode's shapes; both are
            standardised by the support alone.
    """
    train, test = standardise(support_x, query_x)
    train_k, test_k = kernel_matrices(train, test)
    return class_mean(fit_predict_kernel(train_k, episode.support_y, test_k, C), episode)


def class_mean(predicted: NDArray[np.int64], episode: Episode) -> float:
    """Each class of the episode weighs the same, however many of its shapes are asked for."""
    matrix = confusion_matrix(episode.query_y, predicted, len(episode.classes))
    return float(class_accuracies(matrix).mean())


def summarise(values: Sequence[float]) -> dict[str, Any]:
    """``mean``, ``std`` (the population's), ``ci95`` (half the width) and the runs themselves.

    The interval is Student's, for the mean over episodes like these: of one dataset and one
    encoder. None for a single run.

    Raises:
        DataError: no values.
    """
    if not values:
        raise DataError("few-shot: there are no episodes")
    half = None
    if len(values) > 1:
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return {
        "mean": float(np.mean(values)),
        "std": float(np.std(values)),
        "ci95": half,
        "per_run": [float(value) for value in values],
    }


def title(setting: Mapping[str, Any]) -> str:
    """``"5-way 10-shot"``."""
    return f"{setting['way']}-way {setting['shot']}-shot"


def format_fewshot(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each setting, the encoders side by side, and what a reader must know.

    Args:
        results: row name -> result with ``settings`` (each of ``way``, ``shot``, ``runs`` and
            ``accuracy`` of :func:`summarise`), ``protocol``, ``how``, ``caveats`` and ``notes``;
            the same settings in each.
    """
    first = next(iter(results.values()))
    rows = []
    for number, setting in enumerate(first["settings"]):
        cells = [interval(result["settings"][number]["accuracy"]) for result in results.values()]
        rows.append([title(setting), str(setting["runs"]), *cells])
    facts = {
        name: [
            f"protocol {result['protocol']}: {result['how']}",
            "accuracy in percent: mean ± standard deviation over episodes [95% interval of the "
            "mean]; each class weighs the same",
            f"{result.get('points')} points, {result.get('sampling')}; k {result.get('k') or '-'}; "
            f"point-sampling seeds: {result['seeds']}",
            *(f"caveat: {line}" for line in result["caveats"]),
            *result["notes"],
            APART,
        ]
        for name, result in results.items()
    }
    header = [f"few-shot, {first['protocol']}", "runs", *results]
    return "\n".join([*text_table(header, rows), "", *remarks(owned(facts))])


def interval(found: Mapping[str, Any]) -> str:
    """``"83.1 ± 4.0 [82.3, 83.9]"``."""
    mean, half = found["mean"], found["ci95"]
    if half is None:
        return percent(mean)
    return f"{percent(mean, found['std'])} [{percent(mean - half)}, {percent(mean + half)}]"
