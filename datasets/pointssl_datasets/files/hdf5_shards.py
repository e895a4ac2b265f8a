"""Several HDF5 files whose rows are counted through: most public sets of clouds come like this."""

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
"""Of one row, None being any number; ``()`` is one number, stored as ``(M,)`` or ``(M, 1)``."""

# What h5py raises for damage: ValueError where a type makes no sense, TypeError for odd names.
_HDF5_ERRORS = (OSError, RuntimeError, KeyError, AttributeError, ValueError, TypeError)
_BEST_COMPRESSION = 2000  # gzip packs even zeros only a thousandfold


@dataclass(frozen=True)
class Shards:
    """Files with one row per cloud: row ``i`` is counted through all of them.

    Attributes:
        paths: the files.
        starts: the first row of each file, and after the last one the number of all rows.
        keys: what :meth:`read` hands over, in this order.
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
        shapes: keys that each file must have, and the shape of one row; the first key tells the
            number of rows.
        optional: keys that are read if every file has them.

    Raises:
        DataError: a file is damaged, lacks a key, holds it in another shape or outside of itself.
    """
    starts, found = [0], set(optional or {})
    for path in paths:
        try:
            with h5py.File(path, "r") as file:
                here = set(file)
                found &= here
                lacking = [repr(key) for key in shapes if key not in here]
                if lacking:
                    raise DataError(
                        f"{path}: expected the keys {', '.join(map(repr, shapes))}; "
                        f"found {', '.join(sorted(here)) or 'none'}"
                    )
                rows = -1
                for key, shape in {**shapes, **(optional or {})}.items():
                    if key in here:
                        rows = _check(path, file, key, shape, rows)
        except _HDF5_ERRORS as error:
            raise damaged(path, error) from None
        starts.append(starts[-1] + rows)
    keys = (*shapes, *(key for key in optional or {} if key in found))
    return Shards(list(paths), starts, keys)


def _check(path: Path, file: h5py.File, key: str, shape: Shape, rows: int) -> int:
    """The number of rows of one key; ``rows`` is that of the keys before, or -1."""
    data = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
    if not isinstance(data, h5py.Dataset) or data.is_virtual or data.external:
        raise DataError(f"{path}: {key!r} is not stored in this file as an array; it is not read")
    if rows < 0 and data.shape:
        rows = data.shape[0]
    fits = len(data.shape) == 1 + len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, data.shape[1:], strict=True)
    )
    fits = fits or (not shape and data.shape[1:] == (1,))
    if not fits or data.shape[:1] != (rows,) or data.dtype.kind not in "fiu":
        wanted = ", ".join([str(rows)] + ["N" if n is None else str(n) for n in shape])
        raise DataError(
            f"{path}: {key!r} must be numbers of shape ({wanted}), found {data.dtype} of shape "
            f"{data.shape}"
        )
    stored = data.id.get_storage_size()
    if data.size * data.dtype.itemsize > _BEST_COMPRESSION * stored:
        raise DataError(
            f"{path}: {key!r} promises {data.shape}, but only {stored} bytes are stored. "
            "Download it again."
        )
    return rows


def whole_numbers(values: NDArray[Any], allowed: range, where: str, what: str) -> NDArray[np.int64]:
    """``values`` as int64.

    Args:
        values: numbers of any type and shape.
        allowed: every one of them must be in this range.
        where: file and row, for the message.
        what: what they are, e.g. ``"label"``.

    Raises:
        DataError: some are not whole, or outside of that range.
    """
    with np.errstate(invalid="ignore"):  # NaN is no whole number either
        good = (values >= allowed.start) & (values < allowed.stop) & (values % 1 == 0)
    if not good.all():
        bad = values[~good].reshape(-1)
        said = f"{len(bad)} of {values.size} {what}s are" if values.size > 1 else f"the {what} is"
        raise DataError(
            f"{where}: {said} not from {allowed.start} to {allowed.stop - 1}: {bad[0].item():g}"
            f"{', ...' if len(bad) > 1 else ''}"
        )
    return values.astype(np.int64)
