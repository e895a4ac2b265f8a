"""What a probe is: options, the numbers that it gives, and how it gets them from features.

A module of a probe imports NumPy and scikit-learn inside its functions only: the command line
imports every probe to show its options, and `--help` must not wait for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pointssl.config.options import Options
from pointssl.probes.split import Split

__all__ = ["Classifier", "Probe", "Split"]


@dataclass(frozen=True, kw_only=True)
class Probe(Options):
    """An evaluation of frozen features. Its fields are its options, its docstring is the help of
    ``pointssl eval-NAME``.

    A probe implements :meth:`score`; one that predicts classes derives from :class:`Classifier`.

    Attributes:
        title: what tables call it.
        numbers: heading in tables -> key of a result; the first is the one to choose epochs by.
        learns: whether it learns from the labels of train, a share of which can then be chosen with
            ``--label-fraction``.
        writes: into ``--out``, for the help.
    """

    title: ClassVar[str]
    numbers: ClassVar[Mapping[str, str]]
    learns: ClassVar[bool] = False
    writes: ClassVar[str] = "results.json and the figure"

    @classmethod
    def variants(cls) -> dict[str, Probe]:
        """The probes of this class that `eval-all` runs, by what tells them apart."""
        return {"": cls()}

    def serving(self) -> dict[str, Any]:
        """How clouds are served, where the user leaves it open: ``sampling``, ``points`` (None: as
        the encoder was trained) and ``seeds`` of the choice of points (None: as asked for)."""
        return {"sampling": "random", "points": None, "seeds": None}

    def metadata(self, split: Split) -> dict[str, Any]:
        """Plain values that every result states: ``protocol``, ``standardised``, ``caveats``."""
        return {"protocol": "strict", "standardised": True, "caveats": []}

    def how(self, result: Mapping[str, Any]) -> str:
        """What was done, in a line below the table of results."""
        raise NotImplementedError

    def score(self, split: Split, seed: int) -> dict[str, Any]:
        """Every number of :attr:`numbers` by its key, and ``notes``: lines for the user."""
        raise NotImplementedError

    def evaluate(
        self, passes: Sequence[Split], *, classes: Sequence[str], label_fraction: float = 1.0
    ) -> dict[str, Any]:
        """Numbers over all point-sampling seeds; seed number i is also the seed of :meth:`score`.

        Args:
            passes: a split for each seed, all with the same labels.
            classes: names that the labels index.
            label_fraction: share of the train labels, for probes that learn from them.

        Returns:
            Plain values, fit for JSON: mean and standard deviation (the population's) of every
            number, and the facts of the evaluation.

        Raises:
            DataError: features or labels that can't be evaluated.
        """
        from pointssl.probes.common import score_seeds

        found = score_seeds(passes, self.score, self.numbers.values())
        return {**self.metadata(Split(*passes[0])), **found}


class Classifier(Probe):
    """A probe that learns from train and predicts the class of every test shape.

    It implements :meth:`fit_predict`. What it chooses on train it returns under a name, and
    :meth:`metadata` says under ``NAME_chosen_by`` how.
    """

    numbers: ClassVar[Mapping[str, str]] = {"accuracy": "accuracy"}
    learns: ClassVar[bool] = True
    writes: ClassVar[str] = "results.json and figures"

    def metadata(self, split: Split) -> dict[str, Any]:
        return {**super().metadata(split), "classifier": self.title}

    @staticmethod
    def chosen_by(folds: int, searched: bool) -> str:
        """The value of ``NAME_chosen_by``."""
        return f"by {folds}-fold cross-validation on train" if searched else "fixed"

    def fit_predict(self, split: Split, seed: int) -> dict[str, Any]:
        """``predicted (K,)`` and ``notes``; what was chosen, and ``cv``, the rows of the
        cross-validation that chose it, or None."""
        raise NotImplementedError

    def evaluate(
        self, passes: Sequence[Split], *, classes: Sequence[str], label_fraction: float = 1.0
    ) -> dict[str, Any]:
        """As :meth:`Probe.evaluate`: ``accuracy``, ``class_accuracy``, ``per_class`` and
        ``confusion``, see :func:`pointssl.probes.common.evaluate_seeds`."""
        from pointssl.probes.common import evaluate_seeds

        common, entries = evaluate_seeds(
            passes, self.fit_predict, classes=classes, label_fraction=label_fraction
        )
        chosen: dict[str, Any] = {
            key: [entry[key] for entry in entries]
            for key in entries[0]
            if key not in ("predicted", "notes", "train")
        }
        if all(rows is None for rows in chosen.get("cv", ())):
            chosen["cv"] = None
        metadata = self.metadata(Split(*passes[0]))
        return {**metadata, **chosen, **common}


def c_by_hand(c: float | None) -> list[str]:
    """The caveat of a C that the user gave; none where it is None."""
    return [] if c is None else [f"C = {c:g} was given by hand, not chosen on train"]


def c_at_the_end(c: float, grid: Sequence[float]) -> list[str]:
    """A note if C is the smallest or largest that was tried."""
    if c not in (min(grid), max(grid)):
        return []
    return [
        f"C = {c:g} is the end of the grid that cross-validation searched: a better "
        "one may lie beyond"
    ]
