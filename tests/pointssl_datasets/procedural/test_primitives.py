"""Solids: their normals are those of fitted planes, and point outwards."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

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
    deform,
    pose,
    sample_surface,
)


def generator(*seed):
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))


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
