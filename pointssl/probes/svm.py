"""A support vector machine on frozen features, by a named protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pointssl.config.options import option
from pointssl.probes.base import Classifier, Probe, Split, c_at_the_end, c_by_hand

if TYPE_CHECKING:
    from pointssl.probes.protocols import Protocol


@dataclass(frozen=True, kw_only=True)
class Svm(Classifier):
    """Fit a linear SVM to frozen features, beside a random encoder's."""

    title: ClassVar[str] = "SVM"

    protocol: Literal["strict", "crosspoint"] = option(
        "strict",
        "strict: standardised, C by cross-validation on train, several seeds; "
        "crosspoint: raw features, first points, fixed C.",
        "Evaluation",
    )
    c: float | None = option(
        None, "C of the SVM, instead of the protocol's.", "Evaluation", low=1e-9
    )
    kernel: Literal["linear", "rbf"] = option("linear", "Kernel of the SVM.", "Evaluation")
    all_protocols: bool = option(  # an older name of `eval-all`
        False,
        "Run every evaluation that trains no network, for one table (as eval-all).",
        "Evaluation",
    )

    @classmethod
    def variants(cls) -> dict[str, Probe]:
        return {"strict": cls(), "crosspoint": cls(protocol="crosspoint")}

    def _protocol(self) -> Protocol:
        from pointssl.probes.protocols import find_protocol

        return find_protocol(self.protocol)

    def serving(self) -> dict[str, Any]:
        protocol = self._protocol()
        return {
            "sampling": protocol.sampling,
            "points": protocol.points,
            "seeds": protocol.seeds,
        }

    def metadata(self, split: Split) -> dict[str, Any]:
        protocol = self._protocol()
        searched = self.c is None and protocol.c is None
        return {
            "protocol": protocol.name,
            "classifier": "SVC",
            "kernel": self.kernel,
            "multi_class": "one-vs-one",
            "standardised": protocol.standardise,
            "c_chosen_by": self.chosen_by(protocol.folds, searched),
            "caveats": [*protocol.caveats, *c_by_hand(self.c)],
        }

    def fit_predict(self, split: Split, seed: int) -> dict[str, Any]:
        """``predicted``, ``c``, ``cv`` and ``notes``; ``seed`` is that of the folds."""
        from pointssl.probes.common import standardise
        from pointssl.probes.gram_svm import choose_c, fit_predict_kernel, kernel_matrices
        from pointssl.probes.protocols import stratified_folds

        protocol = self._protocol()
        train_x, train_y, test_x, _ = split
        if protocol.standardise:
            train_x, test_x = standardise(train_x, test_x)
        train_k, test_k = kernel_matrices(train_x, test_x, self.kernel)
        notes: list[str] = []
        cv = None
        c = protocol.c if self.c is None else self.c
        if c is None:
            c, table = choose_c(train_k, train_y, protocol.c_grid, protocol.folds, seed)
            cv = [{"c": tried, "mean": mean, "std": std} for tried, (mean, std) in table.items()]
            notes = stratified_folds(train_y, protocol.folds, seed)[1]
            notes += c_at_the_end(c, protocol.c_grid)
        predicted = fit_predict_kernel(train_k, train_y, test_k, c)
        return {"c": float(c), "cv": cv, "predicted": predicted, "notes": notes}
