"""A support vector machine on frozen features, by a named protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pointssl.config.options import option
from pointssl.probes.base import Classifier, Probe, Split


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

    def serving(self) -> dict[str, Any]:
        from pointssl.probes.protocols import PROTOCOLS

        protocol = PROTOCOLS[self.protocol]
        return {
            "sampling": protocol.sampling,
            "points": protocol.points,
            "seeds": protocol.seeds,
        }

    def metadata(self, split: Split) -> dict[str, Any]:
        from pointssl.probes.protocols import PROTOCOLS

        protocol = PROTOCOLS[self.protocol]
        caveats = list(protocol.caveats)
        if self.c is not None:
            caveats.append(f"C = {self.c:g} was given by hand, not chosen on train")
        searched = self.c is None and protocol.c is None
        by = f"by {protocol.folds}-fold cross-validation on train" if searched else "fixed"
        return {
            "protocol": protocol.name,
            "classifier": "SVC",
            "kernel": self.kernel,
            "multi_class": "one-vs-one",
            "standardised": protocol.standardise,
            "c_chosen_by": by,
            "caveats": caveats,
        }

    def fit_predict(self, split: Split, seed: int) -> dict[str, Any]:
        """``predicted``, ``c``, ``cv`` and ``notes``; ``seed`` is that of the folds."""
        from pointssl.probes.common import standardise
        from pointssl.probes.gram_svm import choose_c, fit_predict_kernel, kernel_matrices
        from pointssl.probes.protocols import PROTOCOLS, stratified_folds

        protocol = PROTOCOLS[self.protocol]
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
            if c in (min(protocol.c_grid), max(protocol.c_grid)):
                notes.append(
                    f"C = {c:g} is the end of the grid that cross-validation searched: a better "
                    "one may lie beyond"
                )
        predicted = fit_predict_kernel(train_k, train_y, test_k, c)
        return {"c": float(c), "cv": cv, "predicted": predicted, "notes": notes}
