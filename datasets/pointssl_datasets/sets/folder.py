"""``folder``: your own clouds and meshes in folders by split and class, in any usual layout.

| layout | |
| --- | --- |
| ``root/{train,test}/CLASS/name.EXT`` | as distributed for most benchmarks |
| ``root/CLASS/{train,test}/name.EXT`` | as in ModelNet |
| ``root/CLASS/name.EXT`` | a fifth of each class is test, chosen by a hash of the names |
| ``root/{train,test}/name.EXT`` | without classes, for pretraining |
| ``root/name.EXT`` | without classes; all of it is train |

Beside ``train`` and ``test`` there may be ``val``. The images of a cloud ``m1.npy`` are ``m1.jpg``,
``m1_*.png``, or in a folder ``m1/``. Files that a ``.mtl`` file refers to are textures, not images.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pointssl_datasets.base.entry import Entry
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.paths import data_root, stat_key
from pointssl_datasets.base.source import Source
from pointssl_datasets.files.readers import MESH_POINTS, SUFFIXES
from pointssl_datasets.layout.pairs import Item, item_reader, pair_up
from pointssl_datasets.layout.tree import Listing, check_name, has_clouds, list_clouds, subfolders

SPLITS = ("train", "val", "test")
_TEST_SHARE = 0.2
_LAYOUT = (
    "root/train/CLASS/name.EXT and root/test/CLASS/name.EXT, root/CLASS/train/name.EXT, "
    f"root/CLASS/name.EXT or root/name.EXT, with EXT one of {' '.join(SUFFIXES)}"
)

_Classes = Mapping[str, Listing]  # class name -> listing; "" if there are no classes

ENTRIES = {
    "folder": Entry(
        title="Your own clouds or meshes, with or without pictures",
        layout="{train,test}/CLASS/NAME.EXT, or CLASS/NAME.EXT",
        up_axis="y",
        origin="your own",
        how="Put your files into folders by class; --data folder --data-root FOLDER reads them.",
    )
}


def open_folder(
    root: Path | None,
    split: str,
    *,
    on_unpaired: str = "error",
    mesh_points: int | None = None,
    skip: frozenset[str] = frozenset(),
) -> Source:
    """A folder of clouds, y-up.

    Args:
        root: the folder; see :func:`~pointssl_datasets.base.paths.data_root`.
        split: ``"train"``, ``"test"``, or ``"val"`` if it exists.
        on_unpaired: ``"error"`` or ``"skip"``, for clouds without images if others have some.
        mesh_points: points sampled from every mesh; None: 4096.
        skip: names of clouds or images that may be unpaired.

    Raises:
        DataError: no clouds, two clouds of one name, unpaired images (``on_unpaired="error"``).
        UsageError: a split that does not exist.
    """
    if split not in SPLITS:
        raise UsageError(f"folder has the splits train, val and test, not {split!r}")
    folder = data_root(root, "folder")
    where, listings, classes, notes = _find(folder, split)
    items = [
        Item(
            f"{name}/{stem}" if name else stem,
            path,
            classes.index(name) if name else None,
            listings[name].images.get(stem, []),
        )
        for name in sorted(listings)
        for stem, path in listings[name].clouds.items()
    ]
    if not items:
        raise DataError(f"{where}: no clouds for the split {split!r}. Expected {_LAYOUT}.")
    foreign = sum((listing.foreign for listing in listings.values()), Counter[str]())
    if foreign:
        kinds = ", ".join(f"{count} {kind}" for kind, count in foreign.most_common(5))
        notes.append(f"{where}: ignored {foreign.total()} other files or folders ({kinds})")
    orphans = [
        f"{name}/{orphan}" if name else orphan
        for name, listing in sorted(listings.items())
        for orphan in listing.orphans
    ]
    orphans = [name for name in orphans if name not in skip]
    if orphans or any(item.images for item in items):
        items, left_out = pair_up(items, orphans, on_unpaired, where, skip)
        notes += left_out
    images = [str(path) for item in items for path in item.images]
    points = mesh_points or MESH_POINTS
    return Source(
        dataset="folder",
        split=split,
        classes=tuple(classes),
        up_axis="y",
        key=_key([item.path for item in items], *classes, *images, str(points)),
        names=[item.name for item in items],
        read=item_reader(items, points),
        notes=notes,
    )


def _key(paths: Sequence[Path], *more: str) -> str:
    """:func:`stat_key` that accepts broken links; reading such a cloud raises an error later."""
    try:
        return stat_key(paths, *more)
    except DataError:
        existing = {path for path in paths if path.exists()}
        broken = [str(path) for path in paths if path not in existing]
        return stat_key([path for path in paths if path in existing], *broken, *more)


def _find(folder: Path, split: str) -> tuple[Path, _Classes, list[str], list[str]]:
    """The folder of the split, its listings by class, the classes of all splits, and notes."""
    folders = subfolders(folder)
    nested = {name: _splits_in(folder / name) for name in folders}
    if any(below for name, below in nested.items() if name not in SPLITS):
        return _find_nested(folder, split, nested)
    if any(_has_classes(folder / name) for name in SPLITS):
        _require(split, folders, folder)
        by_split = {name: _classes_in(folder / name) for name in SPLITS}
        classes = sorted({name for listings in by_split.values() for name in listings})
        return folder / split, by_split[split], classes, []
    filled = [name for name in folders if has_clouds(folder / name) or _has_classes(folder / name)]
    if filled and set(filled) <= set(SPLITS):
        _require(split, folders, folder)
        return folder / split, {"": list_clouds(folder / split)}, [], []
    by_class = _classes_in(folder)
    without_class = has_clouds(folder)
    if without_class and not any(listing.clouds for listing in by_class.values()):
        if split != "train":
            raise UsageError(
                f"{folder} has no classes and no split {split!r}: all of it is for pretraining "
                "(train)"
            )
        return folder, {"": list_clouds(folder)}, [], []
    if split == "val":
        raise UsageError(f"{folder} has the splits train and test, not 'val'")
    notes = [f"{folder}: ignored the clouds outside of class folders"] if without_class else []
    notes.append(
        f"{folder} has no train and test folders: a fifth of each class is test, chosen by a hash "
        "of the names"
    )
    shares = {name: _share(listing, split) for name, listing in by_class.items()}
    return folder, shares, sorted(by_class), notes


def _find_nested(
    folder: Path, split: str, nested: Mapping[str, list[str]]
) -> tuple[Path, _Classes, list[str], list[str]]:
    """:func:`_find` for ``root/CLASS/{train,test}``; ``nested`` has the splits of each class."""
    _require(split, [name for below in nested.values() for name in below], folder)
    chosen = {
        name: list_clouds(folder / name / split) for name, below in nested.items() if split in below
    }
    loose = [name for name in nested if has_clouds(folder / name)]
    notes = [f"{folder}: ignored the clouds outside of train and test in {', '.join(loose)}"]
    classes = sorted(name for name, below in nested.items() if below)
    return folder, chosen, classes, notes if loose else []


def _require(split: str, existing: Collection[str], folder: Path) -> None:
    if split not in existing and split == "val":
        raise UsageError(f"{folder} has the splits train and test, not 'val'")
    if split not in existing:
        raise DataError(f"{folder} has no folder {split!r}. Expected {_LAYOUT}.")


def _has_classes(folder: Path) -> bool:
    """Whether a folder is a split with classes; a class that happens to be named train is not."""
    return any(has_clouds(folder / name) for name in subfolders(folder))


def _classes_in(folder: Path) -> dict[str, Listing]:
    """The listings of all classes; folders with neither clouds nor images are not classes."""
    listings = {name: list_clouds(folder / name) for name in subfolders(folder)}
    classes = {name: lst for name, lst in listings.items() if lst.clouds or lst.orphans}
    for name in classes:
        check_name(name, folder)
    return classes


def _splits_in(folder: Path) -> list[str]:
    """The splits that are folders with clouds; a folder ``m1/`` of images is not a split."""
    return [name for name in SPLITS if has_clouds(folder / name)]


def _share(listing: Listing, split: str) -> Listing:
    """The clouds of a class that are in ``split``, if there are no split folders."""
    order = sorted(listing.clouds, key=lambda stem: hashlib.sha256(stem.encode()).digest())
    count = round(_TEST_SHARE * len(order)) or int(len(order) > 1)
    chosen = set(order[:count] if split == "test" else order[count:])
    clouds = {stem: path for stem, path in listing.clouds.items() if stem in chosen}
    if split == "test":
        return Listing(clouds, listing.images)  # orphans are in train
    return Listing(clouds, listing.images, listing.orphans, listing.foreign)
