"""Clouds on disk that may have pictures: what is unpaired, and how the pairs are read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pointssl_datasets.errors import DataError, UsageError
from pointssl_datasets.readers import read_cloud
from pointssl_datasets.source import Cloud

PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Item:
    """A cloud file, its name within the split, its class, and its pictures in order."""

    name: str
    path: Path
    label: int
    images: list[Path] = field(default_factory=list)


def pair_up(
    items: Sequence[Item], orphans: Sequence[str], on_unpaired: str, where: Path
) -> tuple[list[Item], list[str]]:
    """The items that are paired, and notes about those left out.

    Args:
        items: clouds; those without pictures count as unpaired.
        orphans: names of pictures, or of folders of pictures, that belong to no cloud.
        on_unpaired: ``"error"`` or ``"skip"``.
        where: the folder, for the message.

    Raises:
        DataError: something is unpaired and ``on_unpaired`` is ``"error"``.
    """
    if on_unpaired not in ("error", "skip"):
        raise UsageError(f"--on-unpaired {on_unpaired!r}: choose error or skip")
    bare = [item.name for item in items if not item.images]
    said = []
    if bare:
        said.append(f"{len(bare)} of {len(items)} clouds without pictures ({_some(bare)})")
    if orphans:
        said.append(f"{len(orphans)} pictures without a cloud ({_some(orphans)})")
    if said and on_unpaired == "error":
        raise DataError(
            f"{where}: {'; '.join(said)}. Complete the data, or leave them out with "
            "--on-unpaired skip."
        )
    paired = [item for item in items if item.images]
    if not paired:
        raise DataError(f"{where}: {'; '.join(said) or 'no clouds'}: nothing is left")
    return paired, [f"left out: {line}" for line in said]


def read_items(items: Sequence[Item]) -> Iterator[Cloud]:
    """Reads the clouds one after the other."""
    for item in items:
        cloud = read_cloud(item.path)
        cloud["name"], cloud["label"], cloud["images"] = item.name, item.label, item.images
        yield cloud


def is_picture(path: Path) -> bool:
    """By its suffix; hidden files (``._m1.jpg`` of macOS) are none."""
    return path.suffix.lower() in PICTURES and not path.name.startswith(".")


def pictures_in(folder: Path) -> list[Path]:
    """The pictures directly in a folder, sorted; empty if there is no such folder."""
    return sorted(filter(is_picture, folder.iterdir())) if folder.is_dir() else []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
