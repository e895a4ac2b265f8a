"""Installing archives as a folder that opens as the dataset; nothing is left if that fails."""

import datetime
import json
import os
from collections.abc import Sequence
from pathlib import Path

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.catalogue import CATALOGUE, Entry
from pointssl_datasets.downloading.fetch import Fetched
from pointssl_datasets.downloading.unpack import unpack
from pointssl_datasets.serving.finding import LocalDataset, find_dataset

RECEIPT = "pointssl-download.json"


def find_installed(name: str, root: Path) -> LocalDataset | None:
    """The dataset, if it is in ``root`` or where a download puts it.

    Raises:
        DataError: something else is where a download would put it.
    """
    entry = CATALOGUE[name]
    target = root / entry.folder
    if target.exists():
        local = find_dataset(name, target)
        if not local.splits:
            raise DataError(
                f"{target} exists, but does not contain {name} ({local.error}). Move it away first."
            )
        return local
    local = find_dataset(name, root)
    same = entry.classes is None or local.classes == entry.classes
    return local if local.splits and same else None


def install(
    name: str, entry: Entry, archives: Sequence[Fetched], work: Path, target: Path, progress: bool
) -> None:
    """Unpacks all archives into one folder and renames it to ``target`` if the dataset opens.

    Args:
        archives: all archives of the dataset.
        work: a temporary folder, on the file system of ``target``.

    Raises:
        DataError: an archive is damaged, or together they do not have the dataset's layout.
        UserError: ``target`` can't be written.
    """
    for number, fetched in enumerate(archives):
        unpack(fetched.path, work / f"unpacked-{number}", progress=progress)
    merged = work / "unpacked-0"
    for number, fetched in enumerate(archives[1:], 1):
        for child in (work / f"unpacked-{number}").iterdir():
            if (merged / child.name).exists():
                raise DataError(f"{fetched.path}: {child.name!r} is in another archive too")
            os.rename(child, merged / child.name)
    content = list(merged.iterdir())
    # A single folder around everything is removed, so that the layout is in `target` itself.
    folders = [content[0], merged] if len(content) == 1 and content[0].is_dir() else [merged]
    results = [find_dataset(name, folder) for folder in folders]
    fitting = [f for f, local in zip(folders, results, strict=True) if local.splits]
    if not fitting:
        files = ", ".join(fetched.path.name for fetched in archives)
        error = results[-1].error.replace(str(merged.resolve()), "the archive")
        raise DataError(f"{files}: does not contain {name}: expected {entry.layout} ({error})")
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
            for fetched in archives
        ],
    }
    (fitting[0] / RECEIPT).write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")
    os.rename(fitting[0], target)


def compare_with_official(local: LocalDataset) -> str:
    """The numbers of clouds, and the official numbers if they differ."""
    entry = CATALOGUE[local.name]
    official = {split: entry.official(split, local.classes) for split in local.splits}
    if any(number not in (None, local.splits[split]) for split, number in official.items()):
        expected = ", ".join(f"{number} {split}" for split, number in official.items())
        return f"{local}; the original has {expected}"
    return str(local)
