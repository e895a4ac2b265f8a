"""Writing clouds as PLY, and in the HDF5 layouts of ModelNet40 and ShapeNetPart."""

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.source import Cloud

SHARD = 2048  # clouds in one HDF5 file, as in modelnet40_ply_hdf5_2048
_BLOCK = 64  # clouds written at once, and the rows of an HDF5 chunk
_MAX_NAME = 120  # characters of a file name: systems allow 255 bytes, a character has up to 4
_RESERVED = ("con", "prn", "aux", "nul", *(f"{p}{i}" for p in ("com", "lpt") for i in range(1, 10)))
_KEYS = {"xyz": "data", "normals": "normal", "part": "pid"}  # field -> key in the files


def safe_name(name: str) -> str:
    """``name`` as a valid name of a file or folder on any system, without suffix.

    Slashes and characters that Windows forbids become ``_``, so that no name leads out of a folder;
    the result is never hidden. A long name is cut and made unique by a hash.
    """
    safe = "".join("_" if c in '<>:"/\\|?*' or not c.isprintable() else c for c in name)
    safe = safe.rstrip(". ")
    if not safe or safe[0] in ". " or safe.partition(".")[0].lower() in _RESERVED:
        safe = f"_{safe[1:]}" if safe[:1] in (".", " ") else f"_{safe}"
    if len(safe) > _MAX_NAME or len(safe.encode("utf-8", "surrogateescape")) > 200:
        short = safe.encode("utf-8", "surrogateescape")[:80].decode("utf-8", "ignore")
        safe = f"{short}-{_digest(name)}"
    return safe


def safe_names(names: tuple[str, ...]) -> list[str]:
    """:func:`safe_name` of each; a hash is added where two would be the same."""
    plain = [safe_name(name) for name in names]
    folded = [name.casefold() for name in plain]  # some file systems ignore case
    return [
        name if folded.count(name.casefold()) == 1 else f"{name}-{_digest(original)}"
        for name, original in zip(plain, names, strict=True)
    ]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def free_path(folder: Path, name: str, suffix: str) -> Path:
    """A path in ``folder`` named after ``name``, made safe, that does not exist yet."""
    path = folder / f"{safe_name(name)}{suffix}"
    return path if not path.exists() else folder / f"{safe_name(name)}-{_digest(name)}{suffix}"


def write_ply(path: Path, cloud: Cloud) -> None:
    """One cloud as PLY, binary little-endian.

    Each vertex has ``x y z`` and, where the cloud has them, ``nx ny nz`` (float), ``red green
    blue`` (uchar, so colours are kept to 1/255) and ``label`` (int), the part.
    """
    columns: list[tuple[str, str, NDArray[Any]]] = []
    columns += [(axis, "f4", cloud["xyz"][:, k]) for k, axis in enumerate("xyz")]
    if "normals" in cloud:
        columns += [(f"n{axis}", "f4", cloud["normals"][:, k]) for k, axis in enumerate("xyz")]
    if "colours" in cloud:
        whole = np.rint(np.clip(cloud["colours"], 0, 1) * 255)
        columns += [(c, "u1", whole[:, k]) for k, c in enumerate(("red", "green", "blue"))]
    if "part" in cloud:
        columns.append(("label", "i4", cloud["part"]))
    rows = np.empty(len(cloud["xyz"]), dtype=[(name, f"<{kind}") for name, kind, _ in columns])
    for name, _, values in columns:
        rows[name] = values
    words = {"f4": "float", "u1": "uchar", "i4": "int"}
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    head += [f"property {words[kind]} {name}" for name, kind, _ in columns]
    path.write_bytes("\n".join([*head, "end_header", ""]).encode("ascii") + rows.tobytes())


class Hdf5Shards:
    """``with Hdf5Shards(folder, "train", listing) as out: out.append(cloud)``.

    Writes ``ply_data_train0.h5``, ``ply_data_train1.h5``, ... of 2048 clouds each, and at the end
    their names into ``listing``. Keys: ``data (M, N, 3)`` float32, ``label (M, 1)`` int64, ``id``
    (M strings) and, if the clouds have them, ``normal (M, N, 3)`` float32 and ``pid (M, N)`` int64.
    At most 64 clouds and one compressed file are in memory.
    """

    def __init__(self, folder: Path, split: str, listing: str, shard: int = SHARD) -> None:
        self.folder, self.split, self.listing, self.shard = folder, split, listing, shard
        self.written: list[str] = []
        self.rows = 0  # of the open file
        self._first: Cloud | None = None
        self._pending: list[Cloud] = []
        self._file: h5py.File | None = None

    def append(self, cloud: Cloud) -> None:
        """Adds a cloud with ``name``, ``xyz`` and ``label``.

        Raises:
            DataError: it has another number of points, or other fields, than the first one.
        """
        if self._first is None:
            self._first = cloud
        first, name = self._first, cloud["name"]
        if len(cloud["xyz"]) != len(first["xyz"]):
            raise DataError(
                f"{self.split}: {name} has {len(cloud['xyz'])} points, {first['name']} "
                f"{len(first['xyz'])}; all clouds in an HDF5 array have the same size. Choose it "
                "with --points (and --sampling), or convert to packed or ply."
            )
        fields, expected = (
            [word for field, word in (("normals", "normals"), ("part", "parts")) if field in one]
            for one in (cloud, first)
        )
        if fields != expected:
            raise DataError(
                f"{self.split}: {name} has {' and '.join(fields) or 'no normals or parts'}, "
                f"{first['name']} has {' and '.join(expected) or 'none'}; in an HDF5 array either "
                "all clouds have them or none. Add normals with --estimate-normals, or convert to "
                "packed or ply."
            )
        self._pending.append(cloud)
        if len(self._pending) == _BLOCK or self.rows + len(self._pending) == self.shard:
            self._flush()

    def _flush(self) -> None:
        """Appends the pending clouds to the open file; writes the file if it is full."""
        if not self._pending:
            return
        arrays: dict[str, NDArray[Any]] = {
            "label": np.array([[cloud["label"]] for cloud in self._pending], dtype=np.int64),
            "id": np.array(
                [cloud["name"].encode("utf-8", "replace") for cloud in self._pending], "O"
            ),
        }
        for field, key in _KEYS.items():
            if field in self._pending[0]:
                arrays[key] = np.stack([cloud[field] for cloud in self._pending])  # type: ignore[literal-required]
        if self._file is None:
            # Built in memory and written when complete: HDF5 crashes if the disk is full.
            self.written.append(f"ply_data_{self.split}{len(self.written)}.h5")
            self._file = h5py.File(self.written[-1], "w", driver="core", backing_store=False)
            for key, values in arrays.items():
                self._file.create_dataset(
                    key,
                    shape=(0, *values.shape[1:]),
                    maxshape=(None, *values.shape[1:]),
                    chunks=(_BLOCK, *values.shape[1:]),
                    dtype=h5py.string_dtype() if key == "id" else values.dtype,
                    compression="gzip",
                )
        for key, values in arrays.items():
            self._file[key].resize(self.rows + len(values), axis=0)
            self._file[key][self.rows :] = values
        self.rows += len(self._pending)
        self._pending = []
        if self.rows == self.shard:
            self._write()

    def _write(self) -> None:
        """Writes the open file to disk."""
        assert self._file is not None
        self._file.flush()
        (self.folder / self.written[-1]).write_bytes(self._file.id.get_file_image())
        self._file.close()
        self._file, self.rows = None, 0

    def __enter__(self) -> "Hdf5Shards":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
            if self._file is not None:
                self._write()
            text = "".join(f"{name}\n" for name in self.written)
            (self.folder / self.listing).write_text(text, encoding="utf-8")
        if self._file is not None:
            self._file.close()
