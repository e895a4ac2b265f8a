"""A dataset at a glance: a contact sheet, a page to turn its clouds about, and its statistics."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from pointssl.config.data import ShowConfig
from pointssl.recipes.splits import list_split
from pointssl.reports.figures.contact_sheet import contact_sheet
from pointssl.reports.figures.statistics import statistics_figure
from pointssl_datasets.base.axes import TO_Y_UP
from pointssl_datasets.base.errors import DataError, UsageError, UserError
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.base.writing import write_text
from pointssl_datasets.catalogue import splits_of
from pointssl_datasets.checking.statistics import as_text, count, summarise
from pointssl_datasets.packing.images import load_image
from pointssl_datasets.points.choosing import choose_points
from pointssl_datasets.points.normals import estimate_normals
from pointssl_datasets.rendering.clouds import render_mesh_file, render_views
from pointssl_datasets.viewer import part_colours, write_page

PICTURE = 400  # pixels, side of what is drawn for the contact sheet
GREY = 0.72  # of points without a part


def main(config: ShowConfig) -> None:
    """Print the files that :func:`run` writes."""
    for path in run(config):
        print(path)


def run(config: ShowConfig) -> list[Path]:
    """Write show.png, show.html, statistics.png and statistics.json into OUT; prints a table.

    A cloud that can't be read is counted as such and left out; ``pointssl data check`` says what
    is wrong with it.

    Raises:
        UserError: the dataset can't be opened, not one cloud can be read, OUT can't be written.
    """
    splits = [count(source, progress=config.progress) for source in open_splits(config)]
    statistics = summarise(splits)
    print(as_text(statistics), flush=True)
    for note in [note for c in splits for note in c.source.notes]:
        print(f"note: {note}", flush=True)
    counts = next(c for c in splits if c.source.split == config.split)
    chosen = choose(counts.labels, counts.readable, config.limit)
    clouds = [
        drawn(counts.source, index, config)
        for index in tqdm(chosen.tolist(), "read", unit="cloud", disable=not config.progress)
    ]

    source, out = counts.source, config.out
    parts = statistics["part_names"]
    title = f"{source.dataset} · {source.split}"
    if config.data_root is not None and config.data in ("folder", "packed"):
        title = f"{config.data_root.resolve().name} · {source.split}"
    subtitle = f"{len(clouds):,} of {source.count:,} clouds"
    if source.classes:
        seen = len({cloud["label"] for cloud in clouds})
        subtitle += f", {seen} of {len(source.classes)} classes"
    paths = [out / name for name in ("show.png", "show.html", "statistics.png", "statistics.json")]
    _make_folder(out)
    colours = part_colours(parts)
    bar = tqdm(clouds, "draw", unit="cloud", disable=not config.progress)
    cells = [_cell(cloud, source, colours, config.seed) for cloud in bar]
    contact_sheet(cells, paths[0], title=title, subtitle=subtitle, parts=parts, colours=colours)
    write_page(
        paths[1], clouds, title=title, subtitle=subtitle, classes=source.classes, parts=parts,
        statistics=statistics,
    )  # fmt: skip
    statistics_figure(statistics, paths[2])
    write_text(paths[3], json.dumps(statistics, indent=1) + "\n")
    return paths


def open_splits(config: ShowConfig) -> list[Source]:
    """The split that is shown, and whichever others the dataset has, in their usual order.

    Raises:
        UserError: the split that is shown can't be opened.
    """
    found = {config.split: list_split(config, config.split, on_unpaired=config.on_unpaired)}
    order = splits_of(config.data)
    for split in order:
        if split not in found:
            # The dataset has no such split, or it is not here.
            with suppress(UserError):
                found[split] = list_split(config, split, on_unpaired=config.on_unpaired)
    return sorted(found.values(), key=lambda s: order.index(s.split) if s.split in order else 9)


def choose(labels: NDArray[np.int64], readable: NDArray[np.bool_], limit: int) -> NDArray[np.int64]:
    """At most ``limit`` clouds, sorted by class: as many of each class as of any other, as far as
    there are so many, and evenly spread within each. With more classes than ``limit``, one cloud
    each of classes that are evenly spread.

    Args:
        labels, readable: ``(M,)``.
    """
    classes = [
        np.flatnonzero((labels == label) & readable) for label in np.unique(labels[readable])
    ]
    if len(classes) > limit:
        classes = [classes[i * len(classes) // limit] for i in range(limit)]
    shares = [0] * len(classes)
    left = min(limit, sum(map(len, classes)))
    while left:
        for i, members in enumerate(classes):
            if left and shares[i] < len(members):
                shares[i] += 1
                left -= 1
    picked = [
        members[np.arange(share) * len(members) // share]
        for members, share in zip(classes, shares, strict=True)
    ]
    return np.concatenate(picked) if picked else np.empty(0, dtype=np.int64)


def drawn(source: Source, index: int, config: ShowConfig) -> dict[str, Any]:
    """A cloud as it is shown: y-up, its points chosen, with normals and its first picture."""
    cloud = source.read(index)
    turn = TO_Y_UP[source.up_axis]
    kept = _kept(cloud, config, index)
    xyz = cloud["xyz"][kept] @ turn.T
    shown: dict[str, Any] = {
        "name": source.names[index],
        "label": int(cloud.get("label", -1)),
        "xyz": xyz,
        "estimated": "normals" not in cloud,
        "image": _picture(cloud.get("images", [])),
        "mesh": cloud.get("mesh"),
    }
    if "normals" in cloud:
        shown["normals"] = cloud["normals"][kept] @ turn.T
    elif len(xyz) > 2:
        shown["normals"] = estimate_normals(xyz)  # for the light
    if "colours" in cloud:
        shown["colours"] = cloud["colours"][kept]
    if "part" in cloud:
        shown["part"] = cloud["part"][kept]
    return shown


def _kept(cloud: Cloud, config: ShowConfig, index: int) -> NDArray[np.int64]:
    """Which points: all of them if there are no more than wanted."""
    points = min(len(cloud["xyz"]), config.points)
    how = config.sampling if points < len(cloud["xyz"]) else "first"
    return choose_points(cloud["xyz"], points, how, seed=config.seed, epoch=0, index=index)


def _picture(paths: Iterable[Path]) -> NDArray[np.uint8] | None:
    """The first that can be read, ``(H, W, 3)`` and not wider or higher than it has to be."""
    for path in paths:
        try:
            square = Image.fromarray(load_image(path, 2 * PICTURE))
            with Image.open(path) as header:
                width, height = header.size
        except DataError:
            continue
        scale = PICTURE / max(width, height)
        size = (max(1, round(scale * width)), max(1, round(scale * height)))
        return np.asarray(square.resize(size, Image.Resampling.LANCZOS))
    return None


def _cell(
    cloud: Mapping[str, Any], source: Source, colours: NDArray[np.uint8], seed: int
) -> dict[str, Any]:
    """What the contact sheet has of a cloud."""
    paint, parts = cloud.get("colours"), []
    if "part" in cloud:
        part = cloud["part"]
        parts = np.unique(part).tolist()
        known = (part >= 0) & (part < len(colours))
        paint = np.full((len(part), 3), GREY)
        paint[known] = 0.2 + 0.8 * colours[part[known]] / 255  # shading makes them darker
    group = source.classes[cloud["label"]] if source.classes else ""
    how: dict[str, Any] = {"views": 1, "size": PICTURE, "seed": seed}
    if cloud["mesh"] is not None and paint is None:
        picture = render_mesh_file(cloud["mesh"], source.up_axis, **how)[0]
    else:
        normals = None if cloud["estimated"] else cloud["normals"]
        picture = render_views(cloud["xyz"], normals, colours=paint, **how)[0]
    return {
        "group": group,
        "name": cloud["name"].removeprefix(f"{group}/"),
        "picture": picture,
        "image": cloud["image"],
        "parts": parts,
    }


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be made a folder: {error.strerror}") from None
