"""The procedural shapes: the same everywhere, complete, varied, and with normals that are right."""

import hashlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import resolve
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.sampling import (
    deform,
    sample_surface,
)
from pointssl_datasets.sets.shapes import CATEGORIES, CLASSES, PARTS, make_shape, open_shapes

# Parts that every shape of the category has; the others are optional.
MANDATORY = {
    "airplane": {0, 1, 2},
    "bag": {4, 5},
    "cap": {6, 7},
    "car": {8, 9, 10, 11},
    "chair": {12, 13, 14},
    "earphone": {16},
    "guitar": {19, 20, 21},
    "knife": {22, 23},
    "lamp": {25, 27},
    "laptop": {28, 29},
    "motorbike": {30, 31, 32, 33, 35},
    "mug": {36, 37},
    "pistol": {38, 39, 40},
    "rocket": {41, 42, 43},
    "skateboard": {44, 45},
    "table": {47, 48},
}

# index -> digest of the train split's shape
GOLDEN = {
    0: "8dd44808dca61c75",
    1: "c12c5b3d5baf46e1",
    2: "e309c1097916d679",
    3: "803066b93628d026",
    4: "5cd3f80253e9c3be",
    5: "13fb266f47a2d09f",
    6: "17c3ce2ad6ccb1fd",
    7: "c98bb97777723106",
    8: "cb286e62f5d4a0ec",
    9: "ed069d9ee1100b29",
    10: "fa1a9bc6ddcb19ad",
    11: "9360d182973a1116",
    12: "df8d165cf67b3738",
    13: "264dbe2575a40c97",
    14: "563a39308755927e",
    15: "a4d82f5e1be4f0e6",
    1599: "ff2a07048d94acc5",
}


def generator(*seed):
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))


def digest(index):
    """A hash that a difference in the last bits of a sine does not change."""
    shape = make_shape("train", index)
    rounded = np.round(shape["xyz"].astype(np.float64), 4) + 0.0
    return hashlib.sha256(rounded.tobytes() + shape["part"].tobytes()).hexdigest()[:16]


def test_classes_and_parts_are_those_of_shapenetpart():
    assert len(CLASSES) == 16
    assert list(CLASSES) == sorted(CLASSES)
    assert len(PARTS) == len(set(PARTS)) == 50
    first = 0
    for category in CATEGORIES.values():
        assert category.first == first
        first += len(category.parts)


def test_the_registry_opens_it_and_an_item_has_the_promised_form():
    source = resolve("shapes", {"shapes": "pointssl_datasets.sets.shapes:open_shapes"}, "dataset")(
        None, "test", size=17, seed=3
    )
    assert (source.dataset, source.split, source.count, source.up_axis) == (
        "shapes",
        "test",
        17,
        "y",
    )
    assert source.key == "shapes-v1-test-17-3"
    clouds = list(source.clouds())
    assert [c["label"] for c in clouds] == [*range(16), 0]
    assert clouds[16]["name"] == "airplane/000016"
    assert len({c["name"] for c in clouds}) == 17
    for cloud in clouds:
        assert cloud["xyz"].shape == cloud["normals"].shape == (2048, 3)
        assert cloud["xyz"].dtype == cloud["normals"].dtype == np.float32
        assert cloud["part"].shape == (2048,)
        assert cloud["part"].dtype == np.int64


def test_default_sizes():
    assert open_shapes(None, "train").count == 1600
    assert open_shapes(None, "test").count == 800


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"split": "val"}, ["'val'", "train, test"]),
        ({"size": 0}, ["size is 0", "at least 1"]),
        ({"seed": -1}, ["seed is -1"]),
        ({"up_axis": "z"}, ["'z'", "y-up"]),
    ],
)
def test_bad_options_are_said_in_one_line(arguments, words):
    with pytest.raises(UsageError) as error:
        open_shapes(None, **{"split": "train", **arguments})
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words)


def test_an_item_depends_on_its_split_seed_and_index_alone():
    few = list(open_shapes(None, "train", size=5).clouds())
    many = list(itertools.islice(open_shapes(None, "train", size=500).clouds(), 5))
    for a, b in zip(few, many, strict=True):
        np.testing.assert_array_equal(a["xyz"], b["xyz"])
        np.testing.assert_array_equal(a["part"], b["part"])
    alone = make_shape("train", 4)
    np.testing.assert_array_equal(alone["xyz"], few[4]["xyz"])
    for other in (make_shape("test", 4), make_shape("train", 4, seed=1), make_shape("train", 20)):
        assert np.abs(other["xyz"] - alone["xyz"]).max() > 0.05


def test_another_process_makes_the_same_shapes():
    code = (
        "from pointssl_datasets.sets.shapes import make_shape\n"
        "print(*(make_shape('train', i)['xyz'].tobytes().hex()[:4000] for i in (33, 4)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    here = [make_shape("train", i)["xyz"].tobytes().hex()[:4000] for i in (33, 4)]
    assert run.stdout.split() == here


@pytest.mark.parametrize(("index", "expected"), GOLDEN.items())
def test_shapes_never_change_silently(index, expected):
    """If the change is meant, raise VERSION in shapes.py: caches and results hang on it."""
    assert digest(index) == expected


@pytest.mark.parametrize("name", CLASSES)
def test_fifty_of_each_category_are_complete_finite_and_have_unit_normals(name):
    category, seen = CATEGORIES[name], set()
    own = set(range(category.first, category.first + len(category.parts)))
    for k in range(50):
        rng = generator(5, CLASSES.index(name), k)
        xyz, normals, part = sample_surface(category.build(Random(rng)), 2048, rng)
        xyz, normals = deform(xyz / np.abs(xyz).max(), normals, Random(rng))
        present = set(part.tolist())
        assert MANDATORY[name] <= present <= own
        assert np.isfinite(xyz).all()
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-9)
        seen |= present
    assert seen == own  # optional parts do occur


def test_served_shapes_are_finite_with_unit_normals_in_the_unit_sphere_and_vary_in_pose():
    for index in range(64):
        shape = make_shape("test", index)
        assert np.isfinite(shape["xyz"]).all()
        np.testing.assert_allclose(np.linalg.norm(shape["normals"], axis=1), 1, atol=1e-5)
        assert 0.9 < np.linalg.norm(shape["xyz"], axis=1).max() < 1.1


def chamfer(a, b):
    return (cKDTree(a).query(b)[0].mean() + cKDTree(b).query(a)[0].mean()) / 2


@pytest.mark.parametrize("name", CLASSES)
def test_shapes_of_a_category_differ_even_before_deformation_and_pose(name):
    """Against the distance between two samplings of one shape, which variety must exceed."""
    clouds = []
    for k in range(8):
        rng = generator(6, CLASSES.index(name), k)
        solids = CATEGORIES[name].build(Random(rng))
        pair = [sample_surface(solids, 1024, rng)[0] for _ in range(2)]
        size = np.ptp(pair[0], axis=0).max()
        clouds.append([(p - pair[0].mean(0)) / size for p in pair])
    again = np.median([chamfer(a, b) for a, b in clouds])
    others = [chamfer(a[0], b[0]) for a, b in itertools.combinations(clouds, 2)]
    assert np.median(others) > 2 * again
    assert min(others) > 1.05 * again
