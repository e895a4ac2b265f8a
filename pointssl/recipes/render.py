"""Pictures of a dataset's clouds: the quickest way to see what the network is fed."""

from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from pointssl.config import RenderConfig
from pointssl.engine.distributed import World
from pointssl.recipes.data import open_split
from pointssl_datasets.dataset import CloudDataset
from pointssl_datasets.errors import UserError
from pointssl_datasets.render import render_views

SHEET_ROWS, SHEET_COLUMNS = 12, 8  # clouds and views on the contact sheet
THUMBNAIL = 112  # pixels


def run(config: RenderConfig) -> Path:
    """Write ``OUT/CLASS/NAME/NN.png`` (RGBA) per view and ``OUT/contact.png``; returns the latter.

    Raises:
        UserError: the dataset can't be read, or a cloud's name would lead out of the folder.
    """
    alone = World(0, 0, 1, torch.device("cpu"))
    data = open_split(config, config.split, alone, progress=config.progress, seed=config.seed)
    for note in data.notes:
        alone.say(f"note: {note}")
    chosen = spread(len(data), config.limit)
    on_sheet = set(chosen[spread(len(chosen), SHEET_ROWS)].tolist())
    rows = []
    for index in tqdm(chosen.tolist(), "render", unit="cloud", disable=not config.progress):
        cloud = data[index]
        pictures = render_views(
            cloud["xyz"].numpy(),
            cloud["feats"].numpy() if config.normals else None,
            views=config.views,
            size=config.image_size,
            seed=config.seed,
        )
        folder = config.out / folder_of(data, index)
        folder.mkdir(parents=True, exist_ok=True)
        for view, picture in enumerate(pictures):
            save_png(picture, folder / f"{view:02d}.png")
        if index in on_sheet:
            rows.append(pictures[:SHEET_COLUMNS])
    contact = config.out / "contact.png"
    save_png(contact_sheet(rows), contact)
    return contact


def spread(count: int, limit: int | None) -> NDArray[np.int64]:
    """At most ``limit`` of the indices below ``count``, evenly spaced, so that no class is left out
    merely because it comes late."""
    wanted = count if limit is None else min(limit, count)
    return (np.arange(wanted) * count) // max(wanted, 1)


def folder_of(data: CloudDataset, index: int) -> Path:
    """``CLASS/NAME`` of a cloud; names often begin with their class already.

    Raises:
        UserError: the name is absolute or climbs with ``..``.
    """
    class_name = data.classes[int(data.labels[index])]
    name = data.names[index].removeprefix(f"{class_name}/")
    path = PurePosixPath(class_name, name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(
            f"{data.name}: the cloud {data.names[index]!r} can't be the name of a folder. "
            "Rename it in the dataset."
        )
    return Path(path)


def contact_sheet(rows: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """A row of thumbnails per cloud, on white: ``(R * 112, V * 112, 3)``.

    Args:
        rows: per cloud its pictures (V, H, W, 4), the same V in each.
    """
    height, width = len(rows) * THUMBNAIL, len(rows[0]) * THUMBNAIL
    sheet = Image.new("RGB", (width, height), "white")
    for i, pictures in enumerate(rows):
        for j, picture in enumerate(pictures):
            small = Image.fromarray(picture).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
            sheet.paste(small, (j * THUMBNAIL, i * THUMBNAIL), mask=small)
    return np.asarray(sheet)


def save_png(picture: NDArray[np.uint8], path: Path) -> None:
    """Write (H, W, 3 or 4) under a temporary name and rename: a file is whole or not there."""
    temporary = path.with_name(path.name + ".tmp")
    Image.fromarray(picture).save(temporary, format="PNG")
    temporary.replace(path)
