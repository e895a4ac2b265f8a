"""Options of the ``pointssl data`` commands."""
# ruff: noqa: RUF009 - `option` makes a dataclasses.field, which ruff can't see

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pointssl.config.groups import DataOptions, SourceOptions
from pointssl.config.options import Options, option


@dataclass(frozen=True, kw_only=True)
class ListConfig(Options):
    """List the known datasets, where to get them, and which are on this machine."""

    name: str | None = option(
        None,
        "Show all about this dataset: layout, terms, where to get it.",
        "Options",
        positional=True,
    )
    data_root: Path | None = option(
        None, "Folder to search for datasets; default: $POINTSSL_DATA, then ./data.", "Options"
    )
    json: bool = option(False, "Print JSON.", "Options")


@dataclass(frozen=True, kw_only=True)
class DownloadConfig(Options):
    """Download, verify and unpack a dataset; --from takes a local archive instead."""

    name: str = option(..., "Dataset; `pointssl data list` shows all.", "Options", positional=True)
    to: Path | None = option(
        None, "Folder to unpack into; default: $POINTSSL_DATA, then ./data.", "Options"
    )
    archive: tuple[Path, ...] = option(
        (), "Local archive to use instead of a download (repeatable).", "Options",
        flag="--from",
    )  # fmt: skip
    mirror: tuple[str, ...] = option(
        (), "Address to try before the known ones (repeatable).", "Options"
    )
    accept_terms: bool = option(False, "Accept the terms of use, which you have read.", "Options")
    keep_archive: bool = option(False, "Keep the archive after unpacking.", "Options")
    progress: bool = option(True, "Progress bar.", "Options")


@dataclass(frozen=True, kw_only=True)
class CheckConfig(SourceOptions):
    """Read everything once and report all problems; the exit code is 1 if there are errors."""

    points: int = option(1024, "Clouds with fewer points are reported.", "Data", low=1)
    split: str = option("all", "One split, or all.", "Data")
    fix: bool = option(
        False, "Write a skip list, so that broken clouds are left out. Deletes nothing.", "Check"
    )
    pictures: bool = option(True, "Decode the images too.", "Check")
    strict: bool = option(False, "Exit with 1 for warnings too.", "Check")
    out: Path | None = option(None, "Also write the report as JSON to this file.", "Check")
    json: bool = option(False, "Print the report as JSON instead of a table.", "Check")
    progress: bool = option(True, "Progress bar.", "Check")


@dataclass(frozen=True, kw_only=True)
class ConvertConfig(SourceOptions):
    """Write any dataset as packed arrays, HDF5 or PLY."""

    on_unpaired: Literal["error", "skip"] = option(
        "error", "Clouds without images, and images without a cloud.", "Data"
    )
    split: str = option("all", "One split, or all.", "Data")
    points: int | None = option(
        None, "Points per cloud, chosen by --sampling; default: all that are stored.", "Data",
        low=1,
    )  # fmt: skip
    sampling: Literal["first", "random", "fps"] = option(
        "fps", "How --points are chosen; fps is farthest point sampling.", "Data"
    )
    normalise: Literal["unit-sphere", "none"] | None = option(
        None,
        "unit-sphere: centre every cloud and scale it into the unit sphere; default for packed, "
        "so that training reads it without a copy. Otherwise the default is none.",
        "Data",
    )
    to: Literal["packed", "hdf5", "ply"] = option(
        "packed",
        "packed: memory-mapped, for --data packed; hdf5: as modelnet40_ply_hdf5_2048; "
        "ply: a folder per split and class.",
        "Convert",
    )
    estimate_normals: bool = option(False, "Estimate normals for clouds without any.", "Convert")
    seed: int = option(0, "Seed of --sampling random.", "Convert", low=0)
    out: Path = option(Path("converted"), "Folder to write, which must not exist.", "Convert")
    progress: bool = option(True, "Progress bar.", "Convert")


@dataclass(frozen=True, kw_only=True)
class RenderConfig(DataOptions):
    """Render the meshes or clouds: OUT/CLASS/NAME/NN.png for every view, and a contact sheet."""

    points: int = option(2048, "Points per cloud that are rendered.", "Data", low=1)
    split: str = option("train", "Which split.", "Data")
    limit: int | None = option(
        None, "Render only this many clouds, evenly spaced in the split.", "Data", low=1
    )
    views: int = option(8, "Images per cloud, from cameras around it.", "Images", low=1)
    image_size: int = option(224, "Side of the images, in pixels.", "Images", low=8)
    style: Literal["shaded", "depth", "normals", "silhouette"] = option(
        "shaded", "What a pixel shows.", "Images"
    )
    cameras: Literal["ring", "sphere"] = option(
        "ring",
        "ring: around the shape, slightly above the horizon; sphere: from all sides.",
        "Images",
    )
    seed: int = option(0, "Seed of the cameras and of the choice of points.", "Images", low=0)
    progress: bool = option(True, "Progress bar.", "Run")
    out: Path = option(Path("runs/render"), "Folder for CLASS/NAME/NN.png and contact.png.", "Run")


@dataclass(frozen=True, kw_only=True)
class ShowConfig(SourceOptions):
    """Make a contact sheet, an interactive page with the clouds, and statistics."""

    on_unpaired: Literal["error", "skip"] = option(
        "error", "Clouds without images, and images without a cloud.", "Data"
    )
    points: int = option(2048, "Points per cloud that are drawn.", "Data", low=1)
    sampling: Literal["first", "random", "fps"] = option(
        "random", "Which of the stored points are drawn.", "Data"
    )
    split: str = option("train", "Which split.", "Data")
    limit: int = option(48, "Clouds that are shown, spread evenly over the classes.", "Show", low=1)
    seed: int = option(0, "Seed of the choice of points.", "Show", low=0)
    out: Path = option(
        Path("runs/show"), "Folder for show.png, show.html, statistics.json.", "Show"
    )
    progress: bool = option(True, "Progress bar.", "Show")
