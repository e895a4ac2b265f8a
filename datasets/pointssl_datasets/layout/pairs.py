"""Clouds on disk that may have pictures: what is unpaired, and how one of them is read."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.source import Cloud
from pointssl_datasets.files.readers import read_cloud

PICTURES = (".jpg", ".jpeg", ".png", ".webp")


class Unpaired(DataError):
    """Clouds without pictures, and pictures without a cloud: the names of all of them."""

    def __init__(self, message: str, clouds: Sequence[str], pictures: Sequence[str]) -> None:
        super().__init__(message)
        self.clouds, self.pictures = tuple(clouds), tuple(pictures)


@dataclass(frozen=True)
class Item:
    """A cloud or mesh file, its name within the split, its class, and its pictures in order."""

    name: str
    path: Path
    label: int | None  # None: there are no classes
    images: list[Path] = field(default_factory=list)


def pair_up(
    items: Sequence[Item],
    orphans: Sequence[str],
    on_unpaired: str,
    where: Path,
    skip: frozenset[str] = frozenset(),
) -> tuple[list[Item], list[str]]:
    """The items that are paired, and notes about those left out.

    Args:
        items: clouds; those without pictures count as unpaired.
        orphans: names of pictures, or of folders of pictures, that belong to no cloud.
        on_unpaired: ``"error"`` or ``"skip"``.
        where: the folder, for the message.
        skip: names of clouds and orphans that a skip list leaves out: nobody asks for their pair.

    Raises:
        Unpaired: something is unpaired and ``on_unpaired`` is ``"error"``.
    """
    if on_unpaired not in ("error", "skip"):
        raise UsageError(f"--on-unpaired {on_unpaired!r}: choose error or skip")
    bare = [item.name for item in items if not item.images and item.name not in skip]
    orphans = [name for name in orphans if name not in skip]
    said = []
    if bare:
        said.append(f"{len(bare)} of {len(items)} clouds without pictures ({_some(bare)})")
    if orphans:
        said.append(f"{len(orphans)} pictures without a cloud ({_some(orphans)})")
    if said and on_unpaired == "error":
        raise Unpaired(
            f"{where}: {'; '.join(said)}. Complete the data, or leave them out with "
            "--on-unpaired skip.",
            bare,
            orphans,
        )
    paired = [item for item in items if item.images]
    if not paired:
        raise DataError(f"{where}: {'; '.join(said) or 'no clouds'}: nothing is left")
    return paired, [f"left out: {line}" for line in said]


def item_reader(items: Sequence[Item], mesh_points: int) -> Callable[[int], Cloud]:
    """``read`` of a :class:`~pointssl_datasets.base.source.Source` of these items.

    Args:
        items: in order.
        mesh_points: points that are drawn from an item that is a mesh.
    """

    def read(index: int) -> Cloud:
        item = items[index]
        cloud = read_cloud(item.path, mesh_points=mesh_points)
        if item.label is not None:
            cloud["label"] = item.label
        cloud["images"] = list(item.images)
        return cloud

    return read


def is_image(name: str) -> bool:
    """By the suffix of the file's name; hidden files (``._m1.jpg`` of macOS) are none."""
    return os.path.splitext(name)[1].lower() in PICTURES and not name.startswith(".")


def images_in(folder: Path) -> list[Path]:
    """The pictures directly in a folder, sorted; empty if there is no such folder."""
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if is_image(name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
