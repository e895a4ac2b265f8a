"""`pointssl data convert`: converts any dataset to a common layout, one cloud at a time."""

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
    """Writes the dataset, y-up, to the new folder ``--out`` and returns that.

    * packed: ``OUT/SPLIT`` in the layout of :mod:`.packing.arrays`, for ``--data packed``. The
      paths of images and meshes are stored, the files are not copied.
    * hdf5: the layout of ``modelnet40_ply_hdf5_2048``; or of ``shapenet_part_seg_hdf5_data`` if the
      classes and parts are those of ShapeNetPart. Without colours and images.
    * ply: ``OUT/SPLIT/CLASS/NAME.ply``, for ``--data folder``. Without images.

    In hdf5 and ply, a dataset without classes gets one class, named like the dataset. If anything
    fails, ``--out`` does not exist.

    Raises:
        UsageError: ``--out`` exists, the dataset has no such split, or an option does not fit.
        DataError: a cloud can't be read, or does not fit the layout; the folder can't be written.
    """
    out = config.out.expanduser().absolute()
    if out.exists() or out.is_symlink():
        raise UsageError(f"--out {config.out}: exists. Choose a new folder, or remove this one.")
    sources = open_splits(config)
    for source in sources:
        if safe_name(source.split) != source.split:
            raise UsageError(f"--split {source.split!r}: must be a valid file name")
    write = {"packed": _write_packed, "hdf5": _write_hdf5, "ply": _write_ply}[config.to]
    notes: list[str] = []
    with _complete_folder(out) as folder:
        for source in sources:
            notes += source.notes
            repeated = _Counter()
            write(_with_chosen_points(source, config, repeated), config, folder, notes)
            if repeated.value:
                notes.append(
                    f"{source.split}: {repeated.value} of {source.count} clouds have fewer than "
                    f"{config.points} points: their points are repeated"
                )
    for note in dict.fromkeys(notes):
        print(f"note: {note}", flush=True)
    return config.out


def open_splits(config: ConvertConfig) -> list[Source]:
    """The requested split, or all that the dataset has.

    Raises:
        UserError: a split can't be opened; with "all", one that the dataset has.
    """
    if config.split != "all":
        return [list_split(config, config.split, on_unpaired=config.on_unpaired)]
    opened: list[Source] = []
    missing: list[UsageError] = []
    for split in splits_of(config.data):
        try:
            opened.append(list_split(config, split, on_unpaired=config.on_unpaired))
        except UsageError as error:  # no such split
            missing.append(error)
        except DataError as error:
            hint = f" Or convert one split: --split {opened[0].split}." if opened else ""
            raise DataError(f"{error}{hint}") from None
    if not opened:
        raise missing[0]
    return opened


@dataclasses.dataclass
class _Counter:
    value: int = 0


def _with_chosen_points(source: Source, config: ConvertConfig, repeated: _Counter) -> Source:
    """The source with checked clouds, estimated normals if requested, and chosen points.

    Axes and scale are still those of the dataset. ``repeated`` counts the clouds with too few
    points.
    """

    raw = dataclasses.replace(source, up_axis="y")  # rotated only when it is written

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
        for cloud in _prepared(source, config):
            shards.append(cloud)
            _note_left_out(cloud, ("colours", "place", "images"), "hdf5", notes)


def _write_ply(source: Source, config: ConvertConfig, folder: Path, notes: list[str]) -> None:
    classes = _classes(source)
    folders = [folder / source.split / name for name in safe_names(classes)]
    for path in folders:
        path.mkdir(parents=True)
    for cloud in _prepared(source, config):
        name = cloud["name"].removeprefix(f"{classes[cloud['label']]}/")
        write_ply(free_path(folders[cloud["label"]], name, ".ply"), cloud)
        _note_left_out(cloud, ("place", "images"), "ply", notes)


def _scale(config: ConvertConfig) -> str:
    return config.normalise or ("unit-sphere" if config.to == "packed" else "none")


def _classes(source: Source) -> tuple[str, ...]:
    return source.classes or (source.dataset,)


def _prepared(source: Source, config: ConvertConfig) -> Iterator[Cloud]:
    """The clouds as they are written: y-up, normalised, of class 0 if there are no classes."""
    if not source.count:
        raise DataError(f"{source.dataset}: the split {source.split!r} is empty")
    bar = tqdm(
        prepared(source, _scale(config)), config.to, source.count, unit="cloud",
        disable=not config.progress, leave=False,
    )  # fmt: skip
    for cloud in bar:
        cloud["label"] = max(cloud["label"], 0)
        yield cloud


def _note_left_out(cloud: Cloud, fields: tuple[str, ...], to: str, notes: list[str]) -> None:
    """Adds a note about each field of the cloud that the files can't contain."""
    for field in fields:
        note = f"{field} can't be stored in {to} files and were left out"
        if cloud.get(field) is not None and len(cloud[field]) and note not in notes:  # type: ignore[literal-required]
            notes.append(note)


@contextlib.contextmanager
def _complete_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside ``out``, which is renamed at the end, or removed after an error."""
    temporary = out.with_name(f"{out.name}.unfinished")
    try:
        with locked(temporary, say=lambda line: print(line, flush=True)):
            if out.exists():  # another process finished it meanwhile
                temporary.rmdir()
                raise UsageError(f"--out {out}: exists. Choose a new folder, or remove this one.")
            _empty(temporary)  # a killed process may have left files
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
    return DataError(f"cannot write {out}: {reason}. Choose a folder with space: --out.")
