"""Your own clouds: ``root/{train,test}/CLASS/name.EXT``, or ``root/CLASS/name.EXT`` unsplit.

Pictures lie beside a cloud ``m1.npy`` as ``m1.jpg``, as ``m1_*.png``, or in a folder ``m1/``.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from pointssl_datasets.errors import DataError, UsageError
from pointssl_datasets.pairs import Item, is_picture, pair_up, pictures_in, read_items
from pointssl_datasets.paths import data_root, stat_key
from pointssl_datasets.readers import SUFFIXES
from pointssl_datasets.source import Source

_SPLITS = ("train", "test")
_TEST_SHARE = 0.2
_LAYOUT = (
    "root/train/CLASS/name.EXT and root/test/CLASS/name.EXT, or root/CLASS/name.EXT, with EXT "
    f"one of {' '.join(SUFFIXES)}"
)


def open_folder(
    root: Path | None,
    split: str,
    *,
    size: int | None = None,
    seed: int = 0,
    up_axis: str = "auto",
    on_unpaired: str = "error",
) -> Source:
    """A folder of clouds by class, y-up unless ``up_axis`` says otherwise.

    Without ``train`` and ``test`` folders, a fifth of each class is for test, chosen by a hash of
    the names, so that it is the same on every machine.

    Raises:
        DataError: no clouds, two clouds of one name, unpaired pictures (``on_unpaired="error"``).
        UsageError: a split other than train and test.
    """
    if split not in _SPLITS:
        raise UsageError(f"folder has the splits train and test, not {split!r}")
    folder = data_root(root, "folder")
    notes: list[str] = []
    if any(_has_folders(folder / name) for name in _SPLITS):
        top = folder / split
        if not top.is_dir():
            raise DataError(f"{folder} has no folder {split!r}. Expected {_LAYOUT}.")
        listings = {name: _list_classes(folder / name) for name in _SPLITS}
        classes = sorted(set(listings["train"]) | set(listings["test"]))
        chosen = listings[split]
    else:
        top = folder
        everything = _list_classes(folder)
        classes = sorted(everything)
        chosen = {name: _share(listing, split) for name, listing in everything.items()}
        notes.append(
            f"{folder} has no train and test folders: a fifth of each class is for test, chosen "
            "by a hash of the names"
        )
    items = [
        Item(f"{name}/{stem}", path, classes.index(name), chosen[name].images.get(stem, []))
        for name in sorted(chosen)
        for stem, path in sorted(chosen[name].clouds.items())
    ]
    if not items:
        raise DataError(f"{top}: no clouds for the split {split!r}. Expected {_LAYOUT}.")
    foreign = sum((listing.foreign for listing in chosen.values()), Counter[str]())
    if foreign:
        kinds = ", ".join(f"{count} {kind}" for kind, count in foreign.most_common(5))
        notes.append(f"{top}: ignored {foreign.total()} other files or folders ({kinds})")
    orphans = [f"{name}/{orphan}" for name, listing in chosen.items() for orphan in listing.orphans]
    if orphans or any(item.images for item in items):
        items, left_out = pair_up(items, orphans, on_unpaired, top)
        notes += left_out
    images = [str(path) for item in items for path in item.images]
    return Source(
        dataset="folder",
        split=split,
        classes=tuple(classes),
        up_axis="y" if up_axis == "auto" else up_axis,
        key=stat_key([item.path for item in items], *classes, *images),
        count=len(items),
        clouds=lambda: read_items(items),
        notes=notes,
    )


class _Listing(NamedTuple):
    """One class folder."""

    clouds: dict[str, Path]  # by stem
    images: dict[str, list[Path]]  # by stem of the cloud
    orphans: list[str]  # pictures without a cloud
    foreign: Counter[str]  # everything else, by suffix


def _has_folders(folder: Path) -> bool:
    """A class that happens to be called ``train`` holds clouds; a split holds folders."""
    return folder.is_dir() and any(entry.is_dir() for entry in folder.iterdir())


def _list_classes(folder: Path) -> dict[str, _Listing]:
    """By class name; folders that hold neither clouds nor pictures are no classes."""
    if not folder.is_dir():
        return {}
    entries = sorted(folder.iterdir())
    listings = {
        entry.name: _list_class(entry)
        for entry in entries
        if entry.is_dir() and not entry.name.startswith(".")
    }
    return {name: found for name, found in listings.items() if found.clouds or found.orphans}


def _list_class(folder: Path) -> _Listing:
    clouds: dict[str, Path] = {}
    rest = []
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".")
        if not path.is_file() or hidden or path.suffix.lower() not in SUFFIXES:
            rest.append(path)
        elif path.stem in clouds:
            raise DataError(
                f"{folder}: two clouds are called {path.stem!r}: {clouds[path.stem].name} and "
                f"{path.name}. Keep one."
            )
        else:
            clouds[path.stem] = path
    listing = _Listing(clouds, {}, [], Counter())
    for path in rest:
        found = [path] if path.is_file() and is_picture(path) else []
        if path.is_dir() and not path.name.startswith("."):
            found = pictures_in(path)
        owner = path.name if path.is_dir() else _owner(path.stem, clouds)
        if not found:
            listing.foreign[path.suffix if path.is_file() else "folder"] += 1
        elif owner in clouds:
            listing.images.setdefault(owner, []).extend(found)
        else:
            listing.orphans.append(path.name)
    return listing


def _owner(stem: str, clouds: dict[str, Path]) -> str:
    """``m1_side_2`` belongs to the cloud ``m1_side_2``, else ``m1_side``, else ``m1``."""
    while stem not in clouds and "_" in stem:
        stem = stem.rpartition("_")[0]
    return stem


def _share(listing: _Listing, split: str) -> _Listing:
    """The part of an unsplit class that belongs to ``split``; orphans stay with train."""
    order = sorted(listing.clouds, key=lambda stem: hashlib.sha256(stem.encode()).digest())
    count = round(_TEST_SHARE * len(order)) or int(len(order) > 1)
    mine = set(order[:count] if split == "test" else order[count:])
    clouds = {stem: path for stem, path in listing.clouds.items() if stem in mine}
    if split == "test":
        return listing._replace(clouds=clouds, orphans=[], foreign=Counter())
    return listing._replace(clouds=clouds)
