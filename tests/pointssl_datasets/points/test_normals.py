"""Estimated normals: the known ones of known surfaces, and a slow twin."""

import numpy as np
import pytest
from cloud_files import random_cloud

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.points.normals import CELL, NEIGHBOURS, VIEWS, directions, estimate_normals
from pointssl_datasets.procedural.csg import Body, sample


def solid(*steps, points=4096):
    xyz, normals = sample(steps, points, np.random.default_rng(0))
    return xyz.astype(np.float32), normals


def body(kind, *size, at=(0.0, 0.0, 0.0), cut=False):
    return Body(kind, np.diag(size), np.array(at), cut)


SURFACES = {
    "sphere": [body("sphere", 1.0, 1.0, 1.0)],
    "ellipsoid": [body("sphere", 1.0, 0.5, 0.3)],
    "box": [body("box", 1.0, 0.6, 0.4)],
    "torus": [body("torus", 1.0, 1.0, 1.0)],
    "two pieces": [body("sphere", 0.4, 0.4, 0.4), body("box", 0.3, 0.3, 0.3, at=(1.0, 0.3, 0.0))],
    "bowl": [body("dome", 1, -1, 1), body("dome", 0.8, -1, 0.8, at=(0.0, 0.25, 0.0), cut=True)],
    "step": [body("box", 1.0, 0.4, 1.0), body("box", 0.4, 1.0, 0.4)],
}


@pytest.mark.parametrize("name", SURFACES)
def test_known_surfaces(name):
    xyz, known = solid(*SURFACES[name])
    normals = estimate_normals(xyz)
    assert normals.shape == xyz.shape
    assert normals.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    cosine = (normals * known).sum(axis=1)
    assert (cosine > 0).mean() > 0.97  # outwards
    assert np.median(cosine) > 0.99  # and in the right direction, but for the edges


def test_scale_place_and_turn_do_not_matter():
    xyz, _ = solid(*SURFACES["step"], points=1000)
    normals = estimate_normals(xyz)
    larger = estimate_normals(xyz * 1000 + np.float32(500))
    assert ((normals * larger).sum(axis=1) > 0.999).mean() > 0.995
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turned = estimate_normals((xyz @ turn.T).astype(np.float32))
    # The directions of the views stay, so a few points in doubt may change sides.
    assert ((normals @ turn.T * turned).sum(axis=1) > 0.99).mean() > 0.97


def slowly(xyz):
    """Point by point: neighbours by sorting, the plane by a singular value decomposition."""
    points = xyz.astype(np.float64) - xyz.astype(np.float64).mean(axis=0)
    away = np.linalg.norm(points[:, None] - points, axis=2)
    near = [np.argsort(row, kind="stable")[:NEIGHBOURS] for row in away]
    lines = []
    for group in near:
        centred = points[group] - points[group].mean(axis=0)
        lines.append(np.linalg.svd(centred)[2][2])
    fifth = np.sort(away, axis=1)[:, 4]
    cell = CELL * np.median(fifth)
    votes = np.zeros(len(points))
    for view in directions(VIEWS):
        axis = np.eye(3)[np.argmin(np.abs(view))]
        across = np.cross(view, axis) / np.linalg.norm(np.cross(view, axis))
        up = np.cross(view, across)
        cells = [(np.floor(p @ across / cell), np.floor(p @ up / cell)) for p in points]
        top = {}
        for place, p in zip(cells, points, strict=True):
            top[place] = max(top.get(place, -np.inf), p @ view)
        for i, place in enumerate(cells):
            cosine = lines[i] @ view
            slope = np.tan(np.arccos(min(abs(cosine), 1.0)))
            if points[i] @ view >= top[place] - cell * (0.5 + 0.7 * min(slope, 3.0)):
                votes[i] += cosine * abs(cosine)
    return np.array(lines) * np.where(votes < 0, -1, 1)[:, None], votes


@pytest.mark.parametrize("name", ["torus", "step", "noise"])
def test_the_slow_twin_agrees(name):
    xyz = random_cloud(300) if name == "noise" else solid(*SURFACES[name], points=300)[0]
    slow, votes = slowly(xyz)
    sure = np.abs(votes) > 1e-6
    assert sure.mean() > 0.9
    np.testing.assert_allclose(estimate_normals(xyz)[sure], slow[sure], atol=1e-4)


def test_odd_clouds():
    for xyz in (
        random_cloud(3),
        np.repeat(random_cloud(4), 10, axis=0),  # every point ten times
        random_cloud(50) * np.float32([1, 1, 0]),  # flat
        random_cloud(50) * np.float32([1, 0, 0]),  # on a line
        np.concatenate([random_cloud(50), np.float32([[1e6, 0, 0]])]),  # a point far away
    ):
        normals = estimate_normals(xyz)
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(normals, estimate_normals(xyz))
    with pytest.raises(DataError, match="at least 3"):
        estimate_normals(random_cloud(2))
