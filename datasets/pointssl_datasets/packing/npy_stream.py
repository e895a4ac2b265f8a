"""Write a .npy file row by row, in constant memory, without knowing how many rows will come."""

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_HEADER = 128  # bytes kept free for the header, which is written when the length is known


class NpyStream:
    """``with NpyStream(path, "<f4", (3,)) as out: out.append(rows)`` gives an ``(n, 3)`` file."""

    def __init__(self, path: Path, dtype: DTypeLike, row_shape: tuple[int, ...]) -> None:
        self.dtype, self.row_shape, self.rows = np.dtype(dtype), row_shape, 0
        self._file = path.open("wb")
        self._file.write(bytes(_HEADER))

    def append(self, rows: NDArray[Any]) -> bytes:
        """Appends ``(r, *row_shape)``; returns the bytes written.

        Raises:
            ValueError: the rows have another shape.
        """
        if rows.shape[1:] != self.row_shape:
            raise ValueError(f"rows of shape {rows.shape[1:]}, expected {self.row_shape}")
        raw = np.ascontiguousarray(rows, dtype=self.dtype).tobytes()
        self._file.write(raw)
        self.rows += len(rows)
        return raw

    def __enter__(self) -> "NpyStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if kind is None:
            shape = (self.rows, *self.row_shape)
            head = f"{{'descr': '{self.dtype.str}', 'fortran_order': False, 'shape': {shape}, }}"
            # numpy/lib/format.py, version 1.0: magic, version, length of the text, padded text.
            text = head.encode("ascii").ljust(_HEADER - 11) + b"\n"
            self._file.seek(0)
            self._file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
        self._file.close()
