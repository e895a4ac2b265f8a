"""The encoder among scikit-learn's own: pipelines, clones, pickles, and scikit-learn's checks."""

import pickle
import unittest
import warnings

import numpy as np
import pytest
import torch
from networks import save_encoder, save_task
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils import estimator_checks, validation

from pointssl.checkpoints.encoder import load_encoder
from pointssl.sklearn import PointEncoder
from pointssl_datasets.base.errors import UserError
from pointssl_datasets.packing.pack import unit_sphere


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("weights") / "w.pt", points=32)


def clouds(count=6, points=40, seed=0, width=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, points, width)) * 3 + 1


def test_features_are_those_of_the_encoder(checkpoint):
    X = clouds(points=32)
    found = PointEncoder(checkpoint, batch_size=4).fit().transform(X)
    assert found.dtype == np.float32
    assert found.shape == (6, 32)
    scaled = np.stack([unit_sphere(x.astype(np.float32)) for x in X])
    with torch.no_grad():
        expected = load_encoder(checkpoint)(torch.from_numpy(scaled)).cloud.numpy()
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.ptp(expected, axis=0).max() > 1e-3


@pytest.mark.parametrize("checkpoint", [(), ("",), (None,)])
def test_without_a_checkpoint(checkpoint):
    with pytest.raises(ValueError, match="checkpoint must be given"):
        PointEncoder(*checkpoint).fit(clouds())


def test_features_ignore_scale_and_position_by_default(checkpoint):
    X = clouds()
    encoder = PointEncoder(checkpoint).fit()
    assert np.allclose(encoder.transform(X), encoder.transform(7 * X + 5), atol=1e-4)
    raw = PointEncoder(checkpoint, normalise="none").fit()
    assert not np.allclose(raw.transform(X), raw.transform(7 * X + 5), atol=1e-2)


def test_a_clouds_feature_does_not_depend_on_other_clouds(checkpoint):
    ragged = [clouds(1, n, seed=n)[0] for n in (20, 40, 90)]  # fewer, and more, than are seen
    encoder = PointEncoder(checkpoint, batch_size=2).fit()
    together = encoder.transform(ragged)
    for one, feature in zip(ragged, together, strict=True):
        assert np.allclose(encoder.transform([one])[0], feature, atol=1e-5)
        assert np.allclose(encoder.transform(one[None])[0], feature, atol=1e-5)


def test_parameters_change_the_sampled_points(checkpoint):
    X = clouds(points=100)
    first = PointEncoder(checkpoint).fit().transform(X)
    assert np.array_equal(first, PointEncoder(checkpoint).fit().transform(X))
    for change in ({"seed": 1}, {"sampling": "fps"}, {"sampling": "first"}, {"points": 64}):
        assert not np.allclose(first, PointEncoder(checkpoint, **change).fit().transform(X))


def test_pipelines_clones_searches_and_pickles(checkpoint):
    labels = np.arange(24) % 2
    X = clouds(24) * np.where(labels[:, None, None], (1, 1, 1), (1, 4, 1))
    model = make_pipeline(PointEncoder(checkpoint), StandardScaler(), SVC())
    assert cross_val_score(model, X, labels, cv=3).mean() > 0.9
    model.fit(X, labels)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(X), model.predict(X))
    fresh = clone(model)
    assert fresh.get_params()["pointencoder__checkpoint"] == checkpoint
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    search = GridSearchCV(model, {"pointencoder__points": [8, 32]}, cv=2).fit(X, labels)
    assert search.best_params_["pointencoder__points"] in (8, 32)


def test_a_pickle_needs_no_checkpoint(tmp_path):
    path = save_encoder(tmp_path / "w.pt")
    encoder = PointEncoder(path).fit()
    before = encoder.transform(clouds())
    text = pickle.dumps(encoder)
    path.unlink()
    assert np.array_equal(pickle.loads(text).transform(clouds()), before)


def test_names_of_features(checkpoint):
    encoder = PointEncoder(checkpoint).set_output(transform="default").fit()
    names = encoder.get_feature_names_out()
    assert names[:2].tolist() == ["pointencoder0", "pointencoder1"]
    assert len(names) == encoder.n_features_out_ == 32


def test_normals_are_further_columns(tmp_path):
    encoder = PointEncoder(save_encoder(tmp_path / "w.pt", normals=True)).fit()
    X = clouds(width=6)
    changed = X.copy()
    changed[..., 3:] *= -1
    assert not np.allclose(encoder.transform(X), encoder.transform(changed))
    with pytest.raises(ValueError, match=r"cloud 0: expected \(N, 6\)"):
        encoder.transform(clouds())


def test_the_head_of_a_finetuned_network_is_left_out(tmp_path):
    path = save_task(tmp_path / "w.pt", "cls")
    assert PointEncoder(path).fit_transform(clouds()).shape == (6, 32)


def broken(number, value):
    X = clouds()
    X[number, 3, 1] = value
    return X


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (clouds()[0], r"one cloud is cloud\[None\]"),
        (clouds()[..., :2], r"cloud 0: expected \(N, 3\) numbers"),
        ([clouds()[0], "words"], "cloud 1: expected"),
        (broken(2, np.nan), "cloud 2: 1 of 40 points are NaN or infinite"),
        (np.zeros((2, 5, 3)), "cloud 0: all 5 points are identical"),
        ([], "0 sample"),
    ],
)
def test_bad_clouds(checkpoint, X, message):
    with pytest.raises(ValueError, match=message):
        PointEncoder(checkpoint).fit().transform(X)


@pytest.mark.parametrize(
    "change", [{"sampling": "all"}, {"normalise": "sphere"}, {"device": "tpu"}, {"points": 0}]
)
def test_bad_parameters(checkpoint, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        PointEncoder(checkpoint, **change).fit()


def test_too_few_points_and_no_checkpoint(checkpoint):
    with pytest.raises(ValueError, match="fewer than k = 4 neighbours"):
        PointEncoder(checkpoint, points=3).fit().transform(clouds())
    with pytest.raises(UserError, match="no checkpoint at"):
        PointEncoder("nowhere.pt").fit()


class Flat(PointEncoder):
    """The encoder on rows of numbers, each row made a cloud of seven points: scikit-learn's checks
    know tables only, and skip an estimator that says that it takes three-dimensional input."""

    def fit(self, X, y=None):
        return super().fit(lifted(validation.validate_data(self, X)), y)

    def transform(self, X):
        validation.check_is_fitted(self)
        return super().transform(lifted(validation.validate_data(self, X, reset=False)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.no_validation = True, False
        return tags


def lifted(rows):
    """``(M, F)`` to ``(M, 7, 3)``."""
    steps, columns = np.arange(1.0, 8), np.arange(7)
    one, next_one = (rows[:, (columns + k) % rows.shape[1]] for k in (0, 1))
    return np.stack([np.broadcast_to(steps, one.shape), one * steps, next_one], axis=2)


# What can't be checked here, and why. With tables there is nothing else.
NOT_CHECKED = {"check_array_api_input": "asks for SCIPY_ARRAY_API in the environment"}


@pytest.mark.skipif(
    not hasattr(estimator_checks, "estimator_checks_generator"), reason="needs scikit-learn 1.6"
)
def test_the_checks_of_scikit_learn(tmp_path):
    encoder = Flat(save_encoder(tmp_path / "w.pt", points=8))
    passed = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one, check in estimator_checks.estimator_checks_generator(encoder):
            name = check.func.__name__
            try:
                check(one)
            except unittest.SkipTest:
                assert name in NOT_CHECKED
            passed += 1
    assert passed > 30


def test_tags_declare_three_dimensional_input(checkpoint):
    tags = PointEncoder(checkpoint).__sklearn_tags__()
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.two_d_array
