"""Reads a cloud or mesh file of any supported format. Pickles are never loaded.

Clouds: ``.ply .pcd .las .npy .npz .txt .xyz .pts``; meshes: ``.off .obj .stl .glb``, and ``.ply``
with faces.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.source import Cloud
from pointssl_datasets.files.fields import check_xyz, from_fields
from pointssl_datasets.files.las import read_las
from pointssl_datasets.files.meshes import (
    MESH_SUFFIXES,
    Mesh,
    check_file,
    check_mesh,
    draw,
    read_mesh,
)
from pointssl_datasets.files.origin import near_origin
from pointssl_datasets.files.pcd import read_pcd
from pointssl_datasets.files.ply import read_ply
from pointssl_datasets.files.tables import read_npy, read_npz, read_text

MESH_POINTS = 4096  # sampled from a mesh by default


def read_cloud(path: Path, *, mesh_points: int = MESH_POINTS) -> Cloud:
    """``xyz (N, 3)`` float32, and ``normals``, ``colours``, ``part (N,)`` if the file has them.

    A mesh is sampled: ``mesh_points`` points with normals, uniform by area and always the same for
    a file of that name; ``mesh`` is its path. If no face has an area, its vertices are the cloud.

    In ``.npy`` and text files columns 4 to 6 are normals if all rows are unit vectors, colours if
    :func:`~.fields.unit_colours` accepts them; a seventh and last column of whole numbers from 0 to
    255 after these is ``part``. Any other columns are ignored. Points much farther from the origin
    than the cloud is large (UTM) are shifted near it, see :mod:`~pointssl_datasets.files.origin`.

    Raises:
        DataError: the file is missing, empty, truncated or damaged, contains pickled objects, has
            the wrong columns, NaN or infinity, fewer than 2 points, or identical points only.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise DataError(f"{path}: unknown file format; clouds and meshes are {' '.join(SUFFIXES)}")
    check_file(path)
    try:
        content = READERS[suffix](path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise DataError(f"{path}: too large for the memory of this machine") from None
    if isinstance(content, Mesh):
        return _sample(content, path, mesh_points)
    content["xyz"] = check_xyz(near_origin(content["xyz"]), str(path))
    return content


def drawn_points(
    mesh: Mesh, path: Path, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``count`` points of the mesh in the file ``path`` and their normals, ``(count, 3)`` each.

    They are those of :func:`read_cloud`: always the same for a file of that name.

    Raises:
        ValueError: no triangle has an area.
    """
    seed = hashlib.sha256(os.fsencode(path.name)).digest()[:8]
    rng = np.random.default_rng(int.from_bytes(seed, "big"))
    return draw(mesh.vertices, mesh.faces, count, rng)


def _sample(mesh: Mesh, path: Path, count: int) -> Cloud:
    try:
        drawn, normals = drawn_points(mesh, path, count)
    except ValueError:
        corners = near_origin(mesh.vertices)
        return Cloud(xyz=check_xyz(corners, f"{path}: no face has an area; its vertices"))
    xyz = check_xyz(near_origin(drawn), str(path))
    return Cloud(xyz=xyz, normals=normals.astype(np.float32), mesh=path)


def _read_ply(path: Path) -> Cloud | Mesh:
    ply = read_ply(path)
    if len(ply.faces):
        return check_mesh(ply.columns("x", "y", "z").astype(np.float64), ply.faces, path)
    fields = {"xyz": ply.columns("x", "y", "z")}
    if ply.has("nx", "ny", "nz"):
        fields["normals"] = ply.columns("nx", "ny", "nz")
    for names in (("red", "green", "blue"), ("r", "g", "b")):
        if ply.has(*names):
            fields["colours"] = ply.columns(*names)
    for name in ("class", "label", "part"):
        if ply.has(name) and ply.vertices[name].dtype.kind in "iu":
            fields["label"] = ply.vertices[name]
    return from_fields(fields, path)


def _read_pcd(path: Path) -> Cloud:
    return from_fields(read_pcd(path), path)


def _read_las(path: Path) -> Cloud:
    return from_fields(read_las(path), path)


READERS: dict[str, Callable[[Path], Cloud | Mesh]] = {
    ".ply": _read_ply,
    ".pcd": _read_pcd,
    ".las": _read_las,
    ".laz": _read_las,
    ".npy": read_npy,
    ".npz": read_npz,
    ".txt": read_text,
    ".xyz": read_text,
    ".pts": read_text,
    **dict.fromkeys(MESH_SUFFIXES, read_mesh),
}
SUFFIXES = tuple(READERS)
