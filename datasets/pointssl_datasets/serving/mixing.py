"""``concat:a+b*2+folder@/my/clouds``: several datasets as one, each with its weight.

The weight of a dataset says how often each of its clouds is seen in an epoch: with 2 twice, with
0.25 a quarter of the clouds is seen, another quarter in each epoch.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.points.sampling import MIX, generator
from pointssl_datasets.serving.dataset import CloudDataset, Sample, load_dataset

PREFIX = "concat:"
PointDataset: TypeAlias = "CloudDataset | Mixture"


class Member(NamedTuple):
    """One of the datasets of a mixture."""

    name: str
    root: Path | None
    weight: float


def parse(text: str, root: Path | None = None) -> list[Member]:
    """The members that ``NAME[@ROOT][*WEIGHT]+...`` names; ``root`` is for those without their own.

    Raises:
        UsageError: it is not of that form.
    """
    members = []
    for part in text.removeprefix(PREFIX).split("+"):
        match = re.fullmatch(r"([^@*]+)(?:@([^*]+))?(?:\*([^*]*))?", part.strip())
        weight = _positive(match[3]) if match and match[3] is not None else 1.0
        if match is None or weight is None or match[1].strip().startswith(PREFIX):
            raise UsageError(
                f"--data {text!r}: expected {PREFIX}NAME[@FOLDER][*WEIGHT]+NAME..., for example "
                f"{PREFIX}shapes*0.5+modelnet40@/data/modelnet40; {part!r} is not of that form"
            )
        folder = Path(match[2].strip()) if match[2] else root
        members.append(Member(match[1].strip(), folder, weight))
    return members


def _positive(text: str) -> float | None:
    try:
        weight = float(text)
    except ValueError:
        return None
    return weight if 0 < weight < 1e6 else None


def load_mixture(text: str, root: Path | None, split: str, **served: Any) -> "Mixture":
    """The mixture ``text``; ``served`` goes to every :func:`~.dataset.load_dataset`.

    Raises:
        DataError: as ``load_dataset``.
        UsageError: members that cannot be served together.
    """
    members = parse(text, root)
    if served.get("size") is not None:
        raise UsageError(f"--size: {PREFIX}... has no use for it; a weight says how much is seen")
    parts = [load_dataset(member.name, member.root, split, **served) for member in members]
    return Mixture(parts, [member.weight for member in members], seed=served.get("seed", 0))


class Mixture(Dataset[Sample]):
    """Several datasets one after the other, with the interface of :class:`~.dataset.CloudDataset`.

    Classes and parts of the same name are the same, whichever dataset they come from. ``names`` and
    ``labels`` are those of the current epoch, whose clouds depend on (seed, epoch) alone.

    Raises:
        UsageError: the members differ in images, normals or number of points.
    """

    def __init__(
        self, members: Sequence[CloudDataset], weights: Sequence[float], seed: int
    ) -> None:
        self.members, self.weights, self.seed = list(members), list(weights), seed
        first = self.members[0]
        self.name = "+".join(
            f"{m.name}*{w:g}" if w != 1 else m.name for m, w in zip(members, weights, strict=True)
        )
        self.split, self.points, self.has_images = first.split, first.points, first.has_images
        for member in self.members:
            if member.has_images != self.has_images:
                with_, without = sorted((first, member), key=lambda m: not m.has_images)
                raise UsageError(
                    f"{PREFIX}... {with_.name} has images and {without.name} has none. Render "
                    "some with --views, or train on the clouds alone with --image-encoder none."
                )
            if member.points != self.points:
                raise UsageError(f"{PREFIX}... needs one number of points: give --points")
        # Cameras are served only if every member has them, and so are parts.
        self.has_cameras = all(member.has_cameras for member in self.members)
        self.classes = _union(member.classes for member in self.members)
        whole = all(member.parts for member in self.members)
        self.parts = _union(member.parts for member in self.members) if whole else ()
        self._class_numbers = [_numbers(member.classes, self.classes) for member in self.members]
        self._part_numbers = [
            _numbers(member.parts, self.parts) for member in self.members if whole
        ]
        self.notes = [f"{m.name}: {note}" for m in self.members for note in m.notes]
        digest = hashlib.sha256()
        for member, weight in zip(self.members, self.weights, strict=True):
            digest.update(f"{member.fingerprint}*{weight!r}+".encode())
        self.fingerprint = digest.hexdigest()
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Changes which clouds of a member are seen, and what is random about each."""
        self.epoch = epoch
        whose, rows = [], []
        for number, (member, weight) in enumerate(zip(self.members, self.weights, strict=True)):
            member.set_epoch(epoch)
            chosen = _chosen(len(member), weight, generator(MIX, self.seed, epoch, number))
            whose.append(np.full(len(chosen), number))
            rows.append(chosen)
        self._member: NDArray[np.int64] = np.concatenate(whose)
        self._row: NDArray[np.int64] = np.concatenate(rows)

    def origin(self, index: int) -> tuple[CloudDataset, int]:
        """The member that cloud ``index`` comes from, and its number there."""
        return self.members[self._member[index]], int(self._row[index])

    @property
    def labels(self) -> NDArray[np.int64]:
        """``(M,)`` int64, -1 where a cloud has no class."""
        common = zip(self.members, self._class_numbers, strict=True)
        labels = [numbers[member.labels] for member, numbers in common]
        return np.array([labels[m][r] for m, r in zip(self._member, self._row, strict=True)])

    @property
    def names(self) -> list[str]:
        """Names of the clouds, each with the number and name of its dataset before it."""
        return [
            f"{m}-{self.members[m].name}/{self.members[m].names[r]}"
            for m, r in zip(self._member.tolist(), self._row.tolist(), strict=True)
        ]

    def facts(self) -> dict[str, Any]:
        """Plain values that identify exactly what is served (in epoch 0)."""
        return {
            **self.members[0].facts(),
            "dataset": self.name,
            "fingerprint": self.fingerprint,
            "members": [member.fingerprint for member in self.members],
        }

    def __len__(self) -> int:
        return len(self._row)

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """A batch for the collate function of a ``DataLoader``."""
        return [self[int(i)] for i in indices]

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"cloud {index} of {len(self)}")
        index %= len(self)
        which = self._member[index]
        member, row = self.origin(index)
        sample = member[row]
        sample["index"] = torch.tensor(index)
        sample["label"] = torch.tensor(self._class_numbers[which][int(sample["label"])])
        if not self.has_cameras:
            sample.pop("camera", None)
        part = sample.pop("part", None)
        if part is not None and self.parts:
            sample["part"] = torch.from_numpy(self._part_numbers[which][part.numpy()])
        return sample


def _union(lists: Any) -> tuple[str, ...]:
    """All names, each once, in the order of their first appearance."""
    return tuple(dict.fromkeys(name for names in lists for name in names))


def _numbers(own: Sequence[str], common: Sequence[str]) -> NDArray[np.int64]:
    """A member's class or part number -> the common one; the last entry is for -1, no class."""
    return np.array([*(common.index(name) for name in own), -1], dtype=np.int64)


def _chosen(count: int, weight: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of a member in one epoch: all of them for each whole unit of the weight, and a random
    share for the rest."""
    whole, rest = divmod(weight, 1)
    some = rng.choice(count, min(count, max(round(rest * count), int(weight < 1))), replace=False)
    return np.concatenate([np.tile(np.arange(count), int(whole)), np.sort(some)])
