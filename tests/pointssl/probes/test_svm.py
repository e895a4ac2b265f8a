"""From features to a plain result and a table, against the same steps written out."""

import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from pointssl.probes.protocols import find_protocol, stratified_folds, stratified_subset
from pointssl.probes.svm import Svm
from pointssl.reports.classifiers import format_report
from pointssl_datasets.base.errors import DataError, UsageError

CLASSES = ("airplane", "bathtub", "chair", "sofa", "a night stand with a very long name")
RNG = np.random.default_rng(9)
TRAIN_Y = RNG.permutation(np.repeat(np.arange(5), [60, 40, 30, 20, 10]))
TEST_Y = RNG.permutation(np.repeat(np.arange(4), [20, 20, 10, 5]))  # no night stand
CENTRES = RNG.normal(size=(5, 48))


def features(seed, strength=0.35):
    rng = np.random.default_rng(seed)
    train, test = (
        (CENTRES[y] * strength + rng.normal(size=(len(y), 48))).astype(np.float32)
        for y in (TRAIN_Y, TEST_Y)
    )
    return train * 5 + 3, TRAIN_Y, test * 5 + 3, TEST_Y


def strict_by_hand(train_x, train_y, test_x, seed):
    """Scikit-learn's own scaler, search and SVC on the same folds."""
    scaler = StandardScaler().fit(train_x.astype(np.float64))
    scaled = scaler.transform(train_x.astype(np.float64))
    grid = {"C": sorted(find_protocol("strict").c_grid)}
    splits, _ = stratified_folds(train_y, 5, seed)
    search = GridSearchCV(SVC(kernel="linear"), grid, cv=splits).fit(scaled, train_y)
    return search.best_params_["C"], search.predict(scaler.transform(test_x.astype(np.float64)))


@pytest.mark.parametrize("fraction", [1.0, 0.4])
def test_strict_equals_the_steps_by_hand(fraction):
    runs = [features(seed) for seed in range(3)]
    result = Svm(protocol="strict").evaluate(runs, label_fraction=fraction, classes=CLASSES)
    cs, predictions = [], []
    for seed, (train_x, train_y, test_x, _) in enumerate(runs):
        chosen = stratified_subset(train_y, fraction, seed)
        c, predicted = strict_by_hand(train_x[chosen], train_y[chosen], test_x, seed)
        cs.append(c)
        predictions.append(predicted)
    accuracies = [float(np.mean(p == TEST_Y)) for p in predictions]
    assert result["c"] == cs
    assert result["accuracy"]["per_seed"] == pytest.approx(accuracies)
    assert result["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert result["accuracy"]["std"] == pytest.approx(np.std(accuracies))
    assert 0.3 < result["accuracy"]["mean"] < 1
    summed = sum(confusion_matrix(TEST_Y, p, labels=range(5)) for p in predictions)
    assert result["confusion"] == summed.tolist()
    present = [p == TEST_Y for p in predictions]
    by_class = [[np.mean(hit[k == TEST_Y]) for k in range(4)] for hit in present]
    assert result["class_accuracy"]["mean"] == pytest.approx(np.mean(by_class))
    for k, row in enumerate(result["per_class"][:4]):
        assert row["accuracy"] == pytest.approx(np.mean([seed[k] for seed in by_class]))
    assert result["train"] == len(stratified_subset(TRAIN_Y, fraction, 0))
    assert (result["test"], result["seeds"], result["dimension"]) == (55, 3, 48)
    assert len(result["cv"]) == 3
    assert [row["c"] for row in result["cv"][0]] == sorted(find_protocol("strict").c_grid)
    json.dumps(result, allow_nan=False)


def test_crosspoint_equals_a_raw_svc():
    train_x, train_y, test_x, test_y = features(0)
    result = Svm(protocol="crosspoint").evaluate([features(0)], classes=CLASSES)
    predicted = SVC(kernel="linear", C=0.1).fit(train_x, train_y).predict(test_x)
    assert result["accuracy"]["mean"] == pytest.approx(np.mean(predicted == test_y))
    with np.errstate(invalid="ignore"):
        recall = [np.mean(predicted[test_y == k] == k) for k in range(4)]
    assert result["class_accuracy"]["mean"] == pytest.approx(np.mean(recall))
    if set(predicted) <= set(test_y):
        assert balanced_accuracy_score(test_y, predicted) == pytest.approx(np.mean(recall))
    assert result["c"] == [0.1]
    assert result["cv"] is None
    assert not result["standardised"]
    assert any("C was chosen by eye" in line for line in result["caveats"])


def test_facts_name_what_was_done():
    result = Svm(protocol="strict", c=0.5, kernel="rbf").evaluate([features(0)], classes=CLASSES)
    assert result["c"] == [0.5]
    assert result["multi_class"] == "one-vs-one"
    assert result["kernel"] == "rbf"
    assert result["caveats"] == ["C = 0.5 was given by hand, not chosen on train"]
    assert result["absent_classes"] == [CLASSES[4]]
    assert result["per_class"][4] == {"class": CLASSES[4], "shapes": 0, "accuracy": None}
    assert [row["shapes"] for row in result["per_class"]] == [20, 20, 10, 5, 0]


def test_few_labels_give_notes_not_a_crash():
    result = Svm(protocol="strict").evaluate([features(0)], label_fraction=0.1, classes=CLASSES)
    assert any("2 folds instead of 5" in note for note in result["notes"])
    assert any("1 classes have one train shape" in note for note in result["notes"])
    with pytest.raises(DataError, match="give --c"):
        Svm(protocol="strict").evaluate([features(0)], label_fraction=1e-6, classes=CLASSES)
    fixed = Svm(protocol="strict", c=0.1).evaluate(
        [features(0)], label_fraction=1e-6, classes=CLASSES
    )
    assert fixed["train"] == 5


def test_a_c_at_the_end_of_the_grid_is_noted():
    result = Svm(protocol="strict").evaluate([features(0, strength=20.0)], classes=CLASSES)
    ends = min(find_protocol("strict").c_grid), max(find_protocol("strict").c_grid)
    noted = any("end of the grid" in note for note in result["notes"])
    assert noted == (result["c"][0] in ends)


def test_bad_input_is_one_line():
    train_x, train_y, test_x, test_y = features(0)
    with pytest.raises(UsageError, match="--protocol 'best'"):
        Svm(protocol="best").evaluate([features(0)], classes=CLASSES)
    with pytest.raises(UsageError, match="--c -1"):
        Svm(protocol="strict", c=-1.0).evaluate([features(0)], classes=CLASSES)
    with pytest.raises(DataError, match="0 seeds"):
        Svm(protocol="strict").evaluate([], classes=CLASSES)
    other = (train_x, train_y, test_x, test_y[::-1])
    with pytest.raises(DataError, match="seed 1 have other labels"):
        Svm(protocol="strict").evaluate([features(0), other], classes=CLASSES)
    bad = (train_x, np.where(train_y == 0, 1, train_y), test_x, test_y)
    with pytest.raises(DataError, match="no train shape has"):
        Svm(protocol="strict").evaluate([bad], classes=CLASSES)
    with pytest.raises(DataError, match="expected 0 to 2 for 3 classes"):
        Svm(protocol="crosspoint").evaluate([features(0)], classes=CLASSES[:3])


def test_report_has_every_fact_and_fits_100_columns():
    strict = Svm(protocol="strict").evaluate([features(s) for s in range(2)], classes=CLASSES)
    strict |= {"c": [1e-5, 1e-3], "k": 20, "points": 1024, "sampling": "random"}
    crosspoint = Svm(protocol="crosspoint").evaluate([features(0)], classes=CLASSES)
    wide = strict | {"dimension": 12288}
    text = format_report(
        {
            "pretrained": strict,
            "random init": crosspoint,
            "a row whose name is much longer than what there is room for": wide,
            "fourth": strict,
        }
    )
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == (
        ["protocol", "C", "k", "points", "seeds", "features", "accuracy", "class", "acc."]
    )
    accuracy = f"{100 * strict['accuracy']['mean']:.1f} ± {100 * strict['accuracy']['std']:.1f}"
    row = next(line for line in lines if line.startswith("pretrained"))
    for cell in ("strict", "1e-5..0.001", " 20 ", "1024 random", " 2 ", "48 std", accuracy):
        assert cell in row
    row = next(line for line in lines if line.startswith("random init"))
    assert row.split()[2:] == [
        *(["crosspoint", "0.1", "-", "-", "1", "48", "raw"]),
        f"{100 * crosspoint['accuracy']['mean']:.1f}",
        f"{100 * crosspoint['class_accuracy']['mean']:.1f}",
    ]
    joined = " ".join(text.split())
    assert "one-vs-one" in joined
    assert "random init: caveat: C was chosen by eye" in joined
    assert "160 train shapes (100% of the labels), 55 test shapes" in joined
    assert f"left out of the class accuracy, as test has none: {CLASSES[4]}" in joined
    assert joined.count("left out of the class accuracy") == 1  # shared by all rows
    chairs = [line.split() for line in lines if line.startswith("chair ")]
    assert [len(cells) for cells in chairs] == [5, 3]  # three rows beside each other, then one
    assert chairs[0][1:4] == [
        "10",
        f"{100 * strict['per_class'][2]['accuracy']:.1f}",
        f"{100 * crosspoint['per_class'][2]['accuracy']:.1f}",
    ]
