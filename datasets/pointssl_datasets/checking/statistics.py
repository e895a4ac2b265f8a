"""Statistics of a dataset: clouds per class, points, parts, extents, images, duplicates."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.source import Source
from pointssl_datasets.checking.content import content_digest
from pointssl_datasets.files.fields import check_xyz

BINS = 24  # of the histogram of points per cloud


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counts over the M clouds of a split. In the arrays, clouds that can't be read are zeros.

    Attributes:
        source: the split.
        readable: ``(M,)`` bool.
        labels: ``(M,)`` int64; -1 without a class.
        points: ``(M,)`` int64, points per cloud.
        extents: ``(M, 3)`` sides of the bounding boxes, in the units and axes of the files.
        images: ``(M,)`` int64, images per cloud.
        contents: a digest of the coordinates of each readable cloud; equal for duplicates.
        unreadable: name -> error of the clouds that can't be read.
        fields: number of clouds with normals, colours, part labels, a mesh.
        part_points, part_shapes: (label, part) -> number of points with that part, and number of
            shapes that contain it.
    """

    source: Source
    readable: NDArray[np.bool_]
    labels: NDArray[np.int64]
    points: NDArray[np.int64]
    extents: NDArray[np.float64]
    images: NDArray[np.int64]
    contents: list[bytes]
    unreadable: dict[str, str]
    fields: Counter[str]
    part_points: Counter[tuple[int, int]]
    part_shapes: Counter[tuple[int, int]]


def count(source: Source, *, progress: bool = False) -> Counts:
    """Reads and counts every cloud once. Clouds that can't be read are recorded with their error.

    Raises:
        DataError: no cloud can be read.
    """
    total = source.count
    counts = Counts(
        source=source,
        readable=np.zeros(total, dtype=bool),
        labels=np.full(total, -1, dtype=np.int64),
        points=np.zeros(total, dtype=np.int64),
        extents=np.zeros((total, 3)),
        images=np.zeros(total, dtype=np.int64),
        contents=[],
        unreadable={},
        fields=Counter(),
        part_points=Counter(),
        part_shapes=Counter(),
    )
    for i in tqdm(
        range(total), f"read {source.split}", unit="cloud", disable=not progress, leave=False
    ):
        try:
            _count_one(counts, i)
        except (DataError, OSError) as error:
            counts.unreadable[source.names[i]] = str(error)
    if not counts.readable.any():
        first = next(iter(counts.unreadable.values()), "the split is empty")
        raise DataError(f"{source.dataset}: no cloud of {source.split!r} can be read: {first}")
    return counts


def _count_one(counts: Counts, i: int) -> None:
    source = counts.source
    cloud = source.read(i)
    where = f"{source.dataset}: {source.names[i]}"
    xyz = check_xyz(cloud["xyz"], where)
    label = int(cloud.get("label", -1))
    if source.classes and not 0 <= label < len(source.classes):
        raise DataError(f"{where}: label {label} is not one of {len(source.classes)} classes")
    if "part" in cloud and len(cloud["part"]) != len(xyz):
        raise DataError(f"{where}: {len(cloud['part'])} part labels for {len(xyz)} points")
    counts.labels[i], counts.points[i] = label, len(xyz)
    counts.extents[i] = np.ptp(xyz, axis=0)
    counts.images[i] = len(cloud.get("images", []))
    counts.contents.append(content_digest(cloud))
    counts.fields.update(
        field for field in ("normals", "colours", "part", "mesh") if field in cloud
    )
    if "part" in cloud:
        for part, points in zip(*np.unique(cloud["part"], return_counts=True), strict=True):
            counts.part_points[label, int(part)] += int(points)
            counts.part_shapes[label, int(part)] += 1
    counts.readable[i] = True


def summarise(splits: Sequence[Counts]) -> dict[str, Any]:
    """Plain numbers for all splits of one dataset, for JSON.

    ``splits`` maps a split to its clouds, clouds per class, points per cloud, longest side of the
    bounding box, fields, images, duplicates and unreadable clouds. ``repeats_between`` maps two
    splits to the number of clouds of the second that are also in the first. ``parts`` maps a class
    to its parts, and these to their shares of its points and of its shapes. ``histograms`` are over
    all splits.
    """
    first = splits[0].source
    points = np.concatenate([c.points[c.readable] for c in splits])
    sides = np.concatenate([c.extents[c.readable].max(axis=1) for c in splits])
    contents = {c.source.split: set(c.contents) for c in splits}
    between = {
        f"{a.source.split}, {b.source.split}": sum(
            x in contents[a.source.split] for x in b.contents
        )
        for i, a in enumerate(splits)
        for b in splits[i + 1 :]
    }
    return {
        "dataset": first.dataset,
        "up_axis": first.up_axis,
        "classes": list(first.classes),
        "part_names": _part_names(splits),
        "splits": {c.source.split: _summary(c) for c in splits},
        "repeats_between": between,
        "parts": _part_shares(splits),
        "histograms": {"points": _histogram(points), "longest_side": _histogram(sides)},
    }


def _summary(counts: Counts) -> dict[str, Any]:
    source, readable = counts.source, counts.readable
    per_class = np.bincount(counts.labels[readable].clip(0), minlength=len(source.classes))
    return {
        "clouds": source.count,
        "classes": dict(zip(source.classes, per_class.tolist(), strict=False)),
        "points": _quantiles(counts.points[readable]),
        "longest_side": _quantiles(counts.extents[readable].max(axis=1)),
        "fields": dict(sorted(counts.fields.items())),
        "pictures": int(counts.images.sum()),
        "clouds_with_pictures": int((counts.images > 0).sum()),
        "repeats": len(counts.contents) - len(set(counts.contents)),
        "unreadable": counts.unreadable,
    }


def _quantiles(values: NDArray[Any]) -> dict[str, float]:
    low, middle, high = values.min(), np.median(values), values.max()
    return {"min": _plain(low), "median": _plain(middle), "max": _plain(high)}


def _plain(value: Any) -> float:
    """``value`` rounded to four digits; an int if that is whole."""
    rounded = float(f"{value:.4g}") if abs(value) < 1000 else round(float(value))
    return int(rounded) if float(rounded).is_integer() else rounded


def _histogram(values: NDArray[Any]) -> dict[str, Any]:
    low, high = values.min(), values.max()
    bins = BINS if values.dtype.kind == "f" else min(BINS, int(high - low))
    if bins and high - low <= 1e-5 * high:  # differences are rounding errors
        bins, high = 0, low
    # For integers no more bins than values, so that no bin is empty by construction.
    edges = np.linspace(low, high, bins + 1) if bins else np.array([low, low])
    counts = np.histogram(values, edges)[0] if bins else np.array([len(values)])
    return {
        "counts": counts.tolist(),
        "edges": [_plain(edge) for edge in edges],
        "median": _plain(np.median(values)),
    }


def _part_names(splits: Sequence[Counts]) -> list[str]:
    """The names of the dataset's parts; numbers if it has no names."""
    names = list(splits[0].source.parts)
    highest = max((part for c in splits for _, part in c.part_points), default=-1)
    return names or [f"part {i}" for i in range(highest + 1)]


def _part_shares(splits: Sequence[Counts]) -> dict[str, dict[str, dict[str, float]]]:
    classes, names = splits[0].source.classes, _part_names(splits)
    points, shapes = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    clouds, total = Counter[int](), Counter[int]()
    for c in splits:
        points.update(c.part_points)
        shapes.update(c.part_shapes)
        clouds.update(c.labels[c.readable].tolist())
    for (label, _), number in points.items():
        total[label] += number
    shares: dict[str, dict[str, dict[str, float]]] = {}
    for label, part in sorted(points):
        category = classes[label] if 0 <= label < len(classes) else "all clouds"
        name = names[part] if 0 <= part < len(names) else f"part {part}"
        shares.setdefault(category, {})[name] = {
            "points": round(points[label, part] / total[label], 4),
            "shapes": round(shapes[label, part] / clouds[label], 4),
        }
    return shares


def as_text(statistics: Mapping[str, Any]) -> str:
    """A table for the terminal, with a column per split."""
    splits = statistics["splits"]
    rows = [(statistics["dataset"], list(splits))]

    def add(name: str, value: Any) -> None:
        rows.append((name, [value(split) for split in splits.values()]))

    def span(values: Mapping[str, Any]) -> str:
        low, middle, high = values["min"], values["median"], values["max"]
        return f"{low}" if low == high else f"{low} .. {middle} .. {high}"

    add("clouds", lambda s: str(s["clouds"]))
    add("points (min .. median .. max)", lambda s: span(s["points"]))
    add("longest side (min .. median .. max)", lambda s: span(s["longest_side"]))
    add("images", lambda s: str(s["pictures"]))
    add("duplicates", lambda s: str(s["repeats"]))
    add("unreadable", lambda s: str(len(s["unreadable"])))
    for name in statistics["classes"]:
        add(f"class {name}", lambda s, name=name: str(s["classes"].get(name, 0)))
    first = max(len(name) for name, _ in rows)
    widths = [max(len(cells[i]) for _, cells in rows) for i in range(len(splits))]
    lines = [
        "  ".join([name.ljust(first), *(c.rjust(w) for c, w in zip(cells, widths, strict=True))])
        for name, cells in rows
    ]
    for pair, number in statistics["repeats_between"].items():
        if number:
            before, after = pair.split(", ")
            lines.append(f"warning: {number} clouds of {after} are also in {before}")
    if any(s["unreadable"] for s in splits.values()):
        lines.append("warning: `pointssl data check` shows the errors of unreadable clouds")
    return "\n".join(lines)
