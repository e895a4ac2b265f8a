"""A linear probe on frozen features: multinomial logistic regression, C chosen on train."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pointssl.config.options import option
from pointssl.probes.base import Classifier, Split, c_at_the_end, c_by_hand
from pointssl_datasets.base.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
FOLDS = 5
MOST_STEPS = 500  # of L-BFGS
# Of the gradient, where a fit ends. To compare values of C a rough fit tells as much, in half the
# time.
ROUGH, FINE = 1e-3, 1e-4


@dataclass(frozen=True, kw_only=True)
class Linear(Classifier):
    """Fit a logistic regression to frozen features."""

    title: ClassVar[str] = "logistic regression"

    c: float | None = option(
        None,
        "C of the regression; default: chosen by cross-validation on train.",
        "Evaluation",
        low=1e-9,
    )

    def metadata(self, split: Split) -> dict[str, Any]:
        return {
            **super().metadata(split),
            "multi_class": "multinomial",
            "c_chosen_by": self.chosen_by(FOLDS, self.c is None),
            "caveats": c_by_hand(self.c),
        }

    def fit_predict(self, split: Split, seed: int) -> dict[str, Any]:
        """``predicted``, ``c``, ``cv`` and ``notes``; ``seed`` is that of the folds."""
        import numpy as np

        from pointssl.probes.common import standardise

        # float32 halves the time of a fit, whose error is far below the noise of the features.
        train_x, test_x = (x.astype(np.float32) for x in standardise(split.train_x, split.test_x))
        c, cv = self.c, None
        notes: list[str] = []
        if c is None:
            c, cv, notes = choose_c(train_x, split.train_y, GRID, FOLDS, seed)
        (predicted,), converged = fit_path(train_x, split.train_y, test_x, [c])
        if not converged:
            notes.append(f"the fit at C = {c:g} stopped after {MOST_STEPS} steps")
        return {"c": float(c), "cv": cv, "predicted": predicted, "notes": notes}


def fit_path(
    train_x: NDArray[Any],
    train_y: Ints,
    query_x: NDArray[Any],
    grid: Sequence[float],
    tolerance: float = FINE,
) -> tuple[list[Ints], bool]:
    """Predictions ``(K,)`` for each C of an ascending grid, and whether all fits converged.

    The objective is strictly convex, so where the fit of one C starts does not matter to its end:
    each starts from the one before, which saves most of the steps.
    """
    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=MOST_STEPS, tol=tolerance, warm_start=True)
    predictions, converged = [], True
    for c in grid:
        model.set_params(C=c)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train_x, train_y)
        converged &= int(np.max(model.n_iter_)) < MOST_STEPS
        predictions.append(model.predict(query_x))
    return predictions, converged


def choose_c(
    train_x: NDArray[Any], train_y: Ints, grid: Sequence[float], folds: int, seed: int
) -> tuple[float, list[dict[str, float]], list[str]]:
    """The C with the best mean accuracy over stratified folds of train; the smallest of equals.

    Returns:
        C, rows of ``c``, ``mean`` and ``std`` over folds, and lines for the user.

    Raises:
        UsageError: an empty grid, or a C that is not positive.
        DataError: no class has two members.
    """
    import numpy as np

    from pointssl.probes.protocols import stratified_folds

    if not grid:
        raise UsageError("the grid of C is empty")
    values = sorted(grid)
    splits, notes = stratified_folds(train_y, folds, seed)
    scores = []
    for fit, validate in splits:
        guesses, converged = fit_path(train_x[fit], train_y[fit], train_x[validate], values, ROUGH)
        scores.append([float(np.mean(guess == train_y[validate])) for guess in guesses])
        if not converged:
            notes.append(f"some fits of the cross-validation stopped after {MOST_STEPS} steps")
    means, deviations = np.mean(scores, axis=0), np.std(scores, axis=0)
    table = [
        {"c": c, "mean": float(mean), "std": float(std)}
        for c, mean, std in zip(values, means, deviations, strict=True)
    ]
    best = next(row["c"] for row in table if row["mean"] >= means.max() - 1e-12)
    notes += c_at_the_end(best, values)
    return best, table, list(dict.fromkeys(notes))
