"""``primitives``: the same shapes everywhere, in any number."""

import hashlib

import numpy as np
import pytest

from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.lazy import Lazy
from pointssl_datasets.sets.primitives import make_composition, open_primitives

# index -> digest of the train split's composition
GOLDEN = {
    0: "bf11676c0b85bd06",
    1: "48f060115ea07118",
    2: "225e63dda5526319",
    47: "d07ec327b0a48b9c",
    9999: "77ba0b8cccbe92e6",
}


def test_an_item_has_the_promised_form():
    source = open_primitives(None, "test", size=3, seed=5)
    assert (source.dataset, source.split, source.count) == ("primitives", "test", 3)
    assert (source.classes, source.parts, source.up_axis) == ((), (), "y")
    assert list(source.names) == ["0000000", "0000001", "0000002"]
    for cloud in source.clouds():
        assert "label" not in cloud
        assert cloud["xyz"].shape == cloud["normals"].shape == (2048, 3)
        assert cloud["xyz"].dtype == cloud["normals"].dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(cloud["normals"], axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(cloud["xyz"], axis=1).max(), 1, atol=1e-5)


@pytest.mark.parametrize("points", [1, 7, 500, 5000])
def test_the_number_of_points_is_exact(points):
    for index in range(5):
        assert make_composition("train", index, points=points + 1)["xyz"].shape == (points + 1, 3)


def test_a_shape_depends_on_seed_split_and_index_alone():
    small, large = (open_primitives(None, "train", size=size) for size in (10, 1_000_000))
    for index in (9, 0, 4):
        for field in ("xyz", "normals"):
            np.testing.assert_array_equal(small.read(index)[field], large.read(index)[field])
    assert small.key != large.key
    others = [make_composition("train", 9, seed=1), make_composition("test", 9)]
    for other in others:
        assert not np.allclose(other["xyz"], small.read(9)["xyz"], atol=0.1)


def test_the_values_are_those_of_every_machine():
    found = {}
    for index in GOLDEN:
        shape = make_composition("train", index)
        rounded = np.round(shape["xyz"].astype(np.float64), 4) + 0.0
        found[index] = hashlib.sha256(rounded.tobytes()).hexdigest()[:16]
    assert found == GOLDEN


def test_a_million_open_at_once():
    source = open_primitives(None, "train", size=1_000_000)
    assert source.names[-1] == source.names[999_999] == "0999999"
    assert source.names[10:12] == ["0000010", "0000011"]
    assert len(source.names) == source.count == 1_000_000
    assert isinstance(source.names, Lazy)
    with pytest.raises(IndexError):
        open_primitives(None, "train", size=3).names[3]


@pytest.mark.parametrize(
    ("split", "size", "seed", "said"),
    [("val", None, 0, "split 'val'"), ("train", 0, 0, "size is 0"), ("train", 1, -1, "seed is -1")],
)
def test_wrong_options_are_refused(split, size, seed, said):
    with pytest.raises(UsageError, match=said):
        open_primitives(None, split, size=size, seed=seed)
