"""glTF 2.0 in one binary file (GLB), read with trimesh; nodes are applied to their meshes."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.triangles import one_line

_MAX = 50_000_000  # triangles of a scene, and values that a file declares without storing them


def read_glb(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices ``(V, 3)`` and triangles ``(F, 3)`` of the whole scene; no other file is opened.

    Raises:
        DataError: not a GLB file, damaged, compressed (Draco, meshopt), or refers to other files.
    """
    import trimesh

    data = path.read_bytes()
    _check(data, path)
    try:
        scene = trimesh.load_scene(
            io.BytesIO(data), file_type="glb", process=False, skip_materials=True
        )
        return _join(scene, path)
    except DataError:
        raise
    except Exception as error:  # trimesh may raise anything for a damaged file
        raise DataError(f"{path}: cannot be read as GLB ({one_line(error)})") from None


def _check(data: bytes, path: Path) -> None:
    """Raises for files that trimesh must not be given."""
    if data[:4] != b"glTF" or len(data) < 20:
        raise DataError(f"{path}: not a GLB file (it does not begin with 'glTF')")
    if len(data) < int.from_bytes(data[8:12], "little"):
        raise DataError(f"{path}: truncated: its header declares a longer file")
    try:
        head = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
        needed = [str(name) for name in head.get("extensionsRequired", [])]
        buffers = [str(buffer.get("uri", "data:")) for buffer in head.get("buffers", [])]
        accessors = head.get("accessors", [])
        declared = sum(abs(a["count"]) for a in accessors if "bufferView" not in a)
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        raise DataError(f"{path}: damaged: its JSON part is not that of glTF") from None
    compressed = [name for name in needed if "compression" in name]
    if compressed:
        raise DataError(f"{path}: compressed with {compressed[0]}; export it without compression")
    external = [uri for uri in buffers if not uri.startswith("data:")]
    if external:
        raise DataError(
            f"{path}: its vertices are in another file ({external[0][:60]!r}), which is not "
            "opened; export a single file"
        )
    if declared > _MAX:
        raise DataError(f"{path}: damaged: declares {declared} values that it does not contain")


def _join(scene: Any, path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    vertices, faces = [np.empty((0, 3))], [np.empty((0, 3), dtype=np.int64)]
    count = triangles = 0
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        geometry = scene.geometry[name]
        # Many nodes may use one mesh: the file's size does not bound the number of triangles.
        corners = np.asarray(getattr(geometry, "faces", faces[0]), dtype=np.int64)
        triangles += max(len(corners), len(geometry.vertices) // 3)
        if triangles > _MAX:
            raise DataError(f"{path}: a scene of more than {_MAX} triangles")
        xyz = np.asarray(geometry.vertices, dtype=np.float64)
        vertices.append(xyz @ matrix[:3, :3].T + matrix[:3, 3])
        # A node that mirrors would turn its triangles inside out.
        faces.append(count + (corners[:, ::-1] if np.linalg.det(matrix[:3, :3]) < 0 else corners))
        count += len(xyz)
    return np.concatenate(vertices), np.concatenate(faces)
