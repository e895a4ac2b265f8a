"""Checks every cloud of a split. Each is read once; hashes are kept in memory, clouds are not."""

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
from pointssl_datasets.checking.content import content_digest, point_hashes
from pointssl_datasets.checking.findings import Findings
from pointssl_datasets.checking.heights import AxisVotes
from pointssl_datasets.checking.images import check_images
from pointssl_datasets.files.fields import check_xyz

# Kind of finding, and the pattern of the error messages of readers that belong to it.
_PATTERNS = (
    ("non-finite", r"NaN or infinite"),
    ("constant", r"points are identical"),
    ("empty", r"file is empty|holds no points|has no vertices|: [01] points; a cloud needs"),
    ("label", r"label -?\d+ is not one of|the label is not from"),
    ("part", r"part numbers|(parts?|point labels?) (is|are) not from"),
)
_FIELDS = ("normals", "colours", "part")
_FAR = 1000  # distance from the origin in extents; float32 leaves four digits for the shape there
_PADDED, _REPEATED = 0.1, 0.25  # shares of the points
_OUTLYING, _IMBALANCED = 100.0, 20  # ratios of extents, and of clouds per class


@dataclass
class AuditState:
    """What is collected over all splits: content hashes, votes on the up axis, labels."""

    # Content hash -> split, name and label of the first cloud that has it.
    clouds: dict[bytes, tuple[str, str, int]] = field(default_factory=dict)
    images: dict[bytes, str] = field(default_factory=dict)  # hash -> cloud of the first such image
    axis: AxisVotes = field(default_factory=AxisVotes)
    labels: dict[str, Counter[int]] = field(default_factory=dict)  # split -> clouds per label


def audit_split(
    source: Source,
    findings: Findings,
    state: AuditState,
    *,
    points: int,
    images: bool = True,
    progress: bool = False,
) -> None:
    """Adds the problems of the clouds of ``source`` to ``findings``.

    Args:
        source: the split.
        findings: where problems are added.
        state: of the previous splits. The test split should come first, so that a cloud that is in
            both is reported for train.
        points: clouds with fewer points are reported.
        images: decode the images too.
        progress: show a progress bar.
    """
    split = source.split
    labels = state.labels.setdefault(split, Counter())
    extents = array("d")
    having: Counter[str] = Counter()  # field -> number of clouds that have it
    lacking: dict[str, str] = {}  # field -> name of the first cloud without it
    readable = 0
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
        readable += 1
        extents[-1] = float(np.ptp(xyz, axis=0).max())
        for kind, detail in _unusual(xyz, extents[-1], points):
            findings.add(kind, split, name, detail)
        for one in _FIELDS:
            having[one] += one in cloud
            if one not in cloud:
                lacking.setdefault(one, name)
        if label >= 0 and source.classes:
            state.axis.add(xyz, source.classes[label])
        problems = list(check_images(cloud.get("images", []), name, state.images) if images else ())
        for kind, detail in problems:
            findings.add(kind, split, name, detail)
        # A cloud with a damaged image is left out by --fix: duplicates of it must not be.
        if not any(kind == "picture" for kind, _ in problems):
            _find_duplicate(cloud, split, name, label, findings, state)
    for one, count in having.items():
        if 0 < count < readable:
            detail = f"{count} of {readable} clouds have {one}, {lacking[one]} has not"
            findings.add("fields", split, detail=detail, count=readable - count)
    _outliers(source, np.asarray(extents), findings)
    _imbalance(source, labels, findings)


def _read(source: Source, index: int, name: str, findings: Findings) -> Cloud | None:
    """The cloud; or None, after adding a finding, if it can't be used for training."""
    try:
        cloud = source.read(index)
        cloud["xyz"] = check_xyz(np.asarray(cloud["xyz"]), name)
    except (UserError, OSError) as error:
        kind, detail = _kind_of(error)
        findings.add(kind, source.split, name, detail)
        return None
    errors = list(field_errors(cloud, source))
    for kind, detail in errors:
        findings.add(kind, source.split, name, detail)
    return None if errors else cloud


def _kind_of(error: Exception) -> tuple[str, str]:
    """The kind of finding of a reader's error, and the message without the path."""
    text = " ".join(str(error).split())
    kind = next((kind for kind, pattern in _PATTERNS if re.search(pattern, text)), "unreadable")
    place, colon, message = text.partition(": ")
    return kind, message if colon and (os.sep in place or kind != "unreadable") else text


def _unusual(
    xyz: NDArray[np.float32], extent: float, points: int
) -> Iterator[tuple[str, str]]:  # fmt: skip
    """``(kind, detail)`` of properties that are valid, but seldom intended."""
    count = len(xyz)
    if count < points:
        yield "few-points", f"{count} points{' (transposed?)' if count == 3 else ''}"
    most, different = repeated(xyz)
    if most > max(2, _PADDED * count):
        yield "padding", f"{most} of {count} points at one place"
    elif different < (1 - _REPEATED) * count:
        yield "repeats", f"{different} different points of {count}"
    furthest = float(np.abs(xyz).max())
    if furthest > _FAR * extent:
        yield "off-centre", f"an extent of {extent:.3g} at {furthest:.3g} from the origin"


def repeated(xyz: NDArray[np.float32]) -> tuple[int, int]:
    """Of ``(N, 3)``: the largest number of identical points, and the number of different ones."""
    key = np.sort(point_hashes(xyz))
    starts = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
    return int(np.diff(np.append(starts, len(key))).max()), len(starts)


def _find_duplicate(
    cloud: Cloud, split: str, name: str, label: int, findings: Findings, state: AuditState
) -> None:
    """Adds a finding if an earlier cloud has the same content."""
    try:
        key = content_digest(cloud)
    except OSError as error:
        findings.add("unreadable", split, name, error.strerror or "")
        return
    first = state.clouds.setdefault(key, (split, name, label))
    if first == (split, name, label):
        return
    if first[0] != split:
        findings.add("leakage", split, name, f"is {first[1]} of {first[0]}")
    elif first[2] != label:
        findings.add("two-classes", split, name, f"is {first[1]}")
    else:
        findings.add("duplicate", split, name, f"is {first[1]}")


def _outliers(source: Source, extents: NDArray[np.float64], findings: Findings) -> None:
    """Adds a finding for each cloud that is much larger or smaller than the median."""
    readable = np.isfinite(extents)
    if readable.sum() < 3:
        return
    median = float(np.median(extents[readable]))
    with np.errstate(invalid="ignore"):
        outlying = (extents > _OUTLYING * median) | (extents < median / _OUTLYING)
    for index in np.flatnonzero(outlying):
        detail = f"an extent of {extents[index]:.3g}, the median is {median:.3g}"
        findings.add("scale", source.split, source.names[int(index)], detail)


def _imbalance(source: Source, labels: Counter[int], findings: Findings) -> None:
    """Adds a finding if the largest class has many times the clouds of the smallest one."""
    counts = [(count, label) for label, count in labels.items() if label >= 0]
    if not source.classes or len(counts) < 2:
        return
    (low, rare), (high, common) = min(counts), max(counts)
    if high > _IMBALANCED * low:
        detail = f"{high} of {source.classes[common]}, {low} of {source.classes[rare]}"
        findings.add("imbalance", source.split, detail=detail)


def audit_classes(classes: tuple[str, ...], state: AuditState, findings: Findings) -> None:
    """Adds findings for classes without clouds in all splits, or in one of train and test."""
    total = sum(state.labels.values(), Counter[int]())
    train, test = state.labels.get("train"), state.labels.get("test")
    for label, name in enumerate(classes):
        if not total[label]:
            findings.add("class-empty", "", name)
        elif train is not None and test is not None and not train[label]:
            findings.add("class-untrained", "train", name, f"{test[label]} clouds in test")
        elif train is not None and test is not None and not test[label]:
            findings.add("class-untested", "test", name, f"{train[label]} clouds in train")
