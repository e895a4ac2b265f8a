"""`pointssl data show`: a contact sheet, an interactive page, and statistics of a dataset."""

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

IMAGE_SIZE = 400  # pixels, side of an image on the contact sheet
GREY = 0.72  # of points without a part


def main(config: ShowConfig) -> None:
    """Print the files that :func:`run` writes."""
    for path in run(config):
        print(path)


def run(config: ShowConfig) -> list[Path]:
    """Writes show.png, show.html, statistics.png and statistics.json to OUT, and prints a table.

    Clouds that can't be read are counted and left out; ``pointssl data check`` shows their errors.

    Raises:
        UserError: the dataset can't be opened, no cloud can be read, or OUT can't be written.
    """
    splits = [count(source, progress=config.progress) for source in open_splits(config)]
    statistics = summarise(splits)
    print(as_text(statistics), flush=True)
    for note in [note for c in splits for note in c.source.notes]:
        print(f"note: {note}", flush=True)
    counts = next(c for c in splits if c.source.split == config.split)
    chosen = choose(counts.labels, counts.readable, config.limit)
    clouds = [
        displayed(counts.source, index, config)
        for index in tqdm(chosen.tolist(), "read", unit="cloud", disable=not config.progress)
    ]

    source, out = counts.source, config.out
    parts = statistics["part_names"]
    title = f"{source.dataset} · {source.split}"
    if config.data_root is not None and config.data in ("folder", "packed"):
        title = f"{config.data_root.resolve().name} · {source.split}"
    subtitle = f"{len(clouds):,} of {source.count:,} clouds"
    if source.classes:
        shown = len({cloud["label"] for cloud in clouds})
        subtitle += f", {shown} of {len(source.classes)} classes"
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
    """The split to show, and the others that exist, in their usual order.

    Raises:
        UserError: the split to show can't be opened.
    """
    opened = {config.split: list_split(config, config.split, on_unpaired=config.on_unpaired)}
    order = splits_of(config.data)
    for split in order:
        if split not in opened:
            # The dataset has no such split, or it is not on this machine.
            with suppress(UserError):
                opened[split] = list_split(config, split, on_unpaired=config.on_unpaired)
    return sorted(opened.values(), key=lambda s: order.index(s.split) if s.split in order else 9)


def choose(labels: NDArray[np.int64], readable: NDArray[np.bool_], limit: int) -> NDArray[np.int64]:
    """Indices of at most ``limit`` clouds, sorted by class.

    All classes get equal numbers, as far as they have clouds, evenly spaced within the class. With
    more classes than ``limit``, evenly spaced classes get one cloud each.

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


def displayed(source: Source, index: int, config: ShowConfig) -> dict[str, Any]:
    """A cloud as it is shown: y-up, with chosen points, normals and its first image."""
    cloud = source.read(index)
    turn = TO_Y_UP[source.up_axis]
    rows = _choose_rows(cloud, config, index)
    xyz = cloud["xyz"][rows] @ turn.T
    shown: dict[str, Any] = {
        "name": source.names[index],
        "label": int(cloud.get("label", -1)),
        "xyz": xyz,
        "estimated": "normals" not in cloud,
        "image": _first_image(cloud.get("images", [])),
        "mesh": cloud.get("mesh"),
    }
    if "normals" in cloud:
        shown["normals"] = cloud["normals"][rows] @ turn.T
    elif len(xyz) > 2:
        shown["normals"] = estimate_normals(xyz)  # for shading
    if "colours" in cloud:
        shown["colours"] = cloud["colours"][rows]
    if "part" in cloud:
        shown["part"] = cloud["part"][rows]
    return shown


def _choose_rows(cloud: Cloud, config: ShowConfig, index: int) -> NDArray[np.int64]:
    """The rows of the points to show; all if there are at most ``config.points``."""
    points = min(len(cloud["xyz"]), config.points)
    sampling = config.sampling if points < len(cloud["xyz"]) else "first"
    return choose_points(cloud["xyz"], points, sampling, seed=config.seed, epoch=0, index=index)


def _first_image(paths: Iterable[Path]) -> NDArray[np.uint8] | None:
    """The first image that can be read, ``(H, W, 3)``, scaled to fit the contact sheet."""
    for path in paths:
        try:
            square = Image.fromarray(load_image(path, 2 * IMAGE_SIZE))
            with Image.open(path) as header:
                width, height = header.size
        except DataError:
            continue
        scale = IMAGE_SIZE / max(width, height)
        size = (max(1, round(scale * width)), max(1, round(scale * height)))
        return np.asarray(square.resize(size, Image.Resampling.LANCZOS))
    return None


def _cell(
    cloud: Mapping[str, Any], source: Source, colours: NDArray[np.uint8], seed: int
) -> dict[str, Any]:
    """The cell of a cloud on the contact sheet."""
    paint, parts = cloud.get("colours"), []
    if "part" in cloud:
        part = cloud["part"]
        parts = np.unique(part).tolist()
        known = (part >= 0) & (part < len(colours))
        paint = np.full((len(part), 3), GREY)
        paint[known] = 0.2 + 0.8 * colours[part[known]] / 255  # shading makes them darker
    group = source.classes[cloud["label"]] if source.classes else ""
    options: dict[str, Any] = {"views": 1, "size": IMAGE_SIZE, "seed": seed}
    if cloud["mesh"] is not None and paint is None:
        picture = render_mesh_file(cloud["mesh"], source.up_axis, **options)[0]
    else:
        normals = None if cloud["estimated"] else cloud["normals"]
        picture = render_views(cloud["xyz"], normals, colours=paint, **options)[0]
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
