"""Farthest point sampling in machine code chooses what its twin in NumPy chooses."""

import farthest_twin
import numpy as np
import pytest
from cloud_files import random_cloud

from pointssl_datasets.points.farthest import _farthest, farthest


@pytest.mark.parametrize(("count", "points"), [(2, 1), (2, 2), (100, 100), (3000, 200)])
def test_the_same_points(count, points):
    xyz = random_cloud(count, seed=count)
    np.testing.assert_array_equal(farthest(xyz, points), farthest_twin.farthest(xyz, points))


def test_the_same_points_among_equals():
    grid = np.stack(np.meshgrid(*[np.arange(6.0)] * 3), axis=-1).reshape(-1, 3).astype(np.float32)
    for xyz in (grid, np.repeat(grid[:20], 3, axis=0), np.zeros((60, 3), np.float32)):
        np.testing.assert_array_equal(farthest(xyz, 60), farthest_twin.farthest(xyz, 60))


def test_the_source_of_the_kernel_is_the_same():
    xyz = random_cloud(80)
    np.testing.assert_array_equal(_farthest(xyz, 20), farthest_twin.farthest(xyz, 20))
