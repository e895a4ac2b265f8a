"""What must hold for every probe; a new one is a line in PROBES, and is tested here with it."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest

from pointssl.probes import PROBES
from pointssl.probes.base import Classifier, Split
from pointssl.probes.build import eval_config, find_probe, probe_of
from pointssl.probes.cross_validation import cross_validate
from pointssl.probes.protocols import stratified_folds
from pointssl_datasets.base.errors import DataError, UsageError

CLASSES = ("bed", "chair", "desk", "lamp", "sofa", "vase")
WAY, EACH = len(CLASSES), 24
CHANCE = 1 / WAY
# So that every probe is quick, and few-shot has settings that these data allow.
QUICK = {"fewshot": {"way": ("5",), "shot": ("4",), "runs": 20}, "cluster": {"starts": 2}}


@pytest.fixture(params=PROBES)
def name(request):
    return request.param


@pytest.fixture
def probe(name):
    return find_probe(name)(**QUICK.get(name, {}))


def split(noise=1.0, seed=0):
    """Two clouds of labels and of features around the centre of each class."""
    rng = np.random.default_rng(seed)
    train_y, test_y = (rng.permutation(np.repeat(np.arange(WAY), EACH)) for _ in range(2))
    centres = np.random.default_rng(9).normal(size=(WAY, 16))
    train_x, test_x = (
        (3 * centres[y] + noise * rng.normal(size=(len(y), 16))).astype(np.float32)
        for y in (train_y, test_y)
    )
    return Split(train_x, train_y, test_x, test_y)


def numbers(probe, *passes):
    result = probe.evaluate(list(passes), classes=CLASSES)
    return {key: result[key]["mean"] for key in probe.numbers.values()}


def test_it_says_what_it_is(probe):
    assert type(probe).__doc__.splitlines()[0].endswith(".")
    assert probe.title
    assert probe.numbers


def test_its_result_is_plain_and_whole(probe):
    result = probe.evaluate([split(seed=0), split(seed=0)], classes=CLASSES)
    json.dumps(result, allow_nan=False)
    needed = {"protocol", "standardised", "caveats", "notes", "seeds", "train", "test", "dimension"}
    assert needed <= set(result)
    assert (result["seeds"], result["train"], result["test"]) == (2, WAY * EACH, WAY * EACH)
    for key in probe.numbers.values():
        assert len(result[key]["per_seed"]) == 2
        assert result[key]["mean"] == pytest.approx(np.mean(result[key]["per_seed"]))


def test_perfect_features_have_a_perfect_score(probe):
    for key, value in numbers(probe, split(noise=1e-3)).items():
        assert value == pytest.approx(1.0), key


def test_shuffled_labels_have_the_score_of_chance(probe):
    x = split(noise=3.0)
    rng = np.random.default_rng(5)
    shuffled = x._replace(train_y=rng.permutation(x.train_y), test_y=rng.permutation(x.test_y))
    for key, value in numbers(probe, shuffled).items():
        assert value < CHANCE + 0.12, key  # NMI and ARI have chance near 0


def test_a_collapsed_encoder_has_no_score(probe):
    x = split()
    flat = x._replace(train_x=np.ones_like(x.train_x), test_x=np.ones_like(x.test_x))
    for key, value in numbers(probe, flat).items():
        assert value < CHANCE + 0.12, key


def test_better_features_have_a_better_score(probe):
    good, bad = numbers(probe, split(noise=1.5)), numbers(probe, split(noise=8.0))
    for key in good:
        assert good[key] > bad[key] + 0.05, key


def test_the_seed_decides_everything(probe):
    x = split(noise=3.0)
    first = probe.evaluate([x, x], classes=CLASSES)
    np.random.seed(1)  # noqa: NPY002 - no probe may draw from the global state
    assert probe.evaluate([x, x], classes=CLASSES) == first


def test_inputs_stay_as_they_are_and_scale_does_not_matter(probe):
    x = split(noise=2.0)
    copy = Split(*(array.copy() for array in x))
    plain = numbers(probe, x)
    for before, after in zip(copy, x, strict=True):
        np.testing.assert_array_equal(before, after)
    stretch = np.geomspace(0.1, 10, 16)
    moved = x._replace(train_x=x.train_x * stretch + 3, test_x=x.test_x * stretch + 3)
    assert numbers(probe, moved) == pytest.approx(plain, abs=0.02)


def test_the_order_of_classes_and_test_shapes_does_not_matter(probe):
    x = split(noise=2.0)
    order = np.random.default_rng(3).permutation(len(x.test_y))
    turned = x._replace(test_x=x.test_x[order], test_y=x.test_y[order])
    assert numbers(probe, turned) == pytest.approx(numbers(probe, x), abs=0.05)
    renamed = x._replace(train_y=WAY - 1 - x.train_y, test_y=WAY - 1 - x.test_y)
    assert numbers(probe, renamed) == pytest.approx(numbers(probe, x), abs=0.05)


def test_test_has_no_part_in_what_is_chosen_on_train(probe):
    x = split(noise=3.0)
    rng = np.random.default_rng(7)
    other = x._replace(test_x=rng.normal(size=x.test_x.shape), test_y=rng.permutation(x.test_y))
    first, second = (probe.evaluate([one], classes=CLASSES) for one in (x, other))
    for key in first:
        if key.endswith("_chosen_by"):
            chosen = key.removesuffix("_chosen_by")
            assert first[chosen] == second[chosen]
            assert first["cv"] == second["cv"]
    if isinstance(probe, Classifier):  # each test shape is judged for itself
        half = x._replace(test_x=x.test_x[:70], test_y=x.test_y[:70])
        whole, part = (probe.fit_predict(one, 0)["predicted"] for one in (x, half))
        np.testing.assert_array_equal(whole[:70], part)


def test_cross_validation_scores_what_it_did_not_learn_from(probe):
    x = split(noise=2.0)
    folds, _ = stratified_folds(x.train_y, 2, seed=0)
    found = cross_validate(probe, x.train_x, x.train_y, folds, CLASSES)
    by_hand = []
    for _, held_out in folds:
        rest = np.setdiff1d(np.arange(len(x.train_y)), held_out)
        one = Split(x.train_x[rest], x.train_y[rest], x.train_x[held_out], x.train_y[held_out])
        by_hand.append(numbers(probe, one))
    for key in probe.numbers.values():
        assert found[key] == pytest.approx(np.mean([values[key] for values in by_hand]))
    perfect = split(noise=1e-3)
    for value in cross_validate(
        probe, perfect.train_x, perfect.train_y, stratified_folds(perfect.train_y, 2, 0)[0], CLASSES
    ).values():
        assert value == pytest.approx(1.0)


def test_a_class_with_one_shape_is_a_line_at_most(probe):
    x = split()
    keep = (x.train_y != 0) | (np.arange(len(x.train_y)) == np.flatnonzero(x.train_y == 0)[0])
    few = x._replace(train_x=x.train_x[keep], train_y=x.train_y[keep])
    for value in numbers(probe, few).values():
        assert 0.3 < value <= 1
    lonely = np.array([np.flatnonzero(x.train_y == label)[0] for label in range(WAY)])
    alone = x._replace(train_x=x.train_x[lonely], train_y=x.train_y[lonely])
    with contextlib.suppress(DataError):  # what is chosen by cross-validation can't be chosen
        numbers(probe, alone)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x._replace(train_y=x.train_y * 0), "at least two classes"),
        (lambda x: x._replace(test_x=x.test_x[:, :3]), "train features have 16 numbers"),
        (lambda x: x._replace(test_x=x.test_x * np.nan), "not finite"),
        (lambda x: x._replace(test_y=x.test_y + 7), "no train shape has"),
        (lambda x: x._replace(train_x=x.train_x[:0], train_y=x.train_y[:0]), "have shape"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(probe, change, said):
    with pytest.raises(DataError, match=said) as caught:
        probe.evaluate([change(split())], classes=CLASSES)
    assert "\n" not in str(caught.value)


def test_the_command_has_its_options_and_gives_them_back(name, probe):
    config = eval_config(name)(**QUICK.get(name, {}), data="folder", seeds=2)
    assert probe_of(config) == probe
    assert str(config.out) == f"runs/eval-{name}"
    fields = {field.name for field in dataclasses.fields(config)}
    assert {field.name for field in dataclasses.fields(probe)} < fields
    assert ("label_fraction" in fields) == probe.learns


def test_an_unknown_probe_names_the_nearest():
    with pytest.raises(UsageError, match=r"unknown probe 'knm', did you mean 'knn'\?"):
        find_probe("knm")
    with pytest.raises(UsageError, match="expected a class derived from pointssl's Probe"):
        find_probe("pointssl.metrics:mean_std")
