"""What ``pointssl data check --fix`` writes: the skip list, with everything that it held before."""

from collections.abc import Iterable
from pathlib import Path

from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.skipping import Skip, read_skips, write_skips


def add_skips(path: Path, in_force: Path | None, skips: Iterable[Skip]) -> None:
    """Writes the skip list ``path``: the lines in force, those of ``path``, then the new ones.

    Raises:
        DataError: an old list can't be read.
        UserError: the new one can't be written; the old one is then untouched.
    """
    old = list(dict.fromkeys(list_ for list_ in (in_force, path) if list_ and list_.is_file()))
    kept: dict[tuple[str, str, str], Skip] = {}
    for skip in [*(skip for list_ in old for skip in read_skips(list_)), *skips]:
        kept.setdefault(skip[:3], skip)
    try:
        write_skips(path, kept.values())
    except UserError as error:
        raise UserError(f"{error} Name another file with --skip-list.") from None
