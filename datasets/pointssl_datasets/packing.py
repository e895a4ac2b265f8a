"""Any dataset into one folder of memory-mapped arrays, once; training then only reads rows.

xyz.npy (T, 3) float32, y-up    offsets.npy (M + 1,) int64    label.npy (M,) int64
normals.npy (T, 3) float32      part.npy (T,) int64           images.json: paths per cloud
meta.json: classes, parts, names, notes on the content, fingerprint, up axis of the files
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pointssl_datasets.cache import built_folder
from pointssl_datasets.errors import DataError, UsageError
from pointssl_datasets.npy_stream import NpyStream
from pointssl_datasets.paths import cache_root
from pointssl_datasets.readers import check_xyz
from pointssl_datasets.source import Cloud, Source

_VERSION = "1"
_FIELDS: tuple[Literal["xyz", "normals", "part"], ...] = ("xyz", "normals", "part")

# Rows of the rotation matrix (determinant +1) that turns each axis up into +y.
TO_Y_UP: dict[str, NDArray[np.float32]] = {
    "x": np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=np.float32),
    "y": np.eye(3, dtype=np.float32),
    "z": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=np.float32),
}


def pack(
    source: Source, *, normalise: str = "unit-sphere", cache_dir: Path | None, progress: bool
) -> Path:
    """The folder that holds the packed ``source``; built if the cache does not have it.

    Args:
        source: what to pack.
        normalise: ``"unit-sphere"`` (subtract the mean, divide by the largest norm, as CrossPoint
            does), or ``"none"``.
        cache_dir: root of the cache; see :func:`pointssl_datasets.paths.cache_root`.
        progress: show a progress bar.

    Raises:
        DataError: a cloud is bad, the dataset is empty, or the cache can't be written.
        UsageError: unknown ``normalise`` or up axis.
    """
    if normalise not in ("unit-sphere", "none"):
        raise UsageError(f"--normalise {normalise!r}: choose unit-sphere or none")
    if source.up_axis not in TO_Y_UP:
        raise UsageError(f"--up-axis {source.up_axis!r}: choose auto, x, y or z")
    parts = (_VERSION, source.dataset, source.split, source.key, normalise, source.up_axis)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    folder = cache_root(cache_dir) / "clouds" / f"{source.dataset}-{source.split}-{key}"
    return built_folder(folder, lambda temporary: _write(source, normalise, temporary, progress))


def unit_sphere(xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(N, 3)`` with mean 0 and largest norm 1."""
    centred = xyz - xyz.mean(axis=0, dtype=np.float64)
    return (centred / np.linalg.norm(centred, axis=1).max()).astype(np.float32)


def read_meta(folder: Path) -> dict[str, Any]:
    """``meta.json`` of a packed folder.

    Raises:
        DataError: somebody damaged the folder.
    """
    try:
        meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"{folder}: damaged cache; delete this folder and start again") from None
    return meta


def read_array(folder: Path, name: str) -> NDArray[Any]:
    """``name``.npy of a packed folder, memory-mapped.

    Raises:
        DataError: somebody damaged the folder.
    """
    try:
        mapped = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        raise DataError(f"{folder}: damaged cache; delete this folder and start again") from None
    return np.asarray(mapped)  # still mapped, but slicing the memmap class itself is slow


def _write(source: Source, normalise: str, folder: Path, progress: bool) -> None:
    digest = hashlib.sha256()
    contents: set[bytes] = set()  # a digest per cloud, to count exact repeats
    names: list[str] = []
    labels: list[int] = []
    images: list[list[str]] = []
    offsets = [0]
    parts = list(source.parts)
    streams: dict[str, NpyStream] = {}
    total, hidden = source.count, not progress
    with (
        contextlib.ExitStack() as stack,
        tqdm(total=total, desc="pack", unit="cloud", disable=hidden, leave=False) as bar,
    ):
        for cloud in _prepared(source, normalise):
            arrays = {name: cloud[name] for name in _FIELDS if name in cloud}
            if not names:
                for name, array in arrays.items():
                    stream = NpyStream(folder / f"{name}.npy", array.dtype, array.shape[1:])
                    streams[name] = stack.enter_context(stream)
            if arrays.keys() != streams.keys():
                raise DataError(
                    f"{source.dataset}: {cloud['name']} has {', '.join(arrays)}, "
                    f"but {names[0]} has {', '.join(streams)}"
                )
            digest.update(f"{cloud['name']}\0{cloud['label']}\0{len(cloud['xyz'])}\0".encode())
            raw = {name: streams[name].append(array) for name, array in arrays.items()}
            for written in raw.values():
                digest.update(written)
            contents.add(hashlib.sha256(raw["xyz"]).digest())
            if "part" in cloud and not source.parts:  # unnamed parts are numbered
                parts += [f"part {i}" for i in range(len(parts), int(cloud["part"].max()) + 1)]
            names.append(cloud["name"])
            labels.append(cloud["label"])
            images.append([str(path) for path in cloud.get("images", [])])
            offsets.append(offsets[-1] + len(cloud["xyz"]))
            bar.update()
    if not names:
        raise DataError(f"{source.dataset}: the split {source.split!r} is empty")
    if len(set(names)) < len(names):
        raise DataError(f"{source.dataset}: two clouds of {source.split!r} have the same name")
    repeats = len(names) - len(contents)
    digest.update(json.dumps([source.classes, parts]).encode())
    np.save(folder / "offsets.npy", np.array(offsets, dtype=np.int64))
    np.save(folder / "label.npy", np.array(labels, dtype=np.int64))
    meta = {
        "dataset": source.dataset,
        "split": source.split,
        "classes": list(source.classes),
        "parts": parts,
        "names": names,
        "notes": [f"{repeats} of {len(names)} clouds repeat another one exactly"] * bool(repeats),
        "fingerprint": digest.hexdigest(),
        "up_axis_of_files": source.up_axis,
        "normalise": normalise,
    }
    (folder / "images.json").write_text(json.dumps(images), encoding="utf-8")
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def _prepared(source: Source, normalise: str) -> Iterator[Cloud]:
    """The clouds, checked, y-up and normalised; a cloud without a class has the label -1."""
    turn = TO_Y_UP[source.up_axis]
    for cloud in _read(source):
        where = f"{source.dataset}: {cloud['name']}"
        xyz = check_xyz(cloud["xyz"], where)
        label = int(cloud.get("label", -1))
        if source.classes and not 0 <= label < len(source.classes):
            raise DataError(f"{where}: label {label} is not one of {len(source.classes)} classes")
        xyz = (unit_sphere(xyz) if normalise == "unit-sphere" else xyz) @ turn.T
        ready = Cloud(name=cloud["name"], xyz=xyz, label=label, images=cloud.get("images", []))
        if "normals" in cloud:
            if cloud["normals"].shape != xyz.shape:
                raise DataError(f"{where}: normals {cloud['normals'].shape}, points {xyz.shape}")
            ready["normals"] = (cloud["normals"] @ turn.T).astype(np.float32)
        if "part" in cloud:
            part = np.asarray(cloud["part"], dtype=np.int64)
            highest = len(source.parts) - 1 if source.parts else np.iinfo(np.int64).max
            if part.shape != (len(xyz),) or part.min() < 0 or part.max() > highest:
                raise DataError(
                    f"{where}: part must be {len(xyz)} numbers from 0 to {highest}, found shape "
                    f"{part.shape} with values {part.min()} to {part.max()}"
                )
            ready["part"] = part
        yield ready


def _read(source: Source) -> Iterator[Cloud]:
    """The clouds; a failure to read them must not look like a failure to write the cache."""
    try:
        yield from source.clouds()
    except OSError as error:
        raise DataError(
            f"{source.dataset}: cannot read {error.filename or 'the data'}: "
            f"{error.strerror or error}"
        ) from None
