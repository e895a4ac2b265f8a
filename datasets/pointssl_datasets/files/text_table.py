"""Tables of numbers in text files, read by ``numpy.loadtxt``.

It reads straight from the file where every line is plain: 4 ms for the 60,000 numbers of one
ModelNet40 cloud. A file of any other kind is read once more, line by line, which is slower but
takes blanks and commas side by side, and names the line that is wrong.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import DataError


def read_table(path: Path, *, count_line: bool = False) -> NDArray[np.float64]:
    """``(N, C)``: rows of numbers separated by white space or commas; ``#`` starts a comment.

    Args:
        path: a text file.
        count_line: leave out a first line that is just the number of further lines.

    Raises:
        DataError: the file is missing, empty, not text, or no table (names the line).
    """
    try:
        first = _first_row(path)
        if first and not (count_line and len(first.split()) == 1):
            delimiter = "," if b"," in first else None
            return np.loadtxt(path, np.float64, delimiter=delimiter, encoding="utf-8", ndmin=2)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:  # not plain, not text, or no table: the careful reader finds out which
        pass
    return _read_carefully(path, count_line)


def _first_row(path: Path) -> bytes:
    """The first line that is neither blank nor a comment; empty if there is none."""
    with path.open("rb") as file:
        for line in file:
            if line.strip() and not line.lstrip().startswith(b"#"):
                return line
    return b""


def _read_carefully(path: Path, count_line: bool) -> NDArray[np.float64]:
    raw = path.read_bytes()
    if not raw:
        raise DataError(f"{path}: the file is empty")
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not a text file") from None
    rows = [line.replace(",", " ") for line in lines]
    filled = [i for i, row in enumerate(rows) if row.strip() and not row.lstrip().startswith("#")]
    if not filled:
        raise DataError(f"{path}: the file holds no points")
    if count_line and len(filled) > 1 and rows[filled[0]].split() == [str(len(filled) - 1)]:
        filled = filled[1:]
    try:
        return np.loadtxt([rows[i] for i in filled], dtype=np.float64, ndmin=2)
    except ValueError:
        pass
    width = len(rows[filled[0]].partition("#")[0].split())
    for i in filled:  # slow, but something is wrong for certain: in which line?
        cells = rows[i].partition("#")[0].split()
        if len(cells) != width:
            raise DataError(f"{path}: line {i + 1} has {len(cells)} columns, earlier ones {width}")
        if not all(map(_is_number, cells)):
            raise DataError(f"{path}: line {i + 1} is not numbers: {lines[i][:60]!r}")
    raise DataError(f"{path}: is not a table of numbers")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
