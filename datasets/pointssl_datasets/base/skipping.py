"""Skip lists: files that list the clouds to leave out. ``pointssl data check --fix`` writes one.

``pointssl-skip.tsv`` in the dataset's folder, or any file named with ``--skip-list``, has one cloud
per line: ``dataset <TAB> split <TAB> name <TAB> why``. Lines that start with # are comments. The
dataset itself is never changed.
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.source import Source
from pointssl_datasets.base.writing import write_text

FILE_NAME = "pointssl-skip.tsv"
_ESCAPES = (("\\", r"\\"), ("\t", r"\t"), ("\n", r"\n"), ("\r", r"\r"))
_PLAIN = {written: plain for plain, written in _ESCAPES}


class Skip(NamedTuple):
    """One line of a skip list."""

    dataset: str
    split: str
    name: str
    why: str


def find_skip_list(root: Path | None, named: Path | None) -> Path | None:
    """The file ``named``, else ``pointssl-skip.tsv`` in ``root`` if it exists.

    Without ``root`` the folder is ``$POINTSSL_DATA``, else ``./data``, as for the data itself.

    Raises:
        DataError: ``named`` is not a file.
    """
    if named is not None:
        if not named.expanduser().is_file():
            raise DataError(f"--skip-list {named}: no such file")
        return named.expanduser()
    folder = Path(root or os.environ.get("POINTSSL_DATA") or "data")
    beside = folder.expanduser() / FILE_NAME
    return beside if beside.is_file() else None


def read_skips(path: Path) -> list[Skip]:
    """The lines of a skip list.

    Raises:
        DataError: it can't be read, or a line has too few columns.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a skip list ({error})") from None
    skips = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            cells = line.split("\t")
            if len(cells) < 3:
                raise DataError(
                    f"{path}: line {number}: expected dataset, split, name and why between tabs"
                )
            dataset, split, name, why = [*map(_unescaped, cells), ""][:4]
            skips.append(Skip(dataset, split, name, why))
    return skips


def write_skips(path: Path, skips: Iterable[Skip]) -> None:
    """Writes a skip list, atomically."""
    header = (
        "# Left out by pointssl: dataset, split, name, why. Delete a line to take a cloud back.\n"
    )
    text = header + "".join("\t".join(map(_escaped, skip)) + "\n" for skip in skips)
    write_text(path, text)


def _escaped(cell: str) -> str:
    """``cell`` without tabs and line breaks."""
    for plain, written in _ESCAPES:
        cell = cell.replace(plain, written)
    return cell


def _unescaped(cell: str) -> str:
    return re.sub(r"\\(.)", lambda match: _PLAIN.get(match[0], match[0]), cell)


def leave_out(source: Source, skipped: frozenset[str], skip_list: Path) -> Source:
    """``source`` without the clouds named in ``skipped``, and with a note about them."""
    kept = [i for i, name in enumerate(source.names) if name not in skipped]
    left_out = source.count - len(kept)
    if not left_out:
        return source
    digest = hashlib.sha256("\0".join(sorted(skipped)).encode()).hexdigest()
    return dataclasses.replace(
        source,
        key=f"{source.key}-{digest}",
        names=[source.names[i] for i in kept],
        read=lambda i: source.read(kept[i]),
        notes=[*source.notes, f"left out: {left_out} clouds that {skip_list} lists"],
        left_out=source.left_out + left_out,
        packed=None,
    )
