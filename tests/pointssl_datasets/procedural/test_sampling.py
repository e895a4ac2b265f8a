"""Sampling by area, deformation with its normals, pose, and the missing side."""

import numpy as np
import pytest

from pointssl_datasets.procedural.primitives import (
    box,
)
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.sampling import (
    SMALLEST_SHARE,
    missing_side,
    pose,
    sample_surface,
    warp,
)


def generator(*seed):
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))


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
