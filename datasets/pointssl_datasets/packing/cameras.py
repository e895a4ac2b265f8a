"""The cameras of rendered images, kept beside them.

cameras.npy (V, 3, 4) float32: for each image of images.npy the projection matrix that takes points
of its cloud, in the coordinates of xyz.npy, to the image; NaN where it is not known. The convention
is that of :func:`pointssl_datasets.rendering.cameras.projections`. Images that a dataset brings
along have no such file.
"""

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pointssl_datasets.base.axes import TO_Y_UP
from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.writing import whole_file
from pointssl_datasets.packing.arrays import read_array, read_meta
from pointssl_datasets.packing.npy_stream import NpyStream

FILE = "cameras.npy"
_TOLERANCE = 1e-3  # radii of the shape; float32 moves points by less, another drawing by far more


def camera_seed(seed: int, index: int) -> int:
    """The seed of the cameras of cloud ``index``, so that no two clouds share their cameras."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def keep_cameras(
    images: Path,
    pack_dir: Path,
    meshes: Sequence[list[Path]],
    views: int,
    seed: int,
    progress: bool = False,
) -> None:
    """Writes cameras.npy into a folder of rendered images, unless it is there.

    The cameras follow from the seed and the shapes alone, so folders that were rendered before
    cameras were kept get theirs, too. Where the cache can't be written they stay unknown.

    Args:
        images: the folder of images.npy.
        pack_dir: the packed clouds.
        meshes: of each cloud the mesh that was rendered, or an empty list.
        views, seed: as for :func:`~pointssl_datasets.packing.images.render_images`.

    Raises:
        DataError: a mesh can't be read.
    """
    if (images / FILE).exists():
        return
    from pointssl_datasets.rendering.cameras import cameras, projections

    up_axis = read_meta(pack_dir)["up_axis_of_files"]
    offsets, xyz = read_array(pack_dir, "offsets"), read_array(pack_dir, "xyz")
    with (
        contextlib.suppress(UserError),  # the images are there, and can be used without
        whole_file(images / FILE) as temporary,
        NpyStream(temporary, "<f4", (3, 4)) as stream,
        tqdm(total=len(meshes), desc="cameras", unit="cloud", disable=not progress, leave=False)
        as bar,
    ):  # fmt: skip
        for i, (start, end) in enumerate(itertools.pairwise(offsets)):
            placed = _placement(xyz[start:end], meshes[i], up_axis)
            poses = cameras(views, camera_seed(seed, i))
            stream.append(
                np.full_like(poses, np.nan) if placed is None else projections(poses, *placed)
            )
            bar.update()


def _placement(
    xyz: NDArray[np.float32], mesh: list[Path], up_axis: str
) -> tuple[float, NDArray[np.float64]] | None:
    """Scale and shift from the packed cloud ``(N, 3)`` to the shape as the renderer places it.

    A mesh is framed by its own centre and radius, a cloud was normalised by those of its points. So
    the points are drawn from the mesh again, which places them in both. None where the points of
    the cloud are others, e.g. because the user's own dataset drew them.
    """
    from pointssl_datasets.files.meshes import read_mesh
    from pointssl_datasets.files.readers import drawn_points
    from pointssl_datasets.rendering.cameras import framed_cloud, placement
    from pointssl_datasets.rendering.meshes import mesh_placement

    if not mesh:
        scale, shift, _ = placement(xyz, framed_cloud(xyz.astype(np.float64)))
        return scale, shift
    read, up = read_mesh(mesh[0]), TO_Y_UP[up_axis]
    scale, shift = mesh_placement(read.vertices @ up.T, read.faces)
    drawn, _ = drawn_points(read, mesh[0], len(xyz))
    scale, shift, error = placement(xyz, scale * (drawn @ up.T) + shift)
    return (scale, shift) if error < _TOLERANCE else None
