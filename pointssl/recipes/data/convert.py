"""`pointssl data convert`: any dataset into a layout that everybody reads, one cloud at a time."""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from pointssl.config.data import ConvertConfig
from pointssl.recipes.splits import list_split
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.locking import locked
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.catalogue import splits_of
from pointssl_datasets.files.writers import Hdf5Shards, free_path, safe_name, safe_names, write_ply
from pointssl_datasets.packing.arrays import FIELDS, read_meta
from pointssl_datasets.packing.pack import prepare, prepared, write_packed
from pointssl_datasets.points.choosing import choose_points
from pointssl_datasets.points.normals import estimate_normals
from pointssl_datasets.sets.shapes import CLASSES, PARTS


def main(config: ConvertConfig) -> None:
    """Print the folder that :func:`run` writes."""
    print(run(config))


def run(config: ConvertConfig) -> Path:
    """Write the dataset into the new folder ``--out`` and return it. The clouds come out y-up.

    * packed: ``OUT/SPLIT`` as :mod:`.packing.arrays` lays it out, for ``--data packed``.
      Pictures and meshes stay where they are; their paths are kept.
    * hdf5: the files of ``modelnet40_ply_hdf5_2048``; or of ``shapenet_part_seg_hdf5_data`` if the
      classes and parts are those of ShapeNetPart. Without colours and pictures.
    * ply: ``OUT/SPLIT/CLASS/NAME.ply``, for ``--data folder``. Without pictures.

    A dataset without classes gets one of its own name in hdf5 and ply. Whatever goes wrong,
    ``--out`` is complete or does not exist.

    Raises:
        UsageError: ``--out`` exists, the dataset has no such split, or an option does not fit.
        DataError: a cloud can't be read, or does not fit the layout; the folder can't be written.
    """
    out = config.out.expanduser().absolute()
    if out.exists() or out.is_symlink():
        raise UsageError(f"--out {config.out}: exists. Name a new folder, or remove this one.")
    sources = open_splits(config)
    for source in sources:
        if safe_name(source.split) != source.split:
            raise UsageError(f"--split {source.split!r}: must be able to name a file")
    write = {"packed": _write_packed, "hdf5": _write_hdf5, "ply": _write_ply}[config.to]
    notes: list[str] = []
    with _complete_folder(out) as folder:
        for source in sources:
            notes += source.notes
            repeated = _Count()
            write(_chosen(source, config, repeated), config, folder, notes)
            if repeated.value:
                notes.append(
                    f"{source.split}: {repeated.value} of {source.count} clouds have fewer than "
                    f"{config.points} points: their points are repeated"
                )
    for note in dict.fromkeys(notes):
        print(f"note: {note}", flush=True)
    return config.out


def open_splits(config: ConvertConfig) -> list[Source]:
    """The split that is asked for, or all that the dataset has.

    Raises:
        UserError: a split can't be opened; with "all", other than because there is no such split.
    """
    if config.split != "all":
        return [list_split(config, config.split, on_unpaired=config.on_unpaired)]
    found: list[Source] = []
    refused: list[UsageError] = []
    for split in splits_of(config.data):
        try:
            found.append(list_split(config, split, on_unpaired=config.on_unpaired))
        except UsageError as error:  # no such split
            refused.append(error)
        except DataError as error:
            done = f" Or convert one split: --split {found[0].split}." if found else ""
            raise DataError(f"{error}{done}") from None
    if not found:
        raise refused[0]
    return found


@dataclasses.dataclass
class _Count:
    value: int = 0


def _chosen(source: Source, config: ConvertConfig, repeated: _Count) -> Source:
    """The source with each cloud checked, with normals if they are wanted, and its points chosen.

    Axes and scale are still those of the dataset.
    """

    raw = dataclasses.replace(source, up_axis="y")  # turned when it is written

    def read(index: int) -> Cloud:
        cloud = prepare(raw, index, "none")
        if config.estimate_normals and "normals" not in cloud:
            cloud["normals"] = estimate_normals(cloud["xyz"])
        stored, points = len(cloud["xyz"]), config.points
        if points is None:
            return cloud
        repeated.value += stored < points
        order = choose_points(
            cloud["xyz"], points, config.sampling, seed=config.seed, epoch=0, index=index
        )
        for field in FIELDS:
            if field in cloud:
                cloud[field] = cloud[field][order]
        return cloud

    return dataclasses.replace(source, read=read, packed=None)


def _write_packed(source: Source, config: ConvertConfig, folder: Path, notes: list[str]) -> None:
    part = folder / source.split
    part.mkdir()
    write_packed(source, part, _scale(config), config.progress)
    notes += read_meta(part)["notes"]


def _write_hdf5(source: Source, config: ConvertConfig, folder: Path, notes: list[str]) -> None:
    as_parts = (source.classes, source.parts) == (CLASSES, PARTS)
    if not as_parts:
        names = "".join(f"{' '.join(name.split())}\n" for name in _classes(source))
        (folder / "shape_names.txt").write_text(names, encoding="utf-8")
    listing = f"{source.split}_hdf5_file_list.txt" if as_parts else f"{source.split}_files.txt"
    with Hdf5Shards(folder, source.split, listing) as shards:
        for cloud in _ready(source, config):
            shards.append(cloud)
            _left_out(cloud, ("colours", "place", "images"), "hdf5", notes)


def _write_ply(source: Source, config: ConvertConfig, folder: Path, notes: list[str]) -> None:
    classes = _classes(source)
    folders = [folder / source.split / name for name in safe_names(classes)]
    for path in folders:
        path.mkdir(parents=True)
    for cloud in _ready(source, config):
        name = cloud["name"].removeprefix(f"{classes[cloud['label']]}/")
        write_ply(free_path(folders[cloud["label"]], name, ".ply"), cloud)
        _left_out(cloud, ("place", "images"), "ply", notes)


def _scale(config: ConvertConfig) -> str:
    return config.normalise or ("unit-sphere" if config.to == "packed" else "none")


def _classes(source: Source) -> tuple[str, ...]:
    return source.classes or (source.dataset,)


def _ready(source: Source, config: ConvertConfig) -> Iterator[Cloud]:
    """The clouds as they are written: y-up, normalised, of class 0 where there are no classes."""
    if not source.count:
        raise DataError(f"{source.dataset}: the split {source.split!r} is empty")
    bar = tqdm(
        prepared(source, _scale(config)), config.to, source.count, unit="cloud",
        disable=not config.progress, leave=False,
    )  # fmt: skip
    for cloud in bar:
        cloud["label"] = max(cloud["label"], 0)
        yield cloud


def _left_out(cloud: Cloud, fields: tuple[str, ...], to: str, notes: list[str]) -> None:
    for field in fields:
        note = f"{field} are no part of {to} files and were left out"
        if cloud.get(field) is not None and len(cloud[field]) and note not in notes:  # type: ignore[literal-required]
            notes.append(note)


@contextlib.contextmanager
def _complete_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside ``out`` that is renamed at the end, or removed after an error."""
    temporary = out.with_name(f"{out.name}.unfinished")
    try:
        with locked(temporary, say=lambda line: print(line, flush=True)):
            if out.exists():  # another process finished it while we waited
                temporary.rmdir()
                raise UsageError(f"--out {out}: exists. Name a new folder, or remove this one.")
            _empty(temporary)  # of what a killed process left
            try:
                yield temporary
                os.rename(temporary, out)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise _unwritable(out, error) from None


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _unwritable(out: Path, error: OSError) -> DataError:
    reason = " ".join((error.strerror or str(error)).split())
    return DataError(f"cannot write {out}: {reason}. Name a folder with space: --out.")
