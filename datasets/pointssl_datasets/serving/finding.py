"""Which datasets are in a folder, and how many clouds they have."""

from dataclasses import dataclass, field
from pathlib import Path

from pointssl_datasets.base.errors import UserError
from pointssl_datasets.catalogue import CATALOGUE, Entry
from pointssl_datasets.serving.opening import open_source

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class LocalDataset:
    """A dataset as found in a folder; without splits, it was not found."""

    name: str
    folder: Path | None = None
    splits: dict[str, int] = field(default_factory=dict)  # split -> clouds, of those that open
    classes: int = 0
    error: str = ""  # of the first split that could not be opened

    def __str__(self) -> str:
        """``"9840 train, 2468 test in 40 classes"``, or ``"not found"``."""
        if not self.splits:
            return "not found"
        counts = ", ".join(f"{count} {split}" for split, count in self.splits.items())
        return f"{counts} in {self.classes} classes" if self.classes else counts


def find_dataset(name: str, root: Path | None) -> LocalDataset:
    """The dataset ``name`` in ``root``, in a folder directly below it, or where a download puts it.

    Nothing is raised if it is missing or damaged. Generated datasets are found everywhere, and
    ``folder`` nowhere, as it can be any folder.
    """
    entry = CATALOGUE.get(name, Entry(title=name, layout="", up_axis="y"))
    if name == "folder":
        return LocalDataset(name=name, error="it can be any folder")
    places = [root]
    if root is not None and entry.folder and (root / entry.folder).is_dir():
        places.append(root / entry.folder)
    candidates = [_open(name, place, entry) for place in places]
    return next((local for local in candidates if local.splits), candidates[0])


def _open(name: str, root: Path | None, entry: Entry) -> LocalDataset:
    splits: dict[str, int] = {}
    classes = 0
    first_error = ""
    for split in entry.clouds or _SPLITS:
        try:
            source = open_source(name, root, split, on_unpaired="skip")
        except (UserError, OSError) as error:
            first_error = first_error or str(error)
            continue
        splits[split] = source.count
        classes = len(source.classes)
    return LocalDataset(name=name, folder=root, splits=splits, classes=classes, error=first_error)
