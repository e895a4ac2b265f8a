"""Retrieval and clustering of features, against slow and obvious twins."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from pointssl.probes import common
from pointssl.probes.clustering import Clustering, cluster
from pointssl.probes.common import standardise, unit_rows
from pointssl.probes.retrieval import Retrieval, ranked_scores
from pointssl.reports.scores import format_scores
from pointssl_datasets.base.errors import DataError

CLASSES = ("bed", "chair", "lamp")
RNG = np.random.default_rng(3)
TRAIN_Y = RNG.permutation(np.repeat(np.arange(3), [20, 14, 6]))
TEST_Y = RNG.permutation(np.repeat(np.arange(3), [9, 6, 1]))  # one lamp, alone among test
CENTRES = RNG.normal(size=(3, 8))


def features(seed, strength=0.7):
    rng = np.random.default_rng(seed)
    train, test = (CENTRES[y] * strength + rng.normal(size=(len(y), 8)) for y in (TRAIN_Y, TEST_Y))
    return train.astype(np.float32), TRAIN_Y, test.astype(np.float32), TEST_Y


def retrieve_by_hand(query_x, query_y, gallery_x, gallery_y, same):
    """Average precision and precision at 1 and 10, a query at a time."""
    rows = []
    for i, (query, label) in enumerate(zip(query_x, query_y, strict=True)):
        others = [j for j in range(len(gallery_x)) if not (same and i == j)]
        cosine = {
            j: query @ gallery_x[j] / np.linalg.norm(query) / np.linalg.norm(gallery_x[j])
            for j in others
        }
        ranked = sorted(others, key=lambda j: -cosine[j])
        hits = [bool(gallery_y[j] == label) for j in ranked]
        if not any(hits):
            continue
        precisions = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits)) if hits[n]]
        oracle = average_precision_score(
            [gallery_y[j] == label for j in others], [cosine[j] for j in others]
        )
        assert oracle == pytest.approx(np.mean(precisions))
        rows.append((np.mean(precisions), hits[0], np.mean(hits[:10])))
    return np.mean(rows, axis=0), len(query_x) - len(rows)


@pytest.mark.parametrize("rows", [5, 1024])
@pytest.mark.parametrize("same", [True, False])
def test_retrieval_equals_a_query_at_a_time(monkeypatch, same, rows):
    monkeypatch.setattr(common, "ROWS", rows)
    train, train_y, test, test_y = features(0)
    train, test = standardise(train, test)
    gallery, gallery_y = (test, test_y) if same else (train, train_y)
    expected, alone = retrieve_by_hand(test, test_y, gallery, gallery_y, same)
    found, left_out = ranked_scores(
        unit_rows(test), test_y, unit_rows(gallery), gallery_y, same=same, seed=1
    )
    assert list(found.values()) == pytest.approx(expected.tolist())
    assert left_out == alone == int(same)


def test_retrieval_over_seeds():
    runs = [features(seed) for seed in range(2)]
    found = Retrieval().evaluate(runs, classes=CLASSES)
    for key in ("map_test", "map_train", "precision_1_train", "precision_10_test"):
        assert len(found[key]["per_seed"]) == 2
        assert 0.3 < found[key]["mean"] < 1
    assert found["notes"] == ["1 test shapes have none of their class to find in test"]
    json.dumps(found, allow_nan=False)


def test_a_collapsed_encoder_does_not_profit_from_the_order_of_the_files():
    labels = np.repeat(np.arange(10), 50)
    flat = unit_rows(np.ones((500, 4)))
    found, _ = ranked_scores(flat, labels, flat, labels, same=True, seed=0)
    assert found["map"] < 0.13  # a tenth of the gallery is of each class
    assert found["precision_1"] < 0.2


def test_nothing_to_retrieve_is_one_line():
    x = unit_rows(RNG.normal(size=(3, 4)))
    with pytest.raises(DataError, match="no test shape has another shape of its class"):
        ranked_scores(x, np.arange(3), x, np.arange(3), same=True, seed=0)
    with pytest.raises(DataError, match="0 seeds"):
        Retrieval().evaluate([], classes=CLASSES)


def entropy(*labels):
    """Of the joint distribution, in nats."""
    _, counts = np.unique(np.stack(labels), axis=1, return_counts=True)
    share = counts / counts.sum()
    return -(share * np.log(share)).sum()


def test_clusters_are_compared_with_classes_as_defined():
    found = Clustering(starts=4).evaluate([features(0)], classes=CLASSES)
    train, _, test, test_y = features(0)
    groups = cluster(standardise(train, test)[1].astype(np.float32), 3, 4, 0)
    mutual = entropy(test_y) + entropy(groups) - entropy(test_y, groups)
    nmi = 2 * mutual / (entropy(test_y) + entropy(groups))
    assert found["nmi"]["mean"] == pytest.approx(nmi)
    pairs = [(i, j) for i in range(len(test_y)) for j in range(i)]
    in_class = np.array([test_y[i] == test_y[j] for i, j in pairs])
    in_group = np.array([groups[i] == groups[j] for i, j in pairs])
    chance = in_class.sum() * in_group.sum() / len(pairs)
    most = (in_class.sum() + in_group.sum()) / 2
    ari = ((in_class & in_group).sum() - chance) / (most - chance)
    assert found["ari"]["mean"] == pytest.approx(ari)
    assert (found["clusters"], found["starts"]) == (3, 4)
    json.dumps(found, allow_nan=False)


def test_of_many_starts_the_tightest_counts():
    x = np.concatenate([CENTRES + 0.01 * RNG.normal(size=(3, 8)) for _ in range(20)])
    labels = np.tile(np.arange(3), 20)
    run = (x, labels, x, labels)
    found = Clustering(starts=10).evaluate([run, run], classes=CLASSES)
    assert found["nmi"]["per_seed"] == pytest.approx([1, 1])
    assert found["ari"]["per_seed"] == pytest.approx([1, 1])

    def spread_of(groups, x):
        return sum(((x[groups == g] - x[groups == g].mean(0)) ** 2).sum() for g in set(groups))

    cloud = RNG.normal(size=(200, 8))
    one = spread_of(cluster(cloud, 12, 1, 0), cloud)
    assert spread_of(cluster(cloud, 12, 20, 0), cloud) < one


def test_few_classes_and_equal_features_do_not_crash():
    train, train_y, test, _ = features(0)
    with pytest.raises(DataError, match="at least two classes in test, which has 1"):
        Clustering().evaluate([(train, train_y, test, np.zeros(16, int))], classes=CLASSES)
    found = Clustering().evaluate([(train * 0, train_y, test * 0, TEST_Y)], classes=CLASSES)
    assert found["nmi"]["mean"] == pytest.approx(0, abs=1e-9)


def test_the_tables_have_every_fact_and_fit_100_columns():
    about = {"k": 20, "points": 1024, "sampling": "random"}
    for probe in (Clustering(), Retrieval()):
        columns = probe.numbers
        found = {**probe.evaluate([features(0), features(1)], classes=CLASSES), **about}
        text = format_scores({"pretrained": found, "random init": found}, columns, "so and so")
        assert max(map(len, text.splitlines())) <= 100
        assert all(heading in text.splitlines()[0] for heading in columns)
        assert "protocol strict" in text
        assert "1024 random points, k 20, 2 seeds" in " ".join(text.split())
        key = next(iter(columns.values()))
        assert f"{100 * found[key]['mean']:.1f} ± {100 * found[key]['std']:.1f}" in text
