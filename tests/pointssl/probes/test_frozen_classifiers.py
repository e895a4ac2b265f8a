"""Nearest neighbours and logistic regression, against the same steps written out."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from pointssl.probes import common, knn, linear
from pointssl.probes.common import unit_rows
from pointssl.probes.knn import Knn
from pointssl.probes.linear import Linear
from pointssl.probes.protocols import stratified_folds, stratified_subset
from pointssl.reports.classifiers import format_report
from pointssl_datasets.base.errors import DataError, UsageError

CLASSES = ("bed", "chair", "lamp", "sofa")
RNG = np.random.default_rng(5)
TRAIN_Y = RNG.permutation(np.repeat(np.arange(4), [40, 30, 20, 10]))
TEST_Y = RNG.permutation(np.repeat(np.arange(4), [20, 20, 10, 5]))
CENTRES = RNG.normal(size=(4, 16))


def features(seed, strength=0.6):
    rng = np.random.default_rng(seed)
    train, test = (
        (CENTRES[y] * strength + rng.normal(size=(len(y), 16))).astype(np.float32)
        for y in (TRAIN_Y, TEST_Y)
    )
    return train * 5 + 30, TRAIN_Y, test * 5 + 30, TEST_Y


def scaled(train_x, test_x):
    scaler = StandardScaler().fit(train_x.astype(np.float64))
    return scaler.transform(train_x.astype(np.float64)), scaler.transform(test_x.astype(np.float64))


def vote_by_hand(train_x, train_y, query, k):
    """One query at a time: its k most similar, their votes, the more similar class of equals."""
    cosine = [
        float(query @ row / max(np.linalg.norm(query) * np.linalg.norm(row), 1e-12))
        for row in train_x
    ]
    nearest = sorted(range(len(cosine)), key=lambda i: -cosine[i])[:k]
    votes = {}
    for i in nearest:
        count, similar = votes.get(train_y[i], (0, 0.0))
        votes[train_y[i]] = (count + 1, similar + 1 + cosine[i])
    return max(votes, key=lambda label: votes[label])


@pytest.mark.parametrize("rows", [7, 1024])
def test_votes_equal_those_counted_by_hand(monkeypatch, rows):
    monkeypatch.setattr(common, "ROWS", rows)
    train_x, test_x = scaled(features(0)[0], features(0)[2])
    found = knn.vote(unit_rows(train_x), TRAIN_Y, unit_rows(test_x), [1, 2, 4, 9, 100])
    for k, guesses in found.items():
        expected = [vote_by_hand(train_x, TRAIN_Y, query, k) for query in test_x]
        assert guesses.tolist() == expected
    assert (found[1] == found[2]).all()  # of two that differ the nearer one decides
    assert len({tuple(guesses) for guesses in found.values()}) == 4


@pytest.mark.parametrize("k", [1, 7])
def test_neighbours_are_scikit_learns(k):
    train_x, test_x = scaled(features(1)[0], features(1)[2])
    oracle = KNeighborsClassifier(k, metric="cosine").fit(train_x, TRAIN_Y)
    votes = oracle.predict_proba(test_x)
    clear = np.sort(votes, axis=1)[:, -1] > np.sort(votes, axis=1)[:, -2]  # no equal votes
    found = Knn(neighbours=k).evaluate([features(1)], classes=CLASSES)
    ours = knn.vote(unit_rows(train_x), TRAIN_Y, unit_rows(test_x), [k])[k]
    assert (ours == oracle.predict(test_x))[clear].all()
    assert clear.sum() > 40
    assert found["accuracy"]["mean"] == pytest.approx(np.mean(ours == TEST_Y))
    assert found["neighbours"] == [k]
    assert found["caveats"] == [f"{k} neighbours were asked for, not chosen on train"]


def test_the_number_of_neighbours_is_chosen_on_train_alone():
    runs = [features(seed) for seed in range(2)]
    found = Knn().evaluate(runs, classes=CLASSES, label_fraction=0.6)
    for seed, (train_x, train_y, test_x, _) in enumerate(runs):
        chosen = stratified_subset(train_y, 0.6, seed)
        x, y = scaled(train_x[chosen], test_x)[0], train_y[chosen]
        means = {}
        for k in (1, 3, 5, 10, 20, 50):
            shares = []
            for fit, validate in stratified_folds(y, 5, seed)[0]:
                if k > len(fit):
                    continue
                guesses = [vote_by_hand(x[fit], y[fit], query, k) for query in x[validate]]
                shares.append(np.mean(guesses == y[validate]))
            if len(shares) == 5:
                means[k] = np.mean(shares)
        best = max(k for k, mean in means.items() if mean >= max(means.values()) - 1e-12)
        assert found["neighbours"][seed] == best
        assert {row["neighbours"]: row["mean"] for row in found["cv"][seed]} == pytest.approx(means)
    other = [(x, y, -t, np.roll(ty, 1)) for x, y, t, ty in runs]
    again = Knn().evaluate(other, classes=CLASSES, label_fraction=0.6)
    assert again["neighbours"] == found["neighbours"]
    assert again["accuracy"] != found["accuracy"]
    json.dumps(found, allow_nan=False)


def test_the_scale_of_a_feature_does_not_matter():
    train_x, train_y, test_x, test_y = features(2)
    stretch = np.linspace(0.01, 100, 16).astype(np.float64)
    plain = Knn(neighbours=5).evaluate([features(2)], classes=CLASSES)
    changed = (train_x * stretch - 7, train_y, test_x * stretch - 7, test_y)
    assert Knn(neighbours=5).evaluate([changed], classes=CLASSES) == plain


def test_too_many_neighbours_and_too_few_labels_are_one_line():
    with pytest.raises(UsageError, match="--neighbours 101: there are only 100 labels"):
        Knn(neighbours=101).evaluate([features(0)], classes=CLASSES)
    with pytest.raises(DataError, match=r"neighbours can't be chosen .* or give --neighbours"):
        Knn().evaluate([features(0)], label_fraction=1e-6, classes=CLASSES)
    with pytest.raises(DataError, match="0 seeds"):
        Knn().evaluate([], classes=CLASSES)


def test_warm_fits_end_where_cold_ones_do():
    train_x, test_x = (x.astype(np.float32) for x in scaled(features(3)[0], features(3)[2]))
    values = [1e-4, 1e-2, 1.0]
    found, converged = linear.fit_path(train_x, TRAIN_Y, test_x, values, 1e-6)
    assert converged
    for c, guesses in zip(values, found, strict=True):
        cold = LogisticRegression(C=c, max_iter=5000, tol=1e-8).fit(train_x, TRAIN_Y)
        assert guesses.tolist() == cold.predict(test_x).tolist()
    assert len({tuple(guesses) for guesses in found}) == 3


def test_the_probe_equals_the_steps_by_hand():
    runs = [features(seed) for seed in range(2)]
    found = Linear().evaluate(runs, classes=CLASSES, label_fraction=0.6)
    for seed, (train_x, train_y, test_x, test_y) in enumerate(runs):
        chosen = stratified_subset(train_y, 0.6, seed)
        y = train_y[chosen]
        train, test = scaled(train_x[chosen], test_x)
        means = []
        for c in sorted(linear.GRID):
            shares = []
            for fit, validate in stratified_folds(y, 5, seed)[0]:
                model = LogisticRegression(C=c, max_iter=5000).fit(train[fit], y[fit])
                shares.append(np.mean(model.predict(train[validate]) == y[validate]))
            means.append(np.mean(shares))
        assert [row["mean"] for row in found["cv"][seed]] == pytest.approx(means, abs=0.04)
        best = max(row["mean"] for row in found["cv"][seed])
        taken = next(row["c"] for row in found["cv"][seed] if row["mean"] >= best - 1e-12)
        assert found["c"][seed] == taken
        final = LogisticRegression(C=taken, max_iter=5000).fit(train, y).predict(test)
        accuracy = found["accuracy"]["per_seed"][seed]
        assert accuracy == pytest.approx(np.mean(final == test_y), abs=1 / 50)
    assert 0.4 < found["accuracy"]["mean"] < 1
    json.dumps(found, allow_nan=False)


def test_a_fit_that_does_not_converge_is_said(monkeypatch):
    monkeypatch.setattr(linear, "MOST_STEPS", 2)
    found = Linear().evaluate([features(0)], classes=CLASSES)
    assert any("the fit at C" in note and "after 2 steps" in note for note in found["notes"])
    with pytest.raises(UsageError, match=r"--c -1\.0: must be at least"):
        Linear(c=-1.0).evaluate([features(0)], classes=CLASSES)
    with pytest.raises(UsageError, match="grid of C is empty"):
        linear.choose_c(features(0)[0], TRAIN_Y, (), 5, 0)


def test_their_tables_name_what_was_chosen():
    near = Knn(neighbours=3).evaluate([features(0)], classes=CLASSES)
    probe = Linear(c=0.5).evaluate([features(0)], classes=CLASSES)
    for found, heading, words in (
        (near, "neighb.", "nearest neighbours (cosine similarity, majority vote), features"),
        (probe, "C", "logistic regression (multinomial), features standardised on train, C fixed"),
    ):
        text = format_report({"pretrained": found, "random init": found})
        assert heading in text.splitlines()[0].split()
        assert words in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= 100
