"""Accuracies and part IoU against slow, obvious twins and reference values."""

import numpy as np
import pytest
from safetensors.numpy import load_file
from shared import SHARED, needs_shared

from pointssl import metrics
from pointssl.metrics import SHAPENETPART_PARTS
from pointssl_datasets.base.errors import DataError


def test_confusion_matrix_counts_one_by_one():
    rng = np.random.default_rng(0)
    target, predicted = rng.integers(6, size=(2, 300))
    slow = np.zeros((7, 7), int)
    for t, p in zip(target, predicted, strict=True):
        slow[t, p] += 1
    assert np.array_equal(metrics.confusion_matrix(target, predicted, 7), slow)


def test_accuracies_by_hand():
    matrix = metrics.confusion_matrix(np.array([0, 0, 0, 2]), np.array([0, 0, 2, 2]), 3)
    assert metrics.overall_accuracy(matrix) == 0.75
    mean, absent = metrics.mean_class_accuracy(matrix, ["chair", "lamp", "sofa"])
    assert mean == pytest.approx((2 / 3 + 1) / 2)
    assert absent == ["lamp"]
    assert metrics.per_class_rows(matrix, ["chair", "lamp", "sofa"]) == [
        {"class": "chair", "shapes": 3, "accuracy": pytest.approx(2 / 3)},
        {"class": "lamp", "shapes": 0, "accuracy": None},
        {"class": "sofa", "shapes": 1, "accuracy": 1.0},
    ]


def test_bad_labels_are_one_line():
    with pytest.raises(DataError, match="labels run from 0 to 3, expected 0 to 2 for 3 classes"):
        metrics.confusion_matrix(np.array([0, 3]), np.array([0, 1]), 3)
    with pytest.raises(DataError, match="predictions run from -1"):
        metrics.confusion_matrix(np.array([0, 1]), np.array([-1, 1]), 3)
    with pytest.raises(DataError, match=r"\(2,\) labels but \(3,\) predictions"):
        metrics.confusion_matrix(np.array([0, 1]), np.array([0, 1, 1]), 3)
    empty = metrics.confusion_matrix(np.array([], int), np.array([], int), 3)
    with pytest.raises(DataError, match="nothing to evaluate"):
        metrics.overall_accuracy(empty)
    with pytest.raises(DataError, match="nothing to evaluate"):
        metrics.mean_class_accuracy(empty, "abc")


def slow_shape_iou(predicted, target, category, parts):
    result = []
    for p, t, c in zip(predicted, target, category, strict=True):
        ious = []
        for part in parts[c]:
            union = sum(1 for a, b in zip(p, t, strict=True) if a == part or b == part)
            both = sum(1 for a, b in zip(p, t, strict=True) if a == part and b == part)
            ious.append(1.0 if union == 0 else both / union)
        result.append(sum(ious) / len(ious))
    return result


def shapes(seed, count, *, confined, ragged):
    """Targets within the category's parts; predictions right for half of the points."""
    rng = np.random.default_rng(seed)
    category = rng.integers(16, size=count)
    predicted, target = [], []
    for c in category:
        n = int(rng.integers(1, 40)) if ragged else 32
        own = np.array(SHAPENETPART_PARTS[c])[: int(rng.integers(1, 5))]  # some parts are absent
        t = rng.choice(own, size=n)
        guess = rng.choice(SHAPENETPART_PARTS[c], size=n) if confined else rng.integers(50, size=n)
        predicted.append(np.where(rng.random(n) < 0.5, t, guess))
        target.append(t)
    return predicted, target, category


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("confined", [False, True])
def test_shape_iou_equals_its_slow_twin(confined, ragged):
    predicted, target, category = shapes(1, 60, confined=confined, ragged=ragged)
    slow = slow_shape_iou(predicted, target, category, SHAPENETPART_PARTS)
    np.testing.assert_allclose(metrics.shape_iou(predicted, target, category), slow, rtol=1e-12)
    if not ragged:
        stacked = metrics.shape_iou(np.stack(predicted), np.stack(target), category)
        np.testing.assert_allclose(stacked, slow, rtol=1e-12)


def test_a_part_absent_from_target_and_prediction_counts_one():
    mug = [11]
    assert metrics.shape_iou([np.array([36, 36])], [np.array([36, 36])], mug) == [1.0]
    assert metrics.shape_iou([np.array([36, 37])], [np.array([36, 36])], mug) == [0.25]
    # Parts of other categories, and numbers that are no part at all, are simply wrong.
    assert metrics.shape_iou([np.array([0, 99])], [np.array([36, 36])], mug) == [0.5]


@needs_shared
@pytest.mark.parametrize("kind", ["free", "masked"])
def test_part_iou_equals_the_reference(kind):
    golden = load_file(SHARED / "golden" / "losses_and_metrics.safetensors")
    predicted, target = golden[f"iou.pred_{kind}"], golden["iou.target"]
    category = golden["iou.category"]
    ious = metrics.shape_iou(predicted, target, category)
    np.testing.assert_allclose(ious, golden[f"iou.shape_iou_{kind}"], rtol=1e-12)
    means = metrics.category_iou(ious, category, 16)
    np.testing.assert_allclose(means, golden[f"iou.category_iou_{kind}"], rtol=1e-12)
    names = [f"category {i}" for i in range(16)]
    result = metrics.part_iou(predicted, target, category, names)
    assert result["instance_miou"] == pytest.approx(golden[f"iou.shape_iou_{kind}"].mean())
    assert result["class_miou"] == pytest.approx(golden[f"iou.category_iou_{kind}"].mean())
    assert result["absent"] == []


def test_means_are_over_shapes_and_over_categories_that_occur():
    bag, table = 1, 15
    predicted = [np.array([4, 5]), np.array([4, 4]), np.array([47, 48, 49])]
    target = [np.array([4, 5]), np.array([5, 5]), np.array([47, 48, 49])]
    names = [f"category {i}" for i in range(16)]
    result = metrics.part_iou(predicted, target, np.array([bag, bag, table]), names)
    assert result["instance_miou"] == pytest.approx((1 + 0 + 1) / 3)
    assert result["class_miou"] == pytest.approx((0.5 + 1) / 2)
    assert len(result["absent"]) == 14
    assert result["per_category"][bag] == {"category": "category 1", "shapes": 2, "iou": 0.5}
    assert result["per_category"][0]["iou"] is None


@pytest.mark.parametrize(
    ("predicted", "target", "category", "message"),
    [
        ([[4]], [[0]], [1], "shape 0 has a point labelled 0, which is no part of its category 1"),
        ([[4]], [[-1]], [1], "labelled -1"),
        ([[4]], [[50]], [1], "labelled 50"),
        ([[4]], [[4]], [16], "categories run from 16 to 16, expected 0 to 15"),
        ([[4, 4]], [[4]], [1], "another number of predictions"),
        ([[4]], [[4], [5]], [1, 1], "1 predictions, 2 targets"),
        ([[]], [[]], [1], "points in every shape"),
        ([], [], [], "at least one shape"),
    ],
)
def test_bad_parts_are_one_line(predicted, target, category, message):
    arrays = [[np.array(shape, int) for shape in side] for side in (predicted, target)]
    with pytest.raises(DataError, match=message):
        metrics.shape_iou(*arrays, np.array(category, int))


def slow_mean_iou(target, predicted, classes):
    """Of points, one after the other."""
    ious = []
    for c in range(classes):
        both = sum(t == c and p == c for t, p in zip(target, predicted, strict=True))
        either = sum(t == c or p == c for t, p in zip(target, predicted, strict=True))
        if either:
            ious.append(both / either)
    return sum(ious) / len(ious)


@pytest.mark.parametrize("seed", range(4))
def test_mean_iou_equals_its_slow_twin(seed):
    rng = np.random.default_rng(seed)
    names = [f"class {i}" for i in range(13)]
    target = rng.choice(rng.choice(13, 9), 300)
    predicted = np.where(rng.random(300) < 0.5, target, rng.choice(rng.choice(13, 9), 300))
    matrix = metrics.confusion_matrix(target, predicted, 13)
    value, absent = metrics.mean_iou(matrix, names)
    assert value == pytest.approx(slow_mean_iou(target, predicted, 13), rel=1e-12)
    there = set(target) | set(predicted)
    assert absent == [name for i, name in enumerate(names) if i not in there]
    assert absent


def test_a_class_that_is_only_predicted_counts_zero():
    matrix = metrics.confusion_matrix(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 2]), 3)
    assert metrics.mean_iou(matrix, "abc") == (pytest.approx(0.375), ["b"])
    with pytest.raises(DataError, match="nothing to evaluate"):
        metrics.mean_iou(np.zeros((3, 3), int), "abc")
