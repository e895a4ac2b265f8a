"""Extending a skip list, for ``pointssl data check --fix``."""

from collections.abc import Iterable
from pathlib import Path

from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.skipping import Skip, read_skips, write_skips


def add_skips(path: Path, active: Path | None, skips: Iterable[Skip]) -> None:
    """Writes the skip list ``path``: the lines of the active one, of ``path``, then new ones.

    Raises:
        DataError: an old list can't be read.
        UserError: the new list can't be written; the old one is unchanged.
    """
    old = dict.fromkeys(file for file in (active, path) if file and file.is_file())
    merged: dict[tuple[str, str, str], Skip] = {}
    for skip in [*(skip for file in old for skip in read_skips(file)), *skips]:
        merged.setdefault(skip[:3], skip)
    try:
        write_skips(path, merged.values())
    except UserError as error:
        raise UserError(f"{error} Choose another file with --skip-list.") from None
