"""Kernel SVMs on frozen features, with the kernel matrix computed once by one matrix product.

scikit-learn's ``SVC(kernel="linear")`` asks libsvm for one dot product at a time, and again for
every C and every fold. Here the Gram matrix is one BLAS call; the folds of a cross-validation are
sub-matrices of it, and libsvm solves the same dual problem on given numbers, so that predictions
are those of scikit-learn. SVC is one-vs-one, and its loss is the hinge: accuracies of LinearSVC
(one-vs-rest, squared hinge) are not comparable.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.svm import SVC

from pointssl.probes.common import check_problem
from pointssl.probes.protocols import stratified_folds
from pointssl_datasets.base.errors import DataError, UsageError, UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Copies of the Gram matrix that the folds may take together before they run one after the other.
FOLD_BYTES = 2**30


def gram(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """Inner products of the rows of ``a (M, D)`` and ``b (K, D)``: ``(M, K)`` float64.

    Pass the same array twice for a square one: BLAS then computes half of it, and it is exactly
    symmetric.

    Raises:
        UserError: the matrix does not fit in memory.
    """
    left = np.asarray(a, np.float64)
    right = left if b is a else np.asarray(b, np.float64)
    try:
        return np.matmul(left, right.T)
    except MemoryError:
        size = len(left) * len(right) * 8 / 2**30
        raise UserError(
            f"the Gram matrix of {len(left)} x {len(right)} shapes needs {size:.1f} GiB of memory; "
            "use fewer train shapes (--label-fraction)"
        ) from None


def kernel_matrices(
    train_x: NDArray[Any], test_x: NDArray[Any], kernel: str = "linear"
) -> tuple[Floats, Floats]:
    """``K(train, train) (M, M)`` and ``K(test, train) (K, M)``, float64.

    ``rbf`` is ``exp(-gamma |a - b|^2)`` with scikit-learn's ``gamma="scale"``: one over the number
    of features times the variance of all numbers in ``train_x``.

    Raises:
        UsageError: an unknown kernel.
        UserError: the matrices do not fit in memory.
    """
    if kernel not in ("linear", "rbf"):
        raise UsageError(f"--kernel {kernel!r}: choose one of linear, rbf")
    train = np.asarray(train_x, np.float64)
    test = np.asarray(test_x, np.float64)
    inner_train, inner_test = gram(train, train), gram(test, train)
    if kernel == "linear":
        return inner_train, inner_test
    variance = float(train.var())
    gamma = 1.0 / (train.shape[1] * variance) if variance > 0 else 1.0
    train_square = np.einsum("md,md->m", train, train)
    test_square = np.einsum("kd,kd->k", test, test)
    return (
        _rbf(inner_train, train_square, train_square, gamma),
        _rbf(inner_test, test_square, train_square, gamma),
    )


def _rbf(inner: Floats, row_square: Floats, column_square: Floats, gamma: float) -> Floats:
    """``exp(-gamma (|a|^2 + |b|^2 - 2 a.b))``, written over ``inner`` to save memory."""
    inner *= -2.0
    inner += row_square[:, None]
    inner += column_square
    np.maximum(inner, 0.0, out=inner)  # rounding takes the distance of equal rows below zero
    inner *= -gamma
    return np.exp(inner, out=inner)


def fit_predict_kernel(train_k: Floats, labels: Ints, test_k: Floats, c: float) -> Ints:
    """Labels that an SVC trained on ``train_k (M, M)``, ``labels (M,)`` gives ``test_k (K, M)``.

    Raises:
        UsageError: C is not a positive number.
    """
    check_c(c)
    return SVC(kernel="precomputed", C=c).fit(train_k, labels).predict(test_k)


def fit_predict(
    train_x: NDArray[Any],
    train_y: Ints,
    test_x: NDArray[Any],
    c: float,
    kernel: str = "linear",
) -> Ints:
    """What ``SVC(kernel=kernel, C=c).fit(train_x, train_y).predict(test_x)`` gives, sooner.

    The products differ from libsvm's own in the last bit, so only a shape that lies on a boundary
    to within the solver's tolerance could be labelled otherwise.

    Args:
        train_x: ``(M, D)``, used as they are (see
            :func:`pointssl.probes.common.standardise`).
        train_y: ``(M,)`` integers, at least two different ones.
        test_x: ``(K, D)``.

    Returns:
        ``(K,)`` labels.

    Raises:
        UsageError: C is not a positive number, or the kernel unknown.
        DataError: shapes that don't fit, features that are not finite, or a single class.
    """
    check_c(c)
    check_problem(train_x, train_y, test_x)
    train_k, test_k = kernel_matrices(train_x, test_x, kernel)
    return fit_predict_kernel(train_k, np.asarray(train_y), test_k, c)


def choose_c(
    gram_train: Floats,
    labels: Ints,
    grid: Sequence[float],
    folds: int = 5,
    seed: int = 0,
    *,
    threads: int | None = None,
) -> tuple[float, dict[float, tuple[float, float]]]:
    """The C of ``grid`` with the best mean accuracy over stratified folds of train.

    Of equally good ones the smallest: the widest margin. Folds and values of C run in threads
    (libsvm releases the interpreter's lock), and the result does not depend on their number.

    Args:
        gram_train: kernel matrix of train with itself, ``(M, M)``.
        labels: ``(M,)`` integers.
        threads: default: every core.

    Returns:
        The best C, and ``{c: (mean, standard deviation)}`` of the accuracy over folds.

    Raises:
        UsageError: an empty grid, a C that is not positive, fewer than 2 folds.
        DataError: fewer than two classes, or no class has two members.
    """
    if not len(grid):
        raise UsageError("the grid of C is empty")
    for c in grid:
        check_c(c)
    labels = np.asarray(labels)
    if len(np.unique(labels)) < 2:
        raise DataError(f"an SVM needs at least two classes, train has {len(np.unique(labels))}")
    splits, _ = stratified_folds(labels, folds, seed)
    # A large C takes longest: started first, it does not run alone at the end.
    values = sorted({float(c) for c in grid}, reverse=True)
    together = max(1, FOLD_BYTES // max(gram_train.nbytes, 1))
    scores: dict[float, list[float]] = {c: [] for c in values}
    for first in range(0, len(splits), together):
        blocks = [
            (gram_train[np.ix_(fit, fit)], labels[fit], gram_train[np.ix_(val, fit)], labels[val])
            for fit, val in splits[first : first + together]
        ]
        jobs = [(c, block) for c in values for block in blocks]
        found = Parallel(n_jobs=threads or -1, prefer="threads")(
            delayed(_accuracy)(c, *block) for c, block in jobs
        )
        for (c, _), accuracy in zip(jobs, found, strict=True):
            scores[c].append(accuracy)
    table = {c: (float(np.mean(scores[c])), float(np.std(scores[c]))) for c in sorted(values)}
    best = max(mean for mean, _ in table.values())
    return next(c for c, (mean, _) in table.items() if mean >= best - 1e-12), table


def _accuracy(
    c: float, train_k: Floats, train_y: Ints, validate_k: Floats, validate_y: Ints
) -> float:
    return float(np.mean(fit_predict_kernel(train_k, train_y, validate_k, c) == validate_y))


def check_c(c: float) -> None:
    """Raises UsageError unless C is a positive, finite number."""
    if not (math.isfinite(c) and c > 0):
        raise UsageError(f"--c {c}: must be a positive number")
