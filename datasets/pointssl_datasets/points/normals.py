"""Estimating normals: of the plane that fits a point's neighbours, oriented outwards."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pointssl_datasets.base.errors import DataError

Array = NDArray[np.float64]

NEIGHBOURS = 16  # of a point, itself included
VIEWS = 48  # directions from which visibility is tested
CELL = 2.0  # side of a cell of a view, in median distances to the fifth nearest point
STEEP = 3.0  # limit of the slope of a surface within a cell


def estimate_normals(xyz: NDArray[np.float32], neighbours: int = NEIGHBOURS) -> NDArray[np.float32]:
    """Unit normals ``(N, 3)`` of ``xyz (N, 3)``, pointing outwards.

    The axis of a normal is the direction in which the point's nearest neighbours vary least (Hoppe
    et al., Surface Reconstruction from Unorganized Points, SIGGRAPH 1992). Its sign follows from
    visibility. The cloud is viewed from 48 directions, all around. A point is visible in a view if
    no point of the same cell is nearer to the viewer by more than the surface rises within the
    cell. Each view in which a point is visible votes for the side facing the viewer, weighted by
    the squared cosine. A point that is visible in no view, deep in a cavity, follows its
    neighbours. This is right wherever the two sides of a wall are further apart than the points,
    and undecided on an open sheet, which has no outside.

    Raises:
        DataError: fewer than 3 points, which define no plane.
    """
    if len(xyz) < 3:
        raise DataError(f"{len(xyz)} points: at least 3 are needed to estimate normals")
    points = np.asarray(xyz, dtype=np.float64)
    points = points - points.mean(axis=0)
    nearest = cKDTree(points).query(points, k=min(neighbours, len(points)))
    distance, near = np.asarray(nearest[0]), np.asarray(nearest[1], dtype=np.int64)
    group = points[near]  # (N, K, 3)
    offset = group - group.mean(axis=1, keepdims=True)
    covariance = np.einsum("nki,nkj->nij", offset, offset)
    axes: Array = np.linalg.eigh(covariance)[1][:, :, 0]  # eigenvalues ascend
    spacing = distance[:, min(4, distance.shape[1] - 1)]
    cell = CELL * float(np.median(spacing[spacing > 0])) if (spacing > 0).any() else 1.0
    # A few distant points must not lead to millions of cells.
    cell = max(cell, float(np.ptp(points, axis=0).max()) / 512)
    votes = np.zeros(len(points))
    for view in directions(VIEWS):
        facing = axes @ view
        votes += np.where(visible(points, facing, view, cell), facing * np.abs(facing), 0.0)
    agreement = np.einsum("nkc,nc->nk", axes[near], axes)
    of_neighbours = (votes[near] * agreement).sum(axis=1)
    votes = np.where(votes == 0, of_neighbours, votes)
    return (axes * np.where(votes < 0, -1.0, 1.0)[:, None]).astype(np.float32)


def directions(count: int) -> Array:
    """``(count, 3)`` unit vectors spread evenly over the sphere, on a Fibonacci lattice."""
    i = np.arange(count) + 0.5
    height, angle = 1 - 2 * i / count, math.pi * (1 + math.sqrt(5)) * i
    flat = np.sqrt(1 - height * height)
    return np.stack([flat * np.cos(angle), flat * np.sin(angle), height], axis=1)


def visible(points: Array, facing: Array, view: Array, cell: float) -> NDArray[np.bool_]:
    """Whether each point is visible to a distant viewer in the direction ``view``: ``(N,)``.

    Args:
        points: ``(N, 3)``.
        facing: ``(N,)`` cosines between the points' normals and ``view``, of any sign.
        view: ``(3,)`` unit vector towards the viewer.
        cell: side of the square cells of the view.
    """
    axis = np.eye(3)[int(np.argmin(np.abs(view)))]
    across = np.cross(view, axis)
    across /= math.sqrt(float(across @ across))
    column = np.floor(points @ across / cell).astype(np.int64)
    row = np.floor(points @ np.cross(view, across) / cell).astype(np.int64)
    column, row = column - column.min(), row - row.min()
    number = row * (int(column.max()) + 1) + column  # of the cell
    height = points @ view
    top = np.full(int(number.max()) + 1, -np.inf)
    np.maximum.at(top, number, height)
    rise = np.sqrt(np.maximum(1 - facing * facing, 0)) / np.maximum(np.abs(facing), 1e-9)
    front: NDArray[np.bool_] = height >= top[number] - cell * (0.5 + 0.7 * np.minimum(rise, STEEP))
    return front
