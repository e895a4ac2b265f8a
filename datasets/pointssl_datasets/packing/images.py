"""The images of a packed dataset: decoded and resized, or rendered from meshes or clouds, once.

images.npy (V, H, W, 3) uint8, RGB on black    image_offsets.npy (M + 1,) int64
cameras.npy (V, 3, 4) float32, of rendered images; see :mod:`.cameras`
"""

import errno
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.paths import cache_root, stat_key
from pointssl_datasets.packing.arrays import read_array, read_meta, read_names, read_paths
from pointssl_datasets.packing.cache import built_folder
from pointssl_datasets.packing.cameras import camera_seed, keep_cameras
from pointssl_datasets.packing.npy_stream import NpyStream

_VERSION = "2"
_MAX_PIXELS = 64 * 1024 * 1024  # more is a mistake or an attack; PIL would take gigabytes
_FORMATS = ("JPEG", "PNG", "WEBP")
_CHUNK = 256  # images decoded before they are written, which bounds the memory


def pack_images(
    pack_dir: Path, image_size: int, *, cache_dir: Path | None = None, progress: bool = False
) -> Path | None:
    """The folder with the dataset's own images, or None if it has none.

    Transparent images are composited on black. Images are resized (bilinear, antialiased) to
    ``(image_size, image_size)`` without cropping.

    Raises:
        DataError: an image can't be decoded, some clouds have none, or the disk is too full.
    """
    paths = read_paths(pack_dir, "images")
    if not any(paths):
        return None
    names = read_names(pack_dir)
    bare = [name for name, images in zip(names, paths, strict=True) if not images]
    if bare:
        raise DataError(f"{len(bare)} of {len(names)} clouds have no images: {', '.join(bare[:5])}")
    flat = [path for images in paths for path in images]
    counts = [len(images) for images in paths]
    return _built(
        pack_dir,
        stat_key(flat, str(counts)),
        cache_dir,
        counts,
        image_size,
        lambda: _decoded(flat, image_size, progress),
    )


def render_images(
    pack_dir: Path,
    image_size: int,
    *,
    views: int,
    seed: int = 0,
    cache_dir: Path | None = None,
    progress: bool = False,
) -> Path:
    """The folder with ``views`` rendered images of every cloud, seeded by its number.

    A cloud that was drawn from a mesh is rendered from that mesh. If none of the mesh files exist,
    e.g. because the packed folder was copied to another machine, all images are rendered from the
    clouds. The cameras are kept beside the images, see :mod:`~pointssl_datasets.packing.cameras`.

    Raises:
        DataError: some of the mesh files are gone or can't be read, the cache can't be written, or
            the disk is too full.
    """
    meshes = read_meshes(pack_dir)
    key = stat_key((path for paths in meshes for path in paths), f"{views}-{seed}")
    folder = _built(
        pack_dir,
        f"render-{key}",
        cache_dir,
        [views] * len(meshes),
        image_size,
        lambda: _rendered(pack_dir, meshes, image_size, views, seed, progress),
    )
    keep_cameras(folder, pack_dir, meshes, views, seed, progress)
    return folder


def read_meshes(pack_dir: Path) -> Sequence[list[Path]]:
    """For each cloud the mesh to render it from, or an empty list; all empty if no file is left.

    Raises:
        DataError: the folder is damaged.
    """
    meshes = read_paths(pack_dir, "mesh")
    if any(path.is_file() for paths in meshes for path in paths):
        return meshes
    return [[]] * len(meshes)


def load_image(path: Path, image_size: int) -> NDArray[np.uint8]:
    """``(image_size, image_size, 3)`` RGB of one image file.

    Raises:
        DataError: it can't be decoded, or is larger than 64 megapixels.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise DataError(f"{path}: {image.width} x {image.height} pixels; at most 64 MPx")
            return _resized(_on_black(image), image_size)
    except UnidentifiedImageError:
        raise DataError(f"{path}: not a JPEG, PNG or WebP image") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: far too many pixels; at most 64 MPx") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{path}: the image can't be decoded ({error})") from None


def _on_black(image: Image.Image) -> Image.Image:
    """RGB; transparent pixels become black."""
    if image.mode.startswith("I"):  # 16-bit grey: convert() would clip it to white
        levels = np.asarray(image).astype(np.uint32) >> 8
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image).convert("RGB")
    return image.convert("RGB")


def _resized(image: Image.Image, size: int) -> NDArray[np.uint8]:
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def _built(
    pack_dir: Path,
    what: str,
    cache_dir: Path | None,
    counts: list[int],
    image_size: int,
    make: Callable[[], Iterator[NDArray[np.uint8]]],
) -> Path:
    """The folder of images.npy; if the cache does not have it, it is filled from ``make()``.

    Its name depends on the content of the packed clouds, wherever they lie, and on ``what``.
    """
    meta = read_meta(pack_dir)
    parts = (_VERSION, meta["fingerprint"], meta["up_axis_of_files"], what)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]

    def write(folder: Path) -> None:
        needed = sum(counts) * image_size * image_size * 3
        free = shutil.disk_usage(folder).free
        if needed > free:
            wanted = f"{needed / 1e9:.1f} GB of images, {free / 1e9:.1f} GB free"
            raise OSError(errno.ENOSPC, f"{wanted} (a smaller --image-size needs less)")
        shape = (image_size, image_size, 3)
        with NpyStream(folder / "images.npy", "u1", shape) as stream:
            for image in make():
                stream.append(image[None])
        np.save(folder / "image_offsets.npy", np.cumsum([0, *counts], dtype=np.int64))

    name = f"{meta['dataset']}-{meta['split']}-{image_size}-{key}"
    return built_folder(cache_root(cache_dir) / "images" / name, write)


def _decoded(paths: list[Path], image_size: int, progress: bool) -> Iterator[NDArray[np.uint8]]:
    """Images in order, decoded by a few threads: PIL releases the interpreter's lock."""
    workers = min(8, os.cpu_count() or 1)
    with (
        ThreadPoolExecutor(workers) as pool,
        _bar(len(paths), "decode images", "image", progress) as bar,
    ):
        for start in range(0, len(paths), _CHUNK):
            chunk = paths[start : start + _CHUNK]
            yield from pool.map(lambda path: load_image(path, image_size), chunk)
            bar.update(len(chunk))


def _rendered(
    pack_dir: Path,
    meshes: Sequence[list[Path]],
    image_size: int,
    views: int,
    seed: int,
    progress: bool,
) -> Iterator[NDArray[np.uint8]]:
    # Imported here because it needs scipy and numba, which reading images does not.
    from pointssl_datasets.rendering.clouds import render_mesh_file, render_views

    up_axis = read_meta(pack_dir)["up_axis_of_files"]
    offsets, xyz = read_array(pack_dir, "offsets"), read_array(pack_dir, "xyz")
    normals, colours = (
        read_array(pack_dir, name) if (pack_dir / f"{name}.npy").exists() else None
        for name in ("normals", "colours")
    )
    with _bar(len(meshes), "render images", "cloud", progress) as bar:
        for i, (start, end) in enumerate(itertools.pairwise(offsets)):
            own_seed = camera_seed(seed, i)
            if meshes[i]:
                rendered = render_mesh_file(
                    meshes[i][0], up_axis, views=views, size=image_size, seed=own_seed
                )
            else:
                rendered = render_views(
                    xyz[start:end],
                    None if normals is None else normals[start:end],
                    colours=None if colours is None else colours[start:end],
                    views=views,
                    size=image_size,
                    seed=own_seed,
                )
            for image in rendered:
                yield np.asarray(_on_black(Image.fromarray(image)))
            bar.update()


def _bar(total: int, what: str, unit: str, progress: bool) -> "tqdm[NoReturn]":
    bar: tqdm[NoReturn] = tqdm(total=total, desc=what, unit=unit, disable=not progress, leave=False)
    return bar
