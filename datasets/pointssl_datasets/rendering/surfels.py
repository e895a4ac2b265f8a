"""Surfels: ellipses in place of points, which make a cloud a surface that can be drawn.

Every point becomes the ellipse that fits its nearest neighbours (their mean and covariance), as in
surface splatting (Zwicker et al., SIGGRAPH 2001). On an open surface that is a disk as wide as the
points are apart; on a border or a rod it gets narrower by itself, so outlines stay crisp.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.rendering import loops
from pointssl_datasets.rendering.cameras import Array, checked, framed_cloud

NEIGHBOURS = 16  # points that an ellipse is fitted to, the point itself included
WIDEST = 2.0  # no ellipse is wider than this many times the typical one


@dataclass(frozen=True)
class Surfels:
    """Ellipses in space: means ``(N, 3)``, covariances ``(N, 3, 3)``, normals ``(N, 3)``."""

    centre: Array
    covariance: Array
    plane: Array  # unit normal of the ellipse
    normal: Array  # unit normal for the light
    colour: Array | None  # (N, 3), 0-255
    apart: float  # how far apart the points typically are


def surfels(
    xyz: ArrayLike,
    normals: ArrayLike | None = None,
    colours: ArrayLike | None = None,
    *,
    frame: bool = True,
) -> Surfels:
    """The ellipses of a cloud, the same for all views; arguments as for ``render_views``."""
    points = checked(xyz, "cloud to render")
    count = len(points)
    given = None if normals is None else checked(normals, "normals of the cloud", rows=count)
    colour = None if colours is None else checked(colours, "colours of the cloud", rows=count)
    if colour is not None and (colour.min() < 0 or colour.max() > 1):
        values = f"{colour.min():.4g} to {colour.max():.4g}"
        raise DataError(f"colours of the cloud: expected values from 0 to 1, found {values}")
    if frame:
        points = framed_cloud(points)

    tree = cKDTree(points, balanced_tree=False)
    near = _nearest(tree, points)
    if (points[near[:, -1]] == points).all(axis=1).any():  # padded with copies of points
        first = np.sort(np.unique(points, axis=0, return_index=True)[1])
        tree = cKDTree(points[first])
        near = first[_nearest(tree, points)]
    centre, covariance = loops.moments(points, near)
    # Among scattered leaves the neighbours lie far apart without a surface between them.
    spread = np.trace(covariance, axis1=1, axis2=2)
    typical = float(np.median(spread))
    covariance *= np.minimum(1.0, WIDEST**2 * typical / np.maximum(spread, 1e-300))[:, None, None]
    plane = flattest(covariance)
    normal = loops.smoothed(plane, near)
    if given is not None:
        length = np.abs(given).max(axis=1, keepdims=True)
        given = given / np.where(length > 0, length, 1.0)  # so that its squares do not overflow
        length = np.linalg.norm(given, axis=1, keepdims=True)
        normal = np.where(length > 0, given / np.where(length > 0, length, 1.0), plane)
    colour = None if colour is None else 255 * colour
    return Surfels(centre, covariance, plane, normal, colour, typical**0.5)


def _nearest(tree: cKDTree, points: Array) -> NDArray[np.int64]:
    """Indices ``(N, K)`` of the nearest points, K at most :data:`NEIGHBOURS`."""
    index = np.asarray(tree.query(points, k=min(NEIGHBOURS, tree.n))[1], dtype=np.int64)
    return index.reshape(len(points), -1)


def flattest(covariance: Array) -> Array:
    """Unit vectors ``(N, 3)`` of least variance of the covariances ``(N, 3, 3)``.

    The smallest eigenvalue in closed form (Smith, Communications of the ACM 1961), then a cross
    product of two rows of ``A - eigenvalue I``: ten times as fast as LAPACK on many tiny matrices.
    Where two eigenvalues are the smallest, it is one of the directions that share them.
    """
    scale = np.abs(covariance).max(axis=(1, 2))
    matrix = covariance.transpose(1, 2, 0) / np.where(scale > 0, scale, 1.0)
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = matrix
    mean = (xx + yy + zz) / 3
    dx, dy, dz = xx - mean, yy - mean, zz - mean
    off = xy * xy + xz * xz + yz * yz
    size = np.sqrt((dx * dx + dy * dy + dz * dz + 2 * off) / 6)
    determinant = dx * (dy * dz - yz * yz) - xy * (xy * dz - yz * xz) + xz * (xy * yz - dy * xz)
    cosine = determinant / np.maximum(2 * size**3, 1e-300)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0)) / 3
    smallest = mean + 2 * size * np.cos(angle + 2 * np.pi / 3)

    x, y, z = xx - smallest, yy - smallest, zz - smallest  # the diagonal of A - smallest I
    products = np.stack(
        [
            [xy * yz - xz * y, xz * xy - x * yz, x * y - xy * xy],  # rows 0 and 1
            [xy * z - xz * yz, xz * xz - x * z, x * yz - xy * xz],  # rows 0 and 2
            [y * z - yz * yz, yz * xz - xy * z, xy * yz - y * xz],  # rows 1 and 2
        ]
    )
    squares = (products * products).sum(axis=1)
    best = squares.argmax(axis=0)
    every = np.arange(len(best))
    vector, square = products[best, :, every], squares[best, every]
    for i in np.flatnonzero(square < 1e-20):  # a rod or a ball: few, so no hurry
        vector[i] = np.linalg.eigh(covariance[i])[1][:, 0]
        square[i] = 1.0
    return np.asarray(vector / np.sqrt(square)[:, None])
