"""A linear probe on frozen features: multinomial logistic regression, C chosen on train."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from pointssl.probes.common import Split, evaluate_seeds
from pointssl.probes.protocols import stratified_folds
from pointssl.probes.svm import check_c, standardise
from pointssl_datasets.base.errors import UsageError

Ints = NDArray[np.int64]

GRID = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
FOLDS = 5
MOST_STEPS = 500  # of L-BFGS
# Of the gradient, where a fit ends. To compare values of C a rough fit tells as much, in half the
# time.
ROUGH, FINE = 1e-3, 1e-4


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
    if best in (values[0], values[-1]):
        notes.append(
            f"C = {best:g} is the end of the grid that cross-validation searched: a better "
            "one may lie beyond"
        )
    return best, table, list(dict.fromkeys(notes))


def evaluate_linear(
    features_by_seed: Sequence[Split],
    *,
    c: float | None = None,
    label_fraction: float = 1.0,
    classes: Sequence[str],
) -> dict[str, Any]:
    """Logistic regression on standardised features, once per point-sampling seed.

    Args:
        c: None: chosen by cross-validation on train, for each seed.
        features_by_seed, label_fraction, classes: as in
            :func:`pointssl.probes.common.evaluate_seeds`.

    Returns:
        Plain values, as :func:`pointssl.probes.svm_report.evaluate_svm` returns them.

    Raises:
        UsageError: C is not a positive number.
        DataError: features or labels that can't be evaluated.
    """
    if c is not None:
        check_c(c)

    def one_seed(split: Split, seed: int) -> dict[str, Any]:
        # float32 halves the time of a fit, whose error is far below the noise of the features.
        train_x, test_x = (x.astype(np.float32) for x in standardise(split[0], split[2]))
        value, cv = c, None
        notes: list[str] = []
        if value is None:
            value, cv, notes = choose_c(train_x, split[1], GRID, FOLDS, seed)
        (predicted,), converged = fit_path(train_x, split[1], test_x, [value])
        if not converged:
            notes.append(f"the fit at C = {value:g} stopped after {MOST_STEPS} steps")
        return {"c": float(value), "cv": cv, "predicted": predicted, "notes": notes}

    common, entries = evaluate_seeds(
        features_by_seed, one_seed, classes=classes, label_fraction=label_fraction
    )
    searched = c is None
    return {
        "protocol": "strict",
        "classifier": "logistic regression",
        "multi_class": "multinomial",
        "standardised": True,
        "c": [entry["c"] for entry in entries],
        "c_chosen_by": f"by {FOLDS}-fold cross-validation on train" if searched else "fixed",
        "cv": [entry["cv"] for entry in entries] if searched else None,
        **common,
        "caveats": [] if searched else [f"C = {c:g} was given by hand, not chosen on train"],
    }
