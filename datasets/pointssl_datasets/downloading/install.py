"""From archives to a folder that opens as the dataset, or to none at all."""

import datetime
import json
import os
from collections.abc import Sequence
from pathlib import Path

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.catalogue import CATALOGUE, Entry
from pointssl_datasets.downloading.fetch import Fetched
from pointssl_datasets.downloading.unpack import unpack
from pointssl_datasets.serving.finding import Found, find

RECEIPT = "pointssl-download.json"


def already(name: str, root: Path) -> Found | None:
    """The dataset, if it lies in ``root`` or where a download puts it.

    Raises:
        DataError: there is something else where a download would put it.
    """
    entry = CATALOGUE[name]
    target = root / entry.folder
    if target.exists():
        found = find(name, target)
        if not found.splits:
            raise DataError(
                f"{target} is there, but {name} is not in it ({found.why}). Move it away first."
            )
        return found
    found = find(name, root)
    same = entry.classes is None or found.classes == entry.classes
    return found if found.splits and same else None


def install(
    name: str, entry: Entry, here: Sequence[Fetched], work: Path, target: Path, progress: bool
) -> None:
    """Unpacks all archives beside each other, and renames what opens to ``target``.

    Args:
        here: the archives.
        work: a folder for what is temporary, on the file system of ``target``.

    Raises:
        DataError: an archive is damaged, or they do not hold the dataset's layout.
        UserError: ``target`` can't be written.
    """
    for number, fetched in enumerate(here):
        unpack(fetched.path, work / f"unpacked-{number}", progress=progress)
    whole = work / "unpacked-0"
    for number, fetched in enumerate(here[1:], 1):
        for child in (work / f"unpacked-{number}").iterdir():
            if (whole / child.name).exists():
                raise DataError(f"{fetched.path}: {child.name!r} is in another archive too")
            os.rename(child, whole / child.name)
    inner = list(whole.iterdir())
    # A lone folder around everything is taken off, so that commands find the layout in `target`.
    tries = [inner[0], whole] if len(inner) == 1 and inner[0].is_dir() else [whole]
    founds = [find(name, folder) for folder in tries]
    fitting = [f for f, found in zip(tries, founds, strict=True) if found.splits]
    if not fitting:
        files = ", ".join(fetched.path.name for fetched in here)
        why = founds[-1].why.replace(str(whole.resolve()), "the archive")
        raise DataError(f"{files}: does not hold {name}: expected {entry.layout} ({why})")
    receipt = {
        "name": name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "archives": [
            {
                "file": fetched.path.name,
                "from": fetched.origin,
                "size": fetched.size,
                "sha256": fetched.sha256,
                "checked": fetched.checked or None,
            }
            for fetched in here
        ],
    }
    (fitting[0] / RECEIPT).write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")
    os.rename(fitting[0], target)


def compared(found: Found) -> str:
    """What was found, and how it differs from the official numbers."""
    entry = CATALOGUE[found.name]
    official = {split: entry.official(split, found.classes) for split in found.splits}
    if any(number not in (None, found.splits[split]) for split, number in official.items()):
        expected = ", ".join(f"{number} {split}" for split, number in official.items())
        return f"{found}; the original has {expected}"
    return str(found)
