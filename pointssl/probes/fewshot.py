"""Few-shot classification by protocol, from features; and what is wrong with each protocol."""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pointssl.config.options import option
from pointssl.probes.base import Probe, Split
from pointssl_datasets.base.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pointssl.probes.episodes import Episode

C = 1.0
SETTINGS = ((5, 10), (5, 20), (10, 10), (10, 20))


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


@dataclass(frozen=True, kw_only=True)
class FewShot(Probe):
    """Classify from only a few shapes of a few classes."""

    title: ClassVar[str] = "few-shot"
    numbers: ClassVar[Mapping[str, str]] = {"accuracy": "accuracy"}
    writes: ClassVar[str] = "results.json, episodes.json and the figure"

    protocol: Literal["strict", "crosspoint", "point-mae"] = option(
        "strict",
        "strict: support from train, query from test, frozen features; crosspoint: both from "
        "train; point-mae: the whole network is fine-tuned on each support.",
        "Evaluation",
    )
    way: tuple[str, ...] = option(
        (), "Classes of an episode (repeatable); default: 5 and 10.", "Evaluation"
    )
    shot: tuple[str, ...] = option(
        (), "Support shapes of each class (repeatable); default: 10 and 20.", "Evaluation"
    )
    runs: int | None = option(
        None,
        "Episodes per setting; default: 100 under strict, else 10.",
        "Evaluation",
        low=1,
    )
    episode_seed: int = option(0, "Seed for drawing the episodes.", "Evaluation", low=0)
    episodes: Path | None = option(
        None, "Use the episodes in this file, which an earlier evaluation wrote.", "Evaluation"
    )
    epochs: int = option(
        150, "Epochs of fine-tuning on each support (point-mae).", "Evaluation", low=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag, values, low in (("--way", self.way, 2), ("--shot", self.shot, 1)):
            for value in values:
                if not value.isdecimal() or int(value) < low:
                    raise UsageError(f"{flag} {value}: must be a whole number, at least {low}")
        if self.episodes is not None and (self.way or self.shot or self.runs):
            raise UsageError(
                f"--episodes {self.episodes} says ways, shots and runs: leave --way, --shot and "
                "--runs out"
            )

    def choice(self) -> dict[str, Any]:
        """The settings, and all that :func:`~pointssl.probes.episodes.choose_episodes` needs to
        draw their episodes."""
        protocol = FEWSHOT[self.protocol]
        settings = list(SETTINGS)
        if self.way or self.shot:
            ways, shots = self.way or ("5", "10"), self.shot or ("10", "20")
            settings = [(int(way), int(shot)) for way, shot in product(ways, shots)]
        return {
            "settings": list(dict.fromkeys(settings)),
            "query_split": protocol.query_split,
            "queries": protocol.queries,
            "at_least": protocol.at_least,
            "runs": self.runs or protocol.runs,
            "seed": self.episode_seed,
            "optional": not (self.way and self.shot),
        }

    def metadata(self, split: Split) -> dict[str, Any]:
        caveats = list(FEWSHOT[self.protocol].caveats)
        return {"protocol": self.protocol, "standardised": True, "caveats": caveats}

    def how(self, result: Mapping[str, Any]) -> str:
        svc = "linear SVC (C = 1, one-vs-one) on frozen features, standardised on the support"
        return f"{svc}; {self.drawn_from()}"

    def drawn_from(self) -> str:
        """Where support and queries come from, in words."""
        protocol = FEWSHOT[self.protocol]
        return (
            f"support from train, up to {protocol.queries} queries a class from "
            f"{protocol.query_split}"
        )

    def score(self, split: Split, seed: int) -> dict[str, Any]:
        """The mean accuracy over the episodes of all settings, with the support from train.

        Raises:
            UsageError: the protocol fine-tunes the encoder, which features can't tell.
            DataError: no setting that the data has enough shapes for.
        """
        import numpy as np

        from pointssl.probes.episodes import choose_episodes

        if FEWSHOT[self.protocol].finetune:
            raise UsageError(f"--protocol {self.protocol} trains the encoder: use eval-fewshot")
        classes = [str(label) for label in range(int(split.train_y.max()) + 1)]
        questions, notes = choose_episodes(split.train_y, split.test_y, classes, **self.choice())
        query_x = split.test_x if FEWSHOT[self.protocol].query_split == "test" else split.train_x
        found = [
            score_episode(split.train_x[episode.support], query_x[episode.query], episode)
            for _, _, episodes in questions
            for episode in episodes
        ]
        return {"accuracy": float(np.mean(found)), "notes": notes}


def score_episode(support_x: NDArray[Any], query_x: NDArray[Any], episode: Episode) -> float:
    """Mean accuracy over the classes of a linear SVC (C = 1) trained on the support, in [0, 1].

    Args:
        support_x, query_x: features ``(S, D)`` and ``(Q, D)`` of the episode's shapes; both are
            standardised by the support alone.
    """
    from pointssl.probes.common import standardise
    from pointssl.probes.gram_svm import fit_predict_kernel, kernel_matrices

    train, test = standardise(support_x, query_x)
    train_k, test_k = kernel_matrices(train, test)
    return class_mean(fit_predict_kernel(train_k, episode.support_y, test_k, C), episode)


def class_mean(predicted: NDArray[np.int64], episode: Episode) -> float:
    """Each class of the episode weighs the same, however many of its shapes are asked for."""
    from pointssl.metrics import class_accuracies, confusion_matrix

    matrix = confusion_matrix(episode.query_y, predicted, len(episode.classes))
    return float(class_accuracies(matrix).mean())


def summarise(values: Sequence[float]) -> dict[str, Any]:
    """``mean``, ``std`` (the population's), ``ci95`` (half the width) and the runs themselves.

    The interval is Student's, for the mean over episodes like these: of one dataset and one
    encoder. None for a single run.

    Raises:
        DataError: no values.
    """
    import numpy as np
    from scipy import stats

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
