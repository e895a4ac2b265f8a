"""Which parts belong to which category, and how the numbers of a dataset become a network's."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.resolve import nearest
from pointssl_datasets.serving.dataset import CloudDataset

Ints = NDArray[np.int64]


class PartNumbers(NamedTuple):
    """Categories and parts as a network numbers them.

    Attributes:
        classes, parts: names.
        parts_of: the parts of each category.
        label_map, part_map: number in the dataset -> in the network, or -1 for none. The last
            entry of ``label_map`` is for clouds without a class.
    """

    classes: tuple[str, ...]
    parts: tuple[str, ...]
    parts_of: tuple[tuple[int, ...], ...]
    label_map: Ints
    part_map: Ints

    def apply(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch of the dataset with ``label`` and ``part`` in the network's numbers."""
        device = batch["part"].device
        label_map, part_map = (
            torch.from_numpy(numbers).to(device) for numbers in (self.label_map, self.part_map)
        )
        return {**batch, "label": label_map[batch["label"]], "part": part_map[batch["part"]]}

    def mask(self) -> NDArray[np.bool_]:
        """``(categories, parts)``: whether a category has a part."""
        has = np.zeros((len(self.classes), len(self.parts)), bool)
        for category, own in enumerate(self.parts_of):
            has[category, list(own)] = True
        return has


def number_parts(dataset: CloudDataset, class_choice: str | None = None) -> PartNumbers:
    """The numbers for a network that is trained on ``dataset``.

    Where all parts are named ``category/part`` the names say what belongs together, else what the
    clouds of each category have.

    Args:
        class_choice: only this category, its parts numbered from 0.

    Raises:
        UsageError: the dataset has no part labels, or no such category.
    """
    if not dataset.parts:
        raise UsageError(
            f"{dataset.name} has no part labels: part segmentation needs some on every cloud, e.g. "
            "--data shapenetpart, or .ply files with a property `label`"
        )
    classes = dataset.classes or ("object",)
    parts_of = _by_name(classes, dataset.parts) or _by_clouds(dataset, len(classes))
    label_map = np.append(np.arange(len(classes)), 0 if len(classes) == 1 else -1)
    part_map = np.arange(len(dataset.parts))
    numbers = PartNumbers(classes, dataset.parts, parts_of, label_map, part_map)
    return numbers if class_choice is None else _only(numbers, class_choice)


def _only(numbers: PartNumbers, name: str) -> PartNumbers:
    if name not in numbers.classes:
        raise UsageError(
            f"--class-choice {name!r}{nearest(name, list(numbers.classes)) or '.'} "
            f"The categories are {', '.join(numbers.classes)}."
        )
    chosen = numbers.classes.index(name)
    own = numbers.parts_of[chosen]
    label_map = np.full_like(numbers.label_map, -1)
    label_map[chosen] = 0
    part_map = np.full_like(numbers.part_map, -1)
    part_map[list(own)] = np.arange(len(own))
    parts = tuple(numbers.parts[part] for part in own)
    return PartNumbers((name,), parts, (tuple(range(len(own))),), label_map, part_map)


def _by_name(classes: Sequence[str], parts: Sequence[str]) -> tuple[tuple[int, ...], ...] | None:
    owners = [name.rpartition("/")[0] for name in parts]
    if set(owners) != set(classes):
        return None
    return tuple(tuple(i for i, owner in enumerate(owners) if owner == c) for c in classes)


def _by_clouds(dataset: CloudDataset, classes: int) -> tuple[tuple[int, ...], ...]:
    found: list[set[int]] = [set() for _ in range(classes)]
    for row in range(len(dataset)):
        found[max(int(dataset.labels[row]), 0)].update(
            np.unique(dataset.stored(row)["part"]).tolist()
        )
    return tuple(tuple(sorted(parts)) for parts in found)


def check_known(dataset: CloudDataset, train: CloudDataset) -> None:
    """Raises DataError unless ``dataset`` has the categories of ``train``, and parts of one list.

    Unnamed parts are numbered as far as a split has them: one list may begin the other.
    """
    if dataset.classes != train.classes:
        raise DataError(
            f"{dataset.name}: {dataset.split} has the categories {', '.join(dataset.classes[:5])}, "
            f"train has {', '.join(train.classes[:5])}; they must be the same"
        )
    for here, there in zip(dataset.parts, train.parts, strict=False):
        if here != there:
            raise DataError(
                f"{dataset.name}: {dataset.split} has a part {here!r} where train has {there!r}; "
                "they must be the same"
            )
    if not dataset.parts:
        raise DataError(f"{dataset.name}: {dataset.split} has no part labels on every cloud")


def check_parts(dataset: CloudDataset, rows: Ints, numbers: PartNumbers) -> None:
    """Raises DataError for a cloud with a part that its category does not have in train."""
    mask = numbers.mask()
    for row in rows.tolist():
        category = int(numbers.label_map[dataset.labels[row]])
        for part in np.unique(dataset.stored(row)["part"]).tolist():
            own = int(numbers.part_map[part]) if part < len(numbers.part_map) else -1
            if own < 0 or not mask[category, own]:
                raise DataError(
                    f"{dataset.name}: {dataset.names[row]} of {dataset.split} has the part number "
                    f"{part}, which no {numbers.classes[category]} of train has"
                )
