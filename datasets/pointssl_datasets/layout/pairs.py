"""Cloud files with images: pairing, unpaired clouds and images, and reading."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.source import Cloud
from pointssl_datasets.files.readers import read_cloud

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class Unpaired(DataError):
    """Clouds without images, and images without a cloud.

    Attributes:
        clouds, images: the names of all of them.
    """

    def __init__(self, message: str, clouds: Sequence[str], images: Sequence[str]) -> None:
        super().__init__(message)
        self.clouds, self.images = tuple(clouds), tuple(images)


@dataclass(frozen=True)
class Item:
    """A cloud or mesh file and its images."""

    name: str  # unique within the split
    path: Path
    label: int | None  # None if there are no classes
    images: list[Path] = field(default_factory=list)  # in order


def pair_up(
    items: Sequence[Item],
    orphans: Sequence[str],
    on_unpaired: str,
    where: Path,
    skip: frozenset[str] = frozenset(),
) -> tuple[list[Item], list[str]]:
    """The items that have images, and notes about those left out.

    Args:
        items: clouds; those without images count as unpaired.
        orphans: names of images, or of folders of images, that belong to no cloud.
        on_unpaired: ``"error"`` or ``"skip"``.
        where: the folder, for the message.
        skip: names in a skip list; these clouds and orphans do not count as unpaired.

    Raises:
        Unpaired: something is unpaired and ``on_unpaired`` is ``"error"``.
        UsageError: another value of ``on_unpaired``.
    """
    if on_unpaired not in ("error", "skip"):
        raise UsageError(f"--on-unpaired {on_unpaired!r}: choose error or skip")
    unpaired = [item.name for item in items if not item.images and item.name not in skip]
    orphans = [name for name in orphans if name not in skip]
    problems = []
    if unpaired:
        count = f"{len(unpaired)} of {len(items)}"
        problems.append(f"clouds without images: {count} ({_examples(unpaired)})")
    if orphans:
        problems.append(f"images without a cloud: {len(orphans)} ({_examples(orphans)})")
    if problems and on_unpaired == "error":
        raise Unpaired(
            f"{where}: {'; '.join(problems)}. Complete the data, or leave them out with "
            "--on-unpaired skip.",
            unpaired,
            orphans,
        )
    paired = [item for item in items if item.images]
    if not paired:
        raise DataError(f"{where}: {'; '.join(problems) or 'no clouds'}: nothing is left")
    return paired, [f"left out: {problem}" for problem in problems]


def item_reader(items: Sequence[Item], mesh_points: int) -> Callable[[int], Cloud]:
    """The ``read`` of a :class:`~pointssl_datasets.base.source.Source` of these items.

    Args:
        items: in order.
        mesh_points: number of points that are sampled from a mesh.
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
    """Whether a file of this name is an image, by its suffix; hidden files are not."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def images_in(folder: Path) -> list[Path]:
    """The images directly in a folder, sorted; none if the folder does not exist."""
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if is_image(name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {error.strerror}") from None


def _examples(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
