"""Several HDF5 files read as one array of rows: the format of most public datasets of clouds."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.hdf5 import damaged, read_row

Shape = tuple[int | None, ...]
"""Shape of one row; None is any number; ``()`` is one number, stored as ``(M,)`` or ``(M, 1)``."""

# What h5py raises for damaged files; ValueError for invalid types, TypeError for invalid names.
_HDF5_ERRORS = (OSError, RuntimeError, KeyError, AttributeError, ValueError, TypeError)
_BEST_COMPRESSION = 2000  # gzip compresses even zeros only by a factor of a thousand


@dataclass(frozen=True)
class Shards:
    """Files with one row per cloud; rows are numbered across all files.

    Attributes:
        paths: the files.
        starts: the number of the first row of each file, then the number of all rows.
        keys: what :meth:`read` returns, in this order.
    """

    paths: list[Path]
    starts: list[int]
    keys: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.starts[-1]

    @property
    def names(self) -> list[str]:
        """``"<file>/<row>"`` of every row; unique where the files' names are."""
        return [
            f"{path.stem}/{row:05d}"
            for path, start, end in zip(self.paths, self.starts, self.starts[1:], strict=False)
            for row in range(end - start)
        ]

    def where(self, index: int) -> str:
        """File and row, for messages."""
        path, row = self._locate(index)
        return f"{path}: row {row}"

    def read(self, index: int) -> tuple[NDArray[Any], ...]:
        """Row ``index`` of each key.

        Raises:
            DataError: this part of the file is damaged.
        """
        path, row = self._locate(index)
        return read_row(path, self.keys, row)

    def _locate(self, index: int) -> tuple[Path, int]:
        which = bisect_right(self.starts, index) - 1
        return self.paths[which], index - self.starts[which]


def open_shards(
    paths: Sequence[Path], shapes: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None
) -> Shards:
    """Checks the headers of the files; no row is read.

    Args:
        paths: HDF5 files, in order.
        shapes: keys that each file must have, and the shape of one row; the first key determines
            the number of rows.
        optional: keys that are read if every file has them.

    Raises:
        DataError: a file is damaged, lacks a key, or has it in another shape or in another file.
    """
    starts, common = [0], set(optional or {})
    for path in paths:
        try:
            with h5py.File(path, "r") as file:
                present = set(file)
                common &= present
                if not present >= set(shapes):
                    raise DataError(
                        f"{path}: expected the keys {', '.join(map(repr, shapes))}; "
                        f"found {', '.join(sorted(present)) or 'none'}"
                    )
                rows = -1
                for key, shape in {**shapes, **(optional or {})}.items():
                    if key in present:
                        rows = _check(path, file, key, shape, rows)
        except _HDF5_ERRORS as error:
            raise damaged(path, error) from None
        starts.append(starts[-1] + rows)
    keys = (*shapes, *(key for key in optional or {} if key in common))
    return Shards(list(paths), starts, keys)


def _check(path: Path, file: h5py.File, key: str, shape: Shape, rows: int) -> int:
    """The number of rows of one key; ``rows`` is that of the previous keys, or -1."""
    data = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
    if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external:
        raise DataError(f"{path}: {key!r} is not an array stored in this file, so it is not read")
    if rows < 0 and data.shape:
        rows = data.shape[0]
    fits = len(data.shape) == 1 + len(shape) and all(
        expected in (None, size) for expected, size in zip(shape, data.shape[1:], strict=True)
    )
    fits = fits or (not shape and data.shape[1:] == (1,))
    if not fits or data.shape[:1] != (rows,) or data.dtype.kind not in "fiu":
        expected = ", ".join([str(rows)] + ["N" if n is None else str(n) for n in shape])
        raise DataError(
            f"{path}: {key!r} must be numbers of shape ({expected}), found {data.dtype} of shape "
            f"{data.shape}"
        )
    stored = data.id.get_storage_size()
    if data.size * data.dtype.itemsize > _BEST_COMPRESSION * stored:
        raise DataError(
            f"{path}: {key!r} has the shape {data.shape}, but only {stored} bytes are stored. "
            "Download it again."
        )
    return rows


def whole_numbers(values: NDArray[Any], allowed: range, where: str, what: str) -> NDArray[np.int64]:
    """``values`` as int64.

    Args:
        values: numbers of any type and shape.
        allowed: the range of all values.
        where: file and row, for the message.
        what: the name of a value, e.g. ``"label"``.

    Raises:
        DataError: some are not whole, or outside of that range.
    """
    with np.errstate(invalid="ignore"):  # NaN is not a whole number either
        good = (values >= allowed.start) & (values < allowed.stop) & (values % 1 == 0)
    if not good.all():
        bad = values[~good].reshape(-1)
        which = f"{len(bad)} of {values.size} {what}s are" if values.size > 1 else f"the {what} is"
        raise DataError(
            f"{where}: {which} not from {allowed.start} to {allowed.stop - 1}: {bad[0].item():g}"
            f"{', ...' if len(bad) > 1 else ''}"
        )
    return values.astype(np.int64)
