"""Normals of a cloud that has none: the plane that fits a point's neighbours, turned outwards."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pointssl_datasets.base.errors import DataError

Array = NDArray[np.float64]

NEIGHBOURS = 16  # of a point, itself included
VIEWS = 48  # directions from which the cloud is looked at
CELL = 2.0  # side of a cell of a view, in typical distances to the fifth nearest point
STEEP = 3.0  # rises of the surface beyond this are not followed within a cell


def estimate_normals(xyz: NDArray[np.float32], neighbours: int = NEIGHBOURS) -> NDArray[np.float32]:
    """Unit normals ``(N, 3)`` of ``xyz (N, 3)``, pointing outwards.

    The line is the direction in which a point's nearest neighbours vary least (Hoppe et al.,
    Surface Reconstruction from Unorganized Points, SIGGRAPH 1992). Its sign: a normal points to
    the side from which the point is seen. The cloud is looked at from 48 directions, all around;
    in each view, a point is seen if none in its cell is nearer to the viewer by more than the
    surface rises within the cell. Every view in which a point is seen votes for the side that it
    sees, by the square of the cosine to it. A point that nobody sees, deep in a cavity, follows
    its neighbours. That is right wherever the two sides of a wall lie further apart than the
    points, and undecided on an open sheet, which has no outside.

    Raises:
        DataError: fewer than 3 points: they have no plane.
    """
    if len(xyz) < 3:
        raise DataError(f"{len(xyz)} points: at least 3 are needed to estimate normals")
    points = np.asarray(xyz, dtype=np.float64)
    points = points - points.mean(axis=0)
    found = cKDTree(points).query(points, k=min(neighbours, len(points)))
    distance, near = np.asarray(found[0]), np.asarray(found[1], dtype=np.int64)
    group = points[near]  # (N, K, 3)
    offset = group - group.mean(axis=1, keepdims=True)
    covariance = np.einsum("nki,nkj->nij", offset, offset)
    lines: Array = np.linalg.eigh(covariance)[1][:, :, 0]  # eigenvalues ascend
    apart = distance[:, min(4, distance.shape[1] - 1)]
    cell = CELL * float(np.median(apart[apart > 0])) if (apart > 0).any() else 1.0
    # A few points far away must not make millions of cells.
    cell = max(cell, float(np.ptp(points, axis=0).max()) / 512)
    votes = np.zeros(len(points))
    for view in directions(VIEWS):
        facing = lines @ view
        votes += np.where(seen(points, facing, view, cell), facing * np.abs(facing), 0.0)
    agree = np.einsum("nkc,nc->nk", lines[near], lines)
    followed = (votes[near] * agree).sum(axis=1)
    votes = np.where(votes == 0, followed, votes)
    return (lines * np.where(votes < 0, -1.0, 1.0)[:, None]).astype(np.float32)


def directions(count: int) -> Array:
    """``(count, 3)`` unit vectors spread evenly over the sphere, on a Fibonacci lattice."""
    i = np.arange(count) + 0.5
    height, angle = 1 - 2 * i / count, math.pi * (1 + math.sqrt(5)) * i
    flat = np.sqrt(1 - height * height)
    return np.stack([flat * np.cos(angle), flat * np.sin(angle), height], axis=1)


def seen(points: Array, facing: Array, view: Array, cell: float) -> NDArray[np.bool_]:
    """Whether each point is seen by a viewer far away in the direction ``view``: ``(N,)``.

    Args:
        points: ``(N, 3)``.
        facing: ``(N,)`` cosines between the points' normals and ``view``, of any sign.
        view: ``(3,)`` unit vector towards the viewer.
        cell: side of the square cells of the picture.
    """
    axis = np.eye(3)[int(np.argmin(np.abs(view)))]
    across = np.cross(view, axis)
    across /= math.sqrt(float(across @ across))
    column = np.floor(points @ across / cell).astype(np.int64)
    row = np.floor(points @ np.cross(view, across) / cell).astype(np.int64)
    column, row = column - column.min(), row - row.min()
    place = row * (int(column.max()) + 1) + column
    height = points @ view
    top = np.full(int(place.max()) + 1, -np.inf)
    np.maximum.at(top, place, height)
    rise = np.sqrt(np.maximum(1 - facing * facing, 0)) / np.maximum(np.abs(facing), 1e-9)
    front: NDArray[np.bool_] = height >= top[place] - cell * (0.5 + 0.7 * np.minimum(rise, STEEP))
    return front
