"""Kernel SVMs: every prediction as scikit-learn's, from a Gram matrix computed once."""

import os

import h5py
import numpy as np
import pytest
from shared import SHARED, needs_shared
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from pointssl.probes import gram_svm as svm
from pointssl.probes.common import check_problem, standardise
from pointssl.probes.protocols import stratified_folds
from pointssl_datasets.base.errors import DataError, UsageError, UserError


def problem(seed, train, test, dimension, classes, *, unbalanced=False, pooled=False):
    """Overlapping classes as float32; ``pooled``: offset, non-negative, some constant features."""
    rng = np.random.default_rng(seed)
    share = np.arange(1, classes + 1) ** (2.0 if unbalanced else 0.0)
    centres = rng.normal(size=(classes, dimension))

    def split(n):
        labels = rng.choice(classes, size=n, p=share / share.sum())
        labels[: 2 * classes] = np.tile(np.arange(classes), 2)[:n]
        x = centres[labels] * 2 / np.sqrt(dimension) + rng.normal(size=(n, dimension))
        if pooled:
            x = np.maximum(x + 0.5, 0) * np.geomspace(1e-3, 3, dimension)
            x[:, ::7] = 0.1
        return x.astype(np.float32), labels

    return *split(train), *split(test)


PROBLEMS = {
    "two": {"train": 60, "test": 80, "dimension": 8, "classes": 2},
    "three-wide": {"train": 90, "test": 80, "dimension": 300, "classes": 3},
    "ten-pooled": {"train": 300, "test": 200, "dimension": 256, "classes": 10, "pooled": True},
    "unbalanced": {"train": 400, "test": 200, "dimension": 64, "classes": 21, "unbalanced": True},
    "unbalanced-pooled": {
        **{"train": 250, "test": 200, "dimension": 512, "classes": 15},
        **{"unbalanced": True, "pooled": True},
    },
}


@pytest.mark.parametrize("c", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("name", PROBLEMS)
def test_predictions_equal_scikit_learn(name, c):
    train_x, train_y, test_x, test_y = problem(3, **PROBLEMS[name])
    for a, b in ((train_x, test_x), standardise(train_x, test_x)):
        theirs = SVC(kernel="linear", C=c).fit(a, train_y).predict(b)
        ours = svm.fit_predict(a, train_y, b, c)
        assert np.array_equal(ours, theirs)
    if c == 0.1:  # the problems are neither trivial nor hopeless, so equality says something
        assert 1 / len(np.unique(train_y)) < np.mean(ours == test_y) < 1


@pytest.mark.parametrize("name", PROBLEMS)
def test_rbf_equals_scikit_learn_with_gamma_scale(name):
    train_x, train_y, test_x, _ = problem(5, **PROBLEMS[name])
    theirs = SVC(kernel="rbf", C=2.0).fit(train_x.astype(float), train_y).predict(test_x)
    assert np.array_equal(svm.fit_predict(train_x, train_y, test_x, 2.0, "rbf"), theirs)


def test_rbf_of_constant_features_has_gamma_one():
    k, _ = svm.kernel_matrices(np.ones((3, 2)), np.ones((1, 2)), "rbf")
    assert np.array_equal(k, np.ones((3, 3)))


def test_labels_need_not_start_at_zero():
    train_x, train_y, test_x, _ = problem(6, 60, 40, 8, 3)
    plain = svm.fit_predict(train_x, train_y, test_x, 1.0)
    assert np.array_equal(svm.fit_predict(train_x, 10 * train_y + 7, test_x, 1.0), 10 * plain + 7)


@needs_shared
def test_predictions_equal_scikit_learn_on_real_clouds():
    """Sorted coordinates of ModelNet10's test clouds: crude features, real correlations."""
    path = next((SHARED / "data" / "modelnet10_hdf5_1024").rglob("*test*.h5"))
    with h5py.File(path) as file:
        clouds, labels = file["data"][:600], file["label"][:600].ravel().astype(np.int64)
    x = np.sort(clouds, axis=1)[:, ::16].reshape(len(clouds), -1).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:400], order[400:]
    for c in (0.01, 1.0):
        theirs = SVC(kernel="linear", C=c).fit(x[train], labels[train]).predict(x[test])
        ours = svm.fit_predict(x[train], labels[train], x[test], c)
        assert np.array_equal(ours, theirs)
    assert np.mean(ours == labels[test]) > 0.5


def test_gram_is_every_inner_product():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 7)).astype(np.float32), rng.normal(size=(3, 7)).astype(np.float32)
    slow = [[sum(float(p) * float(q) for p, q in zip(u, v, strict=True)) for v in b] for u in a]
    assert svm.gram(a, b).dtype == np.float64
    np.testing.assert_allclose(svm.gram(a, b), slow, rtol=1e-12)
    assert np.array_equal(svm.gram(a, a), svm.gram(a, a).T)


def test_gram_that_does_not_fit_is_one_line():
    huge = np.broadcast_to(np.float64(0), (2**24, 1))  # 2 PiB of products
    with pytest.raises(UserError, match=r"16777216 x 16777216 shapes needs .* GiB"):
        svm.gram(huge, huge)


def test_standardise_equals_standard_scaler_and_uses_train_alone():
    train_x, _, test_x, _ = problem(7, 200, 50, 40, 4, pooled=True)
    scaler = StandardScaler().fit(train_x.astype(np.float64))
    train, test = standardise(train_x, test_x)
    np.testing.assert_allclose(train, scaler.transform(train_x.astype(np.float64)), atol=1e-9)
    np.testing.assert_allclose(test, scaler.transform(test_x.astype(np.float64)), atol=1e-9)
    other = standardise(train_x, 100 * test_x)[0]
    assert np.array_equal(train, other)


def test_a_constant_feature_is_not_blown_up():
    x = np.full((50, 3), 0.1)  # in float64 its mean is rounded, and its deviation not quite 0
    assert x.std(axis=0).min() > 0
    train, test = standardise(x, x + 2)
    np.testing.assert_allclose(train, 0, atol=1e-12)
    np.testing.assert_allclose(test, 2, atol=1e-12)


@pytest.mark.parametrize("fold_bytes", [1, 2**30])
@pytest.mark.parametrize("name", ["ten-pooled", "unbalanced", "two"])
def test_choose_c_equals_cross_validation_by_scikit_learn(name, fold_bytes, monkeypatch):
    monkeypatch.setattr(svm, "FOLD_BYTES", fold_bytes)  # fold after fold, and all together
    x, y, _, _ = problem(11, **PROBLEMS[name])
    grid = [1.0, *np.geomspace(1e-4, 0.1, 13).tolist()]
    best, table = svm.choose_c(svm.gram(x, x), y, grid, 4, seed=2)
    splits, _ = stratified_folds(y, 4, 2)
    for c in grid:
        scores = cross_val_score(SVC(kernel="linear", C=c), x, y, cv=splits)
        assert table[c] == pytest.approx((scores.mean(), scores.std()), abs=1e-12)
    assert list(table) == sorted(grid)
    top = max(mean for mean, _ in table.values())
    assert best == min(c for c, (mean, _) in table.items() if mean == pytest.approx(top, abs=1e-9))


def test_choose_c_takes_the_smallest_of_equally_good_ones():
    y = np.repeat([0, 1], 20)
    x = y[:, None] * 10.0 + np.random.default_rng(0).normal(size=(40, 1))
    best, table = svm.choose_c(svm.gram(x, x), y, [10.0, 1e-6, 1.0, 0.1], 5)
    assert table[0.1][0] == table[1.0][0] == table[10.0][0] == 1.0
    assert best == min(c for c, (mean, _) in table.items() if mean == 1.0)


def test_choose_c_does_not_depend_on_threads_but_on_the_seed():
    x, y, _, _ = problem(12, **PROBLEMS["unbalanced"])
    k = svm.gram(x, x)
    one = svm.choose_c(k, y, [0.01, 1.0], 5, seed=0, threads=1)
    assert one == svm.choose_c(k, y, [0.01, 1.0], 5, seed=0, threads=max(2, os.cpu_count() or 2))
    assert one[1] != svm.choose_c(k, y, [0.01, 1.0], 5, seed=1)[1]


def test_choose_c_with_a_class_of_one_and_a_class_of_two():
    x, y, _, _ = problem(13, 60, 10, 20, 3)
    y[-1], y[-3:-1] = 7, 8
    _, table = svm.choose_c(svm.gram(x, x), y, [0.1], 5)
    assert 0 < table[0.1][0] <= 1
    with pytest.raises(DataError, match="each of 4 classes has one train shape"):
        svm.choose_c(np.eye(4), np.arange(4), [0.1], 5)


@pytest.mark.parametrize("c", [0, -1.0, float("nan"), float("inf")])
def test_c_must_be_positive(c):
    x, y, test_x, _ = problem(0, 20, 5, 4, 2)
    with pytest.raises(UsageError, match=r"--c .*must be a positive number"):
        svm.fit_predict(x, y, test_x, c)
    with pytest.raises(UsageError, match="--c"):
        svm.choose_c(svm.gram(x, x), y, [0.1, c])


def test_bad_grids_and_folds():
    x, y, _, _ = problem(0, 20, 5, 4, 2)
    with pytest.raises(UsageError, match="grid of C is empty"):
        svm.choose_c(svm.gram(x, x), y, [])
    with pytest.raises(UsageError, match="at least 2 folds, got 1"):
        svm.choose_c(svm.gram(x, x), y, [0.1], 1)
    with pytest.raises(DataError, match="at least two classes"):
        svm.choose_c(svm.gram(x, x), np.zeros(20, int), [0.1])


def spoil(train_x, train_y, test_x, test_y, how):
    if how == "nan":
        train_x[[4, 9], 1] = np.nan
    elif how == "inf":
        test_x[3, 0] = np.inf
    elif how == "single":
        train_y[:] = 2
    elif how == "unseen":
        test_y[0] = 99
    elif how == "width":
        test_x = test_x[:, :-1]
    elif how == "length":
        train_y = train_y[:-1]
    elif how == "empty":
        train_x, train_y = train_x[:0], train_y[:0]
    elif how == "flat":
        test_x = test_x[:, 0]
    return train_x, train_y, test_x, test_y


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nan", "train features are not finite .* 2 of 30 shapes, first number 4"),
        ("inf", "test features are not finite .* 1 of 9 shapes, first number 3"),
        ("single", "at least two classes, train has only label 2"),
        ("unseen", r"test has labels \[99\] that no train shape has"),
        ("width", "train features have 4 numbers, test features 3"),
        ("length", r"train: 30 features but labels of shape \(29,\)"),
        ("empty", r"train features have shape \(0, 4\)"),
        ("flat", r"test features have shape \(9,\)"),
    ],
)
def test_bad_problems_are_one_line(how, message):
    spoilt = spoil(*problem(1, 30, 9, 4, 3), how)
    with pytest.raises(DataError, match=message) as caught:
        check_problem(*spoilt)
    assert "\n" not in str(caught.value)
    if how != "unseen":
        with pytest.raises(DataError, match=message):
            svm.fit_predict(*spoilt[:3], 0.1)


def test_unknown_kernel():
    x, y, test_x, _ = problem(1, 30, 9, 4, 3)
    with pytest.raises(UsageError, match="choose one of linear, rbf"):
        svm.fit_predict(x, y, test_x, 0.1, "poly")
