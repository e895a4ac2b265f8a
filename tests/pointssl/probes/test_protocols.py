"""Named protocols, and the seeded shares and folds that they use."""

import numpy as np
import pytest

from pointssl.probes.protocols import PROTOCOLS, find_protocol, stratified_folds, stratified_subset
from pointssl_datasets.base.errors import DataError, UsageError


def test_strict_avoids_what_crosspoint_does():
    strict, crosspoint = find_protocol("strict"), find_protocol("crosspoint")
    assert strict.standardise
    assert strict.c is None
    assert (min(strict.c_grid), max(strict.c_grid)) == (1e-5, 10.0)
    assert strict.sampling == "random"
    assert strict.caveats == ()
    assert not crosspoint.standardise
    assert (crosspoint.c, crosspoint.sampling, crosspoint.points) == (0.1, "first", 1024)
    assert crosspoint.seeds == 1
    text = "; ".join(crosspoint.caveats)
    assert "C was chosen by eye" in text
    assert "0.01" in text
    assert "the paper selects the epoch by test accuracy" in text
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())


def test_unknown_protocol_names_the_nearest():
    with pytest.raises(UsageError, match="choose one of strict, crosspoint, did you mean 'strict'"):
        find_protocol("strickt")


LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 5], [100, 50, 7, 1]))


@pytest.mark.parametrize(
    ("fraction", "sizes"),
    [(1.0, [100, 50, 7, 1]), (0.5, [50, 25, 4, 1]), (0.1, [10, 5, 1, 1]), (1e-9, [1, 1, 1, 1])],
)
def test_subset_takes_its_share_of_every_class(fraction, sizes):
    chosen = stratified_subset(LABELS, fraction, 3)
    assert np.array_equal(chosen, np.unique(chosen))
    assert np.unique(LABELS[chosen], return_counts=True)[1].tolist() == sizes


def test_subset_is_seeded_random_and_nested():
    small, large = (stratified_subset(LABELS, fraction, 3) for fraction in (0.1, 0.4))
    assert np.array_equal(small, stratified_subset(LABELS, 0.1, 3))
    assert not np.array_equal(small, stratified_subset(LABELS, 0.1, 4))
    assert set(small) < set(large)
    # Each of 100 shapes of class 0 is as likely as any other.
    counts = np.bincount(
        np.concatenate([stratified_subset(LABELS, 0.3, seed) for seed in range(400)]),
        minlength=len(LABELS),
    )[LABELS == 0]
    assert counts.min() > 75
    assert counts.max() < 165  # 120 expected, deviation 9


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan")])
def test_subset_refuses_a_fraction_outside_its_range(fraction):
    with pytest.raises(UsageError, match="--label-fraction"):
        stratified_subset(LABELS, fraction, 0)


def test_subset_of_nothing():
    with pytest.raises(DataError, match="no train labels"):
        stratified_subset(np.array([], int), 0.5, 0)


def test_folds_cover_every_shape_once_and_are_stratified():
    labels = LABELS[LABELS != 5]
    splits, notes = stratified_folds(labels, 5, 0)
    assert notes == []
    assert len(splits) == 5
    assert np.array_equal(np.sort(np.concatenate([v for _, v in splits])), np.arange(len(labels)))
    for fit, validate in splits:
        assert np.array_equal(np.union1d(fit, validate), np.arange(len(labels)))
        assert not np.intersect1d(fit, validate).size
        assert np.bincount(labels[validate]).tolist()[:2] == [20, 10]


def test_folds_fall_to_the_smallest_class_and_lonely_shapes_are_never_validated():
    labels = np.array([0] * 10 + [1] * 3 + [2])
    splits, notes = stratified_folds(labels, 5, 0)
    assert len(splits) == 3
    assert "3 folds instead of 5" in notes[0]
    assert "1 classes have one train shape each" in notes[1]
    for fit, validate in splits:
        assert 13 in fit
        assert set(labels[validate]) == {0, 1}
        assert set(labels[fit]) == {0, 1, 2}
    again, _ = stratified_folds(labels, 5, 0)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(splits, again, strict=True))
    other, _ = stratified_folds(labels, 5, 1)
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(splits, other, strict=True))


def test_folds_that_can_not_be():
    with pytest.raises(DataError, match="each of 3 classes has one train shape"):
        stratified_folds(np.arange(3), 5, 0)
    with pytest.raises(UsageError, match="at least 2 folds"):
        stratified_folds(LABELS, 1, 0)
