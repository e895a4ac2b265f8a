"""Any dataset into one folder of memory-mapped arrays, once; training then only reads rows.

The arrays are those of :mod:`.packing.arrays`. A field that not every cloud has is left out.
Packing streams: it holds one cloud at a time, and a few dozen bytes for each that it has seen.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pointssl_datasets.base.axes import TO_Y_UP
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.paths import cache_root
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.base.validation import field_errors
from pointssl_datasets.files.fields import check_xyz
from pointssl_datasets.packing.arrays import FIELDS, VERSION, Field, read_meta
from pointssl_datasets.packing.cache import built_folder
from pointssl_datasets.packing.npy_stream import NpyStream
from pointssl_datasets.packing.strings import StringsStream

_HINT = "`pointssl data check --fix` lists all such clouds, and they are left out from then on."


def pack(
    source: Source, *, normalise: str = "unit-sphere", cache_dir: Path | None, progress: bool
) -> Path:
    """The folder that holds the packed ``source``; built if the cache does not have it.

    Args:
        source: what to pack.
        normalise: ``"unit-sphere"`` (subtract the mean, divide by the largest norm, as CrossPoint
            does), or ``"none"``.
        cache_dir: root of the cache; see :func:`pointssl_datasets.base.paths.cache_root`.
        progress: show a progress bar.

    Raises:
        DataError: a cloud is bad, the dataset is empty, or the cache can't be written.
        UsageError: unknown ``normalise`` or up axis.
    """
    _check(source, normalise)
    if source.packed is not None and read_meta(source.packed)["normalise"] == normalise:
        return source.packed
    lists = json.dumps([source.classes, source.parts])
    parts = (VERSION, source.dataset, source.split, source.key, lists, normalise, source.up_axis)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    folder = cache_root(cache_dir) / "clouds" / f"{source.dataset}-{source.split}-{key}"
    return built_folder(folder, lambda part: write_packed(source, part, normalise, progress))


def _check(source: Source, normalise: str) -> None:
    if normalise not in ("unit-sphere", "none"):
        raise UsageError(f"--normalise {normalise!r}: choose unit-sphere or none")
    if source.up_axis not in TO_Y_UP:
        raise UsageError(f"--up-axis {source.up_axis!r}: choose auto, x, y or z")


def unit_sphere(xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(N, 3)`` with mean 0 and largest norm 1."""
    centred = xyz - xyz.mean(axis=0, dtype=np.float64)
    return (centred / np.linalg.norm(centred, axis=1).max()).astype(np.float32)


def write_packed(source: Source, folder: Path, normalise: str, progress: bool) -> None:
    """Fills an empty folder; see :func:`pack`, which also keeps it from being half written."""
    _check(source, normalise)
    with contextlib.ExitStack() as stack:
        names, images, mesh = (
            stack.enter_context(StringsStream(folder, name)) for name in ("names", "images", "mesh")
        )
        offsets, labels, seen_names, seen_points = (
            stack.enter_context(NpyStream(folder / f"{name}.npy", "<i8", ()))
            for name in ("offsets", "label", "seen_names", "seen_points")
        )
        offsets.append(np.zeros(1))
        fields = _Fields(folder, stack)
        parts = list(source.parts)
        digest = hashlib.sha256()
        total, hidden = source.count, not progress
        bar = stack.enter_context(
            tqdm(total=total, desc="pack", unit="cloud", disable=hidden, leave=False)
        )
        for cloud in prepared(source, normalise):
            fields.append(cloud)
            digest.update(f"{cloud['name']}\0{cloud['label']}\0{len(cloud['xyz'])}\0".encode())
            seen_names.append(_fingerprint(cloud["name"].encode()))
            seen_points.append(_fingerprint(cloud["xyz"].tobytes()))
            if "part" in cloud and not source.parts:  # unnamed parts are numbered
                parts += [f"part {i}" for i in range(len(parts), int(cloud["part"].max()) + 1)]
            names.append(cloud["name"])
            images.append("\0".join(map(str, cloud.get("images", []))))
            mesh.append(str(cloud.get("mesh", "")))
            labels.append(np.array([cloud["label"]]))
            offsets.append(np.array([fields.rows]))
            bar.update()
    if not labels.rows:
        raise DataError(f"{source.dataset}: the split {source.split!r} is empty")
    if _repeats(folder / "seen_names.npy"):
        raise DataError(f"{source.dataset}: two clouds of {source.split!r} have the same name")
    repeats = _repeats(folder / "seen_points.npy")
    notes = [f"{repeats} of {labels.rows} clouds repeat another one exactly"] * bool(repeats)
    fields.finish(digest)
    digest.update(json.dumps([source.classes, parts]).encode())
    meta = {
        "version": VERSION,
        "dataset": source.dataset,
        "split": source.split,
        "classes": list(source.classes),
        "parts": parts if "part" in fields.kept else [],
        "notes": notes + fields.notes,
        "fingerprint": digest.hexdigest(),
        "up_axis_of_files": source.up_axis,
        "normalise": normalise,
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


class _Fields:
    """xyz.npy and whichever of the other fields every cloud so far has had."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder, self.rows, self.notes = folder, 0, list[str]()
        self.kept = {name: stack.enter_context(self._stream(name)) for name in FIELDS}
        self.digests = {name: hashlib.sha256() for name in FIELDS}
        self.dropped: dict[str, str] = {}  # field -> a cloud that lacks it
        self.owner: dict[str, str] = {}  # field -> a cloud that has it

    def _stream(self, name: Field) -> NpyStream:
        row = () if name == "part" else (3,)
        return NpyStream(self.folder / f"{name}.npy", "<i8" if name == "part" else "<f4", row)

    def append(self, cloud: Cloud) -> None:
        for name in FIELDS:
            if name in cloud:
                self.owner.setdefault(name, cloud["name"])
                if name in self.kept:
                    self.digests[name].update(self.kept[name].append(cloud[name]))
            elif name in self.kept:
                del self.kept[name]
                self.dropped[name] = cloud["name"]
        self.rows += len(cloud["xyz"])

    def finish(self, digest: "hashlib._Hash") -> None:
        """Adds what was written to ``digest``, and removes what is not complete."""
        for name in FIELDS:
            if name in self.kept:
                digest.update(f"{name}\0{self.digests[name].hexdigest()}\0".encode())
                continue
            (self.folder / f"{name}.npy").unlink()
            if name in self.owner:
                self.notes.append(
                    f"{name} left out: {self.owner[name]} has them, {self.dropped[name]} has not"
                )


def _fingerprint(raw: bytes) -> NDArray[np.int64]:
    """``(1,)``: 64 bits of a hash, enough to tell a billion clouds apart."""
    return np.frombuffer(hashlib.sha256(raw).digest()[:8], "<i8")


def _repeats(path: Path) -> int:
    """How many values of an .npy file occurred before; removes the file."""
    values = np.load(path)
    path.unlink()
    return len(values) - len(np.unique(values))


def prepared(source: Source, normalise: str) -> Iterator[Cloud]:
    """The clouds as :func:`prepare` makes them, one after the other."""
    return (prepare(source, index, normalise) for index in range(source.count))


def prepare(source: Source, index: int, normalise: str) -> Cloud:
    """A cloud, checked, y-up and normalised; without a class it has the label -1.

    Raises:
        DataError: something is wrong with it; says how to find all such clouds.
    """
    name = source.names[index]
    try:
        return _prepared(source, index, name, normalise)
    except DataError as error:
        if _HINT in str(error):  # it was prepared before
            raise
        named = "" if name in str(error) else f"{source.dataset}: {name}: "
        raise DataError(f"{named}{str(error).rstrip('.')}. {_HINT}") from None


def _prepared(source: Source, index: int, name: str, normalise: str) -> Cloud:
    turn, cloud = TO_Y_UP[source.up_axis], _read(source, index)
    where = f"{source.dataset}: {name}"
    xyz = check_xyz(cloud["xyz"], where)
    for _, wrong in field_errors(Cloud(**{**cloud, "xyz": xyz}), source):
        raise DataError(f"{where}: {wrong}")
    xyz = (unit_sphere(xyz) if normalise == "unit-sphere" else xyz) @ turn.T
    ready = Cloud(name=name, xyz=xyz, label=int(cloud.get("label", -1)))
    ready["images"] = cloud.get("images", [])
    if "mesh" in cloud:
        ready["mesh"] = cloud["mesh"]
    if "normals" in cloud:
        ready["normals"] = (cloud["normals"] @ turn.T).astype(np.float32)
    if "place" in cloud:
        ready["place"] = (cloud["place"] @ turn.T).astype(np.float32)
    if "colours" in cloud:
        ready["colours"] = np.asarray(cloud["colours"], dtype=np.float32)
    if "part" in cloud:
        ready["part"] = np.asarray(cloud["part"], dtype=np.int64)
    return ready


def _read(source: Source, index: int) -> Cloud:
    """A failure to read the data must not look like a failure to write the cache."""
    try:
        return source.read(index)
    except OSError as error:
        raise DataError(
            f"{source.dataset}: cannot read {error.filename or 'the data'}: "
            f"{error.strerror or error}"
        ) from None
