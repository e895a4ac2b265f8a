"""`pointssl data render`: images of a dataset's meshes or clouds, to look at or to train on."""

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
THUMBNAIL, LABEL = 112, 14  # pixels: side of an image, height of the label below a row


def main(config: RenderConfig) -> None:
    """Print the contact sheet that :func:`run` draws."""
    print(run(config))


def run(config: RenderConfig) -> Path:
    """Writes ``OUT/CLASS/NAME/NN.png`` (RGBA) per view and ``OUT/contact.png``; returns the latter.

    A cloud that was sampled from a mesh is rendered from that mesh; a cloud with colours in these
    colours. Without classes the files are ``OUT/NAME/NN.png``. Existing files are overwritten.

    Raises:
        DataError: the dataset can't be read, or names of clouds are not valid names of folders.
        UsageError: an option that does not fit the dataset.
    """
    alone = World(0, 0, 1, torch.device("cpu"))
    data = open_split(
        config, config.split, alone, progress=config.progress, seed=config.seed, colours=True
    )
    for note in data.notes:
        alone.say(f"note: {note}")
    chosen = evenly_spaced(len(data), config.limit).tolist()
    folders = folders_of(data, chosen)
    meshes = Meshes(data)
    on_sheet = {chosen[i] for i in evenly_spaced(len(chosen), SHEET_ROWS)}
    rows = []
    bar = tqdm(chosen, "render", unit="cloud", disable=not config.progress)
    for index, folder in zip(bar, folders, strict=True):
        images = render(data, index, meshes.of(index), config)
        (config.out / folder).mkdir(parents=True, exist_ok=True)
        for view, image in enumerate(images):
            save_png(image, config.out / folder / f"{view:02d}.png")
        if index in on_sheet:
            rows.append((folder.as_posix(), images[:SHEET_COLUMNS]))
    contact = config.out / "contact.png"
    save_png(contact_sheet(rows), contact)
    return contact


def render(
    data: PointDataset, index: int, mesh: tuple[Path, str] | None, config: RenderConfig
) -> NDArray[np.uint8]:
    """Images ``(views, size, size, 4)`` of a cloud, or of its ``mesh``: a path and its up axis."""
    options: dict[str, Any] = {
        "views": config.views,
        "size": config.image_size,
        "seed": config.seed,
        "style": config.style,
        "cameras": config.cameras,
    }
    if mesh is not None:
        return render_mesh_file(*mesh, **options)
    cloud = data[index]
    normals = cloud["feats"].numpy() if config.normals else None
    colours = cloud["colour"].numpy() if "colour" in cloud else None
    return render_views(cloud["xyz"].numpy(), normals, colours=colours, **options)


class Meshes:
    """The mesh files that the clouds of a dataset or mixture were sampled from."""

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
        """The file and its up axis; None if the cloud is not from a mesh."""
        member, row = self._data.origin(index)
        paths, up_axis = self._of[member.folder]
        return (paths[row][0], up_axis) if paths[row] else None


def evenly_spaced(count: int, limit: int | None) -> NDArray[np.int64]:
    """At most ``limit`` of the indices below ``count``, evenly spaced to include all classes."""
    chosen = count if limit is None else min(limit, count)
    return (np.arange(chosen) * count) // max(chosen, 1)


def folders_of(data: PointDataset, chosen: list[int]) -> list[Path]:
    """The folder ``CLASS/NAME`` of each cloud, or ``NAME`` without classes; all are different.

    Raises:
        DataError: a name is absolute, contains ``..``, or leads to the folder of another cloud.
    """
    names, labels = data.names, data.labels  # a mixture computes both on each access
    taken: dict[PurePosixPath, str] = {}
    folders = []
    for index in chosen:
        name, label = names[index], int(labels[index])
        kind = data.classes[label] if data.classes and label >= 0 else ""
        short = name.removeprefix(f"{kind}/") if kind else name  # names often begin with the class
        path = PurePosixPath(kind, short)
        if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
            raise DataError(
                f"{data.name}: the name of the cloud {name!r} is not a valid name of a folder. "
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
        rows: per cloud its label and its images (V, H, W, 4), with the same V in each.
    """
    height, width = len(rows) * (THUMBNAIL + LABEL), len(rows[0][1]) * THUMBNAIL
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for i, (label, images) in enumerate(rows):
        top = i * (THUMBNAIL + LABEL)
        for j, image in enumerate(images):
            small = Image.fromarray(image).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
            sheet.paste(small, (j * THUMBNAIL, top), mask=small)
        text = label.encode("ascii", "replace").decode()  # the built-in font has few other letters
        while len(text) > 1 and pen.textlength(text, font) > width - 8:
            text = text[1:]  # the end of a name is more specific than its beginning
        pen.text((4, top + THUMBNAIL), text, fill=(90, 90, 90), font=font)
    return np.asarray(sheet)


def save_png(image: NDArray[np.uint8], path: Path) -> None:
    """Writes an image (H, W, 3 or 4), atomically."""
    with whole_file(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")
