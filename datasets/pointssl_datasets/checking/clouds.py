"""Reads every cloud of a split once, and finds what is wrong with it. Keeps hashes, no clouds."""

import os
import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.base.validation import field_errors
from pointssl_datasets.checking.content import content_of, place_keys
from pointssl_datasets.checking.findings import Findings
from pointssl_datasets.checking.heights import AxisVotes
from pointssl_datasets.checking.images import check_images
from pointssl_datasets.files.fields import check_xyz

# What a reader's message says -> what kind of finding it is.
_SAYS = (
    ("non-finite", r"NaN or infinite"),
    ("constant", r"points are identical"),
    ("empty", r"file is empty|holds no points|has no vertices|: [01] points; a cloud needs"),
    ("label", r"label -?\d+ is not one of|the label is not from"),
    ("part", r"part numbers|(parts?|point labels?) (is|are) not from"),
)
_FIELDS = ("normals", "colours", "part")
_ROUNDED = 1000  # times its extent off the origin, a shape keeps but four digits in float32
_PADDED, _REPEATED = 0.1, 0.25  # shares of the points
_OUTLYING, _IMBALANCED = 100.0, 20


@dataclass
class Seen:
    """What all splits share: contents so far, and the vote on the up axis."""

    clouds: dict[bytes, tuple[str, str, int]] = field(default_factory=dict)  # split, name, label
    pictures: dict[bytes, str] = field(default_factory=dict)
    axis: AxisVotes = field(default_factory=AxisVotes)
    labels: dict[str, Counter[int]] = field(default_factory=dict)  # by split


def audit_split(
    source: Source,
    findings: Findings,
    seen: Seen,
    *,
    points: int,
    pictures: bool = True,
    progress: bool = False,
) -> None:
    """Adds to ``findings`` what is wrong with the clouds of ``source``.

    Args:
        seen: of the splits before; the test split should come first, so that what leaked is named
            in train.
        points: clouds with fewer are reported.
        pictures: decode the pictures too.
        progress: show a progress bar.
    """
    split = source.split
    labels = seen.labels.setdefault(split, Counter())
    extents = array("d")
    having: Counter[str] = Counter()
    lacking: dict[str, str] = {}
    whole = 0
    for name, times in Counter(source.names).items():
        if times > 1:
            findings.add("name", split, name, f"{times} clouds")
    bar = tqdm(source.names, f"check {split}", unit="cloud", disable=not progress, leave=False)
    for index, name in enumerate(bar):
        extents.append(np.nan)
        cloud = _read(source, index, name, findings)
        if cloud is None:
            continue
        xyz, label = cloud["xyz"], int(cloud.get("label", -1))
        labels[label] += 1
        whole += 1
        extents[-1] = float(np.ptp(xyz, axis=0).max())
        for kind, detail in _oddities(xyz, extents[-1], points):
            findings.add(kind, split, name, detail)
        for one in _FIELDS:
            having[one] += one in cloud
            if one not in cloud:
                lacking.setdefault(one, name)
        if label >= 0 and source.classes:
            seen.axis.add(xyz, source.classes[label])
        wrong = list(check_images(cloud.get("images", []), name, seen.pictures) if pictures else ())
        for kind, detail in wrong:
            findings.add(kind, split, name, detail)
        if not any(kind == "picture" for kind, _ in wrong):  # --fix must not keep it for the first
            _compare(cloud, split, name, label, findings, seen)
    for one, count in having.items():
        if 0 < count < whole:
            detail = f"{count} of {whole} clouds have {one}, {lacking[one]} has not"
            findings.add("fields", split, detail=detail, count=whole - count)
    _outliers(source, np.asarray(extents), findings)
    _imbalance(source, labels, findings)


def _read(source: Source, index: int, name: str, findings: Findings) -> Cloud | None:
    """The cloud, or None where it could not be trained on, with a finding that says why."""
    try:
        cloud = source.read(index)
        cloud["xyz"] = check_xyz(np.asarray(cloud["xyz"]), name)
    except (UserError, OSError) as error:
        kind, detail = _kind_of(error)
        findings.add(kind, source.split, name, detail)
        return None
    wrong = list(field_errors(cloud, source))
    for kind, detail in wrong:
        findings.add(kind, source.split, name, detail)
    return None if wrong else cloud


def _kind_of(error: Exception) -> tuple[str, str]:
    """Which kind of finding a reader's error is, and its message without the path before it."""
    text = " ".join(str(error).split())
    kind = next((kind for kind, says in _SAYS if re.search(says, text)), "unreadable")
    place, colon, message = text.partition(": ")
    return kind, message if colon and (os.sep in place or kind != "unreadable") else text


def _oddities(
    xyz: NDArray[np.float32], extent: float, points: int
) -> Iterator[tuple[str, str]]:  # fmt: skip
    """What is no error but seldom meant."""
    count = len(xyz)
    if count < points:
        yield "few-points", f"{count} points{' (transposed?)' if count == 3 else ''}"
    most, different = repeated(xyz)
    if most > max(2, _PADDED * count):
        yield "padding", f"{most} of {count} points at one place"
    elif different < (1 - _REPEATED) * count:
        yield "repeats", f"{different} different points of {count}"
    furthest = float(np.abs(xyz).max())
    if furthest > _ROUNDED * extent:
        yield "off-centre", f"an extent of {extent:.3g} at {furthest:.3g} from the origin"


def repeated(xyz: NDArray[np.float32]) -> tuple[int, int]:
    """How many points the most frequent place of ``(N, 3)`` holds, and the number of places."""
    key = np.sort(place_keys(xyz))
    starts = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
    return int(np.diff(np.append(starts, len(key))).max()), len(starts)


def _compare(
    cloud: Cloud, split: str, name: str, label: int, findings: Findings, seen: Seen
) -> None:
    """Adds a finding where the same content was seen before."""
    try:
        key = content_of(cloud)
    except OSError as error:
        findings.add("unreadable", split, name, error.strerror or "")
        return
    first = seen.clouds.setdefault(key, (split, name, label))
    if first == (split, name, label):
        return
    if first[0] != split:
        findings.add("leakage", split, name, f"is {first[1]} of {first[0]}")
    elif first[2] != label:
        findings.add("two-classes", split, name, f"is {first[1]}")
    else:
        findings.add("duplicate", split, name, f"is {first[1]}")


def _outliers(source: Source, extents: NDArray[np.float64], findings: Findings) -> None:
    good = np.isfinite(extents)
    if good.sum() < 3:
        return
    median = float(np.median(extents[good]))
    with np.errstate(invalid="ignore"):
        far = (extents > _OUTLYING * median) | (extents < median / _OUTLYING)
    for index in np.flatnonzero(far):
        detail = f"an extent of {extents[index]:.3g}, the median is {median:.3g}"
        findings.add("scale", source.split, source.names[int(index)], detail)


def _imbalance(source: Source, labels: Counter[int], findings: Findings) -> None:
    counts = [(count, label) for label, count in labels.items() if label >= 0]
    if not source.classes or len(counts) < 2:
        return
    (low, rare), (high, common) = min(counts), max(counts)
    if high > _IMBALANCED * low:
        detail = f"{high} of {source.classes[common]}, {low} of {source.classes[rare]}"
        findings.add("imbalance", source.split, detail=detail)


def audit_classes(classes: tuple[str, ...], seen: Seen, findings: Findings) -> None:
    """Adds classes that no split has, or only one of train and test."""
    every = sum(seen.labels.values(), Counter[int]())
    train, test = seen.labels.get("train"), seen.labels.get("test")
    for label, name in enumerate(classes):
        if not every[label]:
            findings.add("class-empty", "", name)
        elif train is not None and test is not None and not train[label]:
            findings.add("class-untrained", "train", name, f"{test[label]} clouds in test")
        elif train is not None and test is not None and not test[label]:
            findings.add("class-untested", "test", name, f"{train[label]} clouds in train")
