"""Tables of numbers in text files: a compiled parser for plain ones, and a patient one for errors.

NumPy takes 12 ms for the 60,000 numbers of one ModelNet40 cloud. Where numba is installed, a
table that is nothing but digits, points, signs and exponents is read about ten times faster and to
the same bits: with at most 15 digits and a power of ten up to 22 both are exact as doubles, so
that their product or quotient is the nearest double (Clinger, How to Read Floating Point Numbers
Accurately, PLDI 1990). Whatever else there is in a file, comments or damage, is left to NumPy.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.compiling import compiled
from pointssl_datasets.base.errors import DataError

_Kernel = Callable[[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]], int]

_POWERS = np.array([10.0**power for power in range(23)])
_COMPILE_FROM = 20_000  # bytes; below, there is nothing to gain


def read_table(path: Path, *, count_line: bool = False) -> NDArray[np.float64]:
    """``(N, C)``: rows of numbers parted by white space or commas; ``#`` begins a comment line.

    Args:
        path: a text file.
        count_line: a first line that is just the number of further lines is left out.

    Raises:
        DataError: the file is missing, empty, not text, or no table (names the line).
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not raw:
        raise DataError(f"{path}: the file is empty")
    table = parse_plain(raw) if len(raw) >= _COMPILE_FROM else None
    if table is None:
        return _read_slowly(path, raw, count_line)
    return table[1:] if count_line and _is_count(table) else table


def parse_plain(raw: bytes) -> NDArray[np.float64] | None:
    """``(N, C)`` if numba is at hand and every line has the same number of plain numbers."""
    kernel = _compiled()
    if kernel is None:
        return None
    first = raw[: raw.find(b"\n") if b"\n" in raw else len(raw)]
    columns = len(first.replace(b",", b" ").split())
    rows = raw.count(b"\n") + (not raw.endswith(b"\n"))
    if columns == 0 or rows * columns * 2 > len(raw) + 1:  # a number and its end take two bytes
        return None
    table = np.empty((rows, columns))
    return table if kernel(np.frombuffer(raw, np.uint8), table, _POWERS) == rows else None


def _parse(raw: NDArray[np.uint8], table: NDArray[np.float64], powers: NDArray[np.float64]) -> int:
    """Fills ``table`` and returns its number of rows, or -1 where the text is not plain."""
    rows, columns = table.shape
    at, end = 0, len(raw)
    for row in range(rows):
        for column in range(columns):
            commas = 0
            while at < end and (raw[at] == 32 or raw[at] == 9 or raw[at] == 44):  # blank tab comma
                commas += raw[at] == 44
                at += 1
            if commas > 1 or (commas == 1 and column == 0):
                return -1
            negative = at < end and raw[at] == 45
            if at < end and (raw[at] == 45 or raw[at] == 43):
                at += 1
            mantissa, digits, behind, point = np.int64(0), 0, 0, False
            while at < end and (48 <= raw[at] <= 57 or (raw[at] == 46 and not point)):
                if raw[at] == 46:
                    point = True
                else:
                    mantissa = mantissa * 10 + (np.int64(raw[at]) - 48)
                    digits += 1
                    behind += point
                at += 1
                if digits > 15:
                    return -1
            if digits == 0:
                return -1
            power = np.int64(-behind)
            if at < end and (raw[at] == 101 or raw[at] == 69):  # e E
                at += 1
                down = at < end and raw[at] == 45
                if at < end and (raw[at] == 45 or raw[at] == 43):
                    at += 1
                exponent, given = np.int64(0), 0
                while at < end and 48 <= raw[at] <= 57 and given < 4:
                    exponent = exponent * 10 + (np.int64(raw[at]) - 48)
                    given += 1
                    at += 1
                if given == 0:
                    return -1
                power += -exponent if down else exponent
            if power < -22 or power > 22:
                return -1
            value = float(mantissa)
            value = value / powers[-power] if power < 0 else value * powers[power]
            table[row, column] = -value if negative else value
            if at < end and not (
                raw[at] == 32 or raw[at] == 9 or raw[at] == 44 or raw[at] == 10 or raw[at] == 13
            ):
                return -1
        while at < end and (raw[at] == 32 or raw[at] == 9 or raw[at] == 13):
            at += 1
        if at < end and raw[at] != 10:
            return -1
        at += 1
    return rows if at >= end else -1


def _is_count(table: NDArray[np.float64]) -> bool:
    return table.shape[1] == 1 and len(table) > 1 and table[0, 0] == len(table) - 1


@lru_cache(maxsize=1)
def _compiled() -> _Kernel | None:
    """:func:`_parse` in machine code, or None without numba."""
    try:
        return compiled(_parse)
    except ImportError:
        return None


def _read_slowly(path: Path, raw: bytes, count_line: bool) -> NDArray[np.float64]:
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
    width = len(rows[filled[0]].split())
    for i in filled:  # slow, but only on the way to an error: which line is it?
        cells = rows[i].split()
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
