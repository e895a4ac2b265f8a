"""Which datasets lie below a folder, and how much of them."""

from dataclasses import dataclass, field
from pathlib import Path

from pointssl_datasets.base.errors import UserError
from pointssl_datasets.catalogue import CATALOGUE, Entry
from pointssl_datasets.serving.opening import open_source

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Found:
    """One dataset as it lies in a folder; no splits: it does not."""

    name: str
    folder: Path | None = None
    splits: dict[str, int] = field(default_factory=dict)  # clouds of each that can be listed
    classes: int = 0
    why: str = ""  # the first split could not be opened

    def __str__(self) -> str:
        """``"9840 train, 2468 test in 40 classes"``, or ``"not found"``."""
        if not self.splits:
            return "not found"
        counts = ", ".join(f"{count} {split}" for split, count in self.splits.items())
        return f"{counts} in {self.classes} classes" if self.classes else counts


def find(name: str, root: Path | None) -> Found:
    """What of the dataset ``name`` can be opened in ``root``, in the folder directly below it that
    fits, or in the one that a download makes there. Never raises for what is absent or damaged.

    Generated datasets are everywhere. Any folder would do for ``folder``, so it is never found.
    """
    entry = CATALOGUE.get(name, Entry(title=name, layout="", up_axis="y"))
    if name == "folder":
        return Found(name=name, why="any folder will do")
    places = [root]
    if root is not None and entry.folder and (root / entry.folder).is_dir():
        places.append(root / entry.folder)
    tried = [_open(name, place, entry) for place in places]
    return next((found for found in tried if found.splits), tried[0])


def _open(name: str, root: Path | None, entry: Entry) -> Found:
    splits: dict[str, int] = {}
    classes = 0
    why = ""
    for split in entry.clouds or _SPLITS:
        try:
            source = open_source(name, root, split, on_unpaired="skip")
        except (UserError, OSError) as error:
            why = why or str(error)
            continue
        splits[split] = source.count
        classes = len(source.classes)
    return Found(name=name, folder=root, splits=splits, classes=classes, why=why)
