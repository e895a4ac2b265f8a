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
from pointssl_datasets.procedural.primitives import (
    box,
    ellipsoid,
    fin,
    revolve,
    rod,
    slab,
    sweep,
    wedge,
    wheel,
)
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.sampling import (
    SMALLEST_SHARE,
    deform,
    missing_side,
    pose,
    sample_surface,
    warp,
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


def plane_normals(xyz, neighbours=12):
    """Normals of planes fitted to the nearest points, and how flat each neighbourhood is."""
    index = cKDTree(xyz).query(xyz, neighbours)[1]
    local = xyz[index] - xyz[index].mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", local, local))
    return vectors[:, :, 0], values[:, 0] / values[:, 1]


FRONT, BACK = [(0.5, 0, 0), (0.2, 0, 1)], [(-0.5, 0, 0), (-0.2, 0, 1)]
SPINE = [(-0.8, 0, 0), (-0.3, 0.1, 0), (0.3, 0.1, 0), (0.8, 0, 0)]
VASE = [(0, -0.6), (0.5, -0.6), (0.3, 0.2), (0.6, 0.6), (0, 0.6)]
SOLIDS = {
    "box": lambda: box((1, 0.6, 0.8)),
    "wedge": lambda: wedge((1, 0.7, 0.8), top=(0.5, 0.7), shift=(0.1, 0)),
    "rod": lambda: rod((-0.5, -0.3, 0), (0.5, 0.4, 0.1), 0.4, 0.2, sides=24),
    "ellipsoid": lambda: ellipsoid((0.9, 0.5, 0.7), sides=32),
    "revolve": lambda: revolve(VASE, sides=28),
    "sweep": lambda: sweep(SPINE, 0.3, sides=20),
    "slab": lambda: slab(FRONT, BACK, (0, 0.4, 0)),
    "fin": lambda: fin(FRONT, BACK, (0.5, 0.3), (0, 1, 0), sides=28),
    "wheel": lambda: wheel((0, 0, 0), (0, 0, 1), 0.8, 0.6),
}


@pytest.mark.parametrize("name", SOLIDS)
@pytest.mark.parametrize("deformed", [False, True])
def test_normals_are_those_of_planes_fitted_to_the_neighbours(name, deformed):
    rng = generator(7, len(name))
    xyz, normals, _ = sample_surface([(0, SOLIDS[name]())], 20000, rng)
    if deformed:
        choices = Random(rng)
        xyz, normals = pose(*deform(xyz, normals, choices), choices)
    fitted, curvature = plane_normals(xyz)
    flat = curvature < 0.01  # away from creases
    assert flat.mean() > 0.7
    cosine = np.abs((fitted * normals).sum(1))[flat]
    assert np.degrees(np.arccos(np.clip(np.median(cosine), 0, 1))) < 4
    assert (cosine > np.cos(np.radians(15))).mean() > 0.98


@pytest.mark.parametrize("name", ["box", "wedge", "rod", "ellipsoid", "sweep", "fin", "slab"])
def test_normals_of_convex_solids_point_outwards(name):
    xyz, normals, _ = sample_surface([(0, SOLIDS[name]())], 4000, generator(8))
    assert (((xyz - xyz.mean(0)) * normals).sum(1) > 0).mean() > 0.99


def test_normals_of_revolved_walls_point_out_of_the_material():
    """Flux of the position through a closed surface is three times its volume: a hollow cup."""
    cup = revolve([(0, 0), (1, 0), (1, 1), (0.9, 1), (0.9, 0.1), (0, 0.1)], sides=64)
    xyz, normals, _ = sample_surface([(0, cup)], 40000, generator(15))
    a, b, c = (cup.vertices[cup.faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    volume = area * (xyz * normals).sum(1).mean() / 3
    assert volume == pytest.approx(np.pi * (1 - 0.81 * 0.9), rel=0.05)


def test_warp_follows_the_inverse_transpose_of_a_numerical_jacobian():
    rng = generator(9)
    xyz, normals = rng.uniform(-1, 1, (50, 3)), rng.normal(size=(50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    for axis in range(3):
        how = {"axis": axis, "taper": 0.3, "twist": -0.7, "bend": 0.25}
        moved, got = warp(xyz, normals, **how)
        steps = 1e-6 * np.eye(3)
        jacobian = np.stack(
            [
                (warp(xyz + s, normals, **how)[0] - warp(xyz - s, normals, **how)[0]) / 2e-6
                for s in steps
            ],
            2,
        )
        slow = np.stack([np.linalg.inv(j).T @ n for j, n in zip(jacobian, normals, strict=True)])
        slow /= np.linalg.norm(slow, axis=1, keepdims=True)
        np.testing.assert_allclose(got, slow, atol=1e-6)
        np.testing.assert_allclose(moved[:, axis], xyz[:, axis])


def test_points_are_spread_by_area():
    """A box of 1 x 2 x 3: the expected counts of its faces, within five standard deviations."""
    xyz, normals, _ = sample_surface([(0, box((1, 2, 3)))], 22000, generator(10))
    for axis, area in enumerate((6, 3, 2)):
        for sign in (-1, 1):
            face = normals[:, axis] * sign > 0.99
            assert abs(face.sum() - 22000 * area / 22) < 5 * np.sqrt(22000 * area / 22)
            on_axis = xyz[face][:, axis] * sign
            np.testing.assert_allclose(on_axis, (0.5, 1.0, 1.5)[axis])
    share = [np.mean(xyz[:, 1] * s > 0) for s in (-1, 1)]
    np.testing.assert_allclose(share, 0.5, atol=0.02)


def test_a_tiny_part_is_raised_to_the_smallest_share():
    parts = [(3, box((1, 1, 1))), (8, box((0.001, 0.001, 0.001)))]
    part = sample_surface(parts, 20000, generator(11))[2]
    assert abs((part == 8).mean() - SMALLEST_SHARE) < 0.005


def test_pose_is_a_rotation_that_tilts_by_at_most_thirty_degrees():
    tilts, headings = [], []
    for k in range(300):
        turned, _ = pose(np.eye(3), np.eye(3), Random(generator(12, k)))
        np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turned) == pytest.approx(1)
        tilts.append(np.degrees(np.arccos(turned[1, 1])))
        headings.append(np.arctan2(turned[0, 2], turned[0, 0]))
    assert max(tilts) < 30.001
    assert max(tilts) > 25
    assert np.histogram(headings, 6)[0].min() > 25


def test_missing_surface_is_one_side_of_a_plane():
    xyz = generator(13).normal(size=(1000, 3))
    keep = missing_side(xyz, 0.2, Random(generator(14)))
    assert keep.sum() == 800
    gone = xyz[~keep]
    # The removed points are separated from the kept by the plane through the cap.
    towards = gone.mean(0) - xyz[keep].mean(0)
    score = (xyz @ towards > np.quantile(xyz @ towards, 0.8)) == ~keep
    assert score.mean() > 0.95
