"""Pictures of a dataset's meshes or clouds: to look at them, or to train on."""

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from pointssl.config.data import RenderConfig
from pointssl.engine.distributed import World
from pointssl.recipes.splits import open_split
from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.writing import whole_file
from pointssl_datasets.packing.arrays import read_meta
from pointssl_datasets.packing.images import read_meshes
from pointssl_datasets.rendering.clouds import render_mesh_file, render_views
from pointssl_datasets.serving.dataset import CloudDataset
from pointssl_datasets.serving.mixing import PointDataset

SHEET_ROWS, SHEET_COLUMNS = 12, 8  # clouds and views on the contact sheet
THUMBNAIL, LABEL = 112, 14  # pixels: side of a picture, height of the line below a row


def main(config: RenderConfig) -> None:
    """Print the contact sheet that :func:`run` draws."""
    print(run(config))


def run(config: RenderConfig) -> Path:
    """Write ``OUT/CLASS/NAME/NN.png`` (RGBA) per view and ``OUT/contact.png``; returns the latter.

    A cloud that was drawn from a mesh is rendered from that mesh, and coloured clouds in their
    colours. In a dataset without classes it is ``OUT/NAME/NN.png``. What is there is overwritten.

    Raises:
        DataError: the dataset can't be read, or the names of its clouds can't be those of folders.
        UsageError: an option that does not fit the dataset.
    """
    alone = World(0, 0, 1, torch.device("cpu"))
    data = open_split(
        config, config.split, alone, progress=config.progress, seed=config.seed, colours=True
    )
    for note in data.notes:
        alone.say(f"note: {note}")
    chosen = spread(len(data), config.limit).tolist()
    folders = folders_of(data, chosen)
    meshes = Meshes(data)
    on_sheet = {chosen[i] for i in spread(len(chosen), SHEET_ROWS)}
    rows = []
    bar = tqdm(chosen, "render", unit="cloud", disable=not config.progress)
    for index, folder in zip(bar, folders, strict=True):
        pictures = draw(data, index, meshes.of(index), config)
        (config.out / folder).mkdir(parents=True, exist_ok=True)
        for view, picture in enumerate(pictures):
            save_png(picture, config.out / folder / f"{view:02d}.png")
        if index in on_sheet:
            rows.append((folder.as_posix(), pictures[:SHEET_COLUMNS]))
    contact = config.out / "contact.png"
    save_png(contact_sheet(rows), contact)
    return contact


def draw(
    data: PointDataset, index: int, mesh: tuple[Path, str] | None, config: RenderConfig
) -> NDArray[np.uint8]:
    """``(views, size, size, 4)`` of one cloud, or of its ``mesh``: a path and the axis up in it."""
    how: dict[str, Any] = {
        "views": config.views,
        "size": config.image_size,
        "seed": config.seed,
        "style": config.style,
        "cameras": config.cameras,
    }
    if mesh is not None:
        return render_mesh_file(*mesh, **how)
    cloud = data[index]
    normals = cloud["feats"].numpy() if config.normals else None
    colours = cloud["colour"].numpy() if "colour" in cloud else None
    return render_views(cloud["xyz"].numpy(), normals, colours=colours, **how)


class Meshes:
    """The mesh files behind the clouds of a dataset or mixture."""

    def __init__(self, data: PointDataset) -> None:
        self._data = data
        members = [data] if isinstance(data, CloudDataset) else data.members
        self._of = {
            member.folder: (
                read_meshes(member.folder),
                str(read_meta(member.folder)["up_axis_of_files"]),
            )
            for member in members
        }

    def of(self, index: int) -> tuple[Path, str] | None:
        """The file and the axis that points up in it; None: draw the cloud."""
        member, row = self._data.origin(index)
        paths, up_axis = self._of[member.folder]
        return (paths[row][0], up_axis) if paths[row] else None


def spread(count: int, limit: int | None) -> NDArray[np.int64]:
    """At most ``limit`` of the indices below ``count``, evenly spaced, so that no class is left out
    merely because it comes late."""
    wanted = count if limit is None else min(limit, count)
    return (np.arange(wanted) * count) // max(wanted, 1)


def folders_of(data: PointDataset, chosen: list[int]) -> list[Path]:
    """``CLASS/NAME`` of each cloud, or ``NAME`` without classes; all different.

    Raises:
        DataError: a name is absolute, climbs with ``..``, or leads to the folder of another one.
    """
    names, labels = data.names, data.labels  # a mixture makes both anew each time
    taken: dict[PurePosixPath, str] = {}
    folders = []
    for index in chosen:
        name, label = names[index], int(labels[index])
        kind = data.classes[label] if data.classes and label >= 0 else ""
        own = name.removeprefix(f"{kind}/") if kind else name  # names often begin with their class
        path = PurePosixPath(kind, own)
        if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
            raise DataError(
                f"{data.name}: the cloud {name!r} can't be the name of a folder. "
                "Rename it in the dataset."
            )
        other = taken.setdefault(path, name)
        if other != name:
            raise DataError(f"{data.name}: {other!r} and {name!r} would share the folder {path}")
        folders.append(Path(path))
    return folders


def contact_sheet(rows: list[tuple[str, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Rows of thumbnails on white, a label under each: ``(R * (112 + 14), V * 112, 3)``.

    Args:
        rows: per cloud its label and its pictures (V, H, W, 4), the same V in each.
    """
    height, width = len(rows) * (THUMBNAIL + LABEL), len(rows[0][1]) * THUMBNAIL
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for i, (label, pictures) in enumerate(rows):
        top = i * (THUMBNAIL + LABEL)
        for j, picture in enumerate(pictures):
            small = Image.fromarray(picture).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
            sheet.paste(small, (j * THUMBNAIL, top), mask=small)
        text = label.encode("ascii", "replace").decode()  # the built-in font has little else
        while len(text) > 1 and pen.textlength(text, font) > width - 8:
            text = text[1:]  # the end of a name tells more than its beginning
        pen.text((4, top + THUMBNAIL), text, fill=(90, 90, 90), font=font)
    return np.asarray(sheet)


def save_png(picture: NDArray[np.uint8], path: Path) -> None:
    """Write (H, W, 3 or 4); a file is whole or not there."""
    with whole_file(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
