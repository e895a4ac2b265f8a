"""ModelNet in the layout of ``modelnet40_ply_hdf5_2048`` (Qi et al., PointNet, CVPR 2017).

``train_files.txt`` and ``test_files.txt`` list HDF5 files; each holds ``data (M, N, 3)``,
``label (M, 1)`` and perhaps ``normal (M, N, 3)``; ``shape_names.txt`` names the classes. Any
number of classes and of points will do.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.errors import DataError, UsageError
from pointssl_datasets.paths import data_root, find_layout, stat_key
from pointssl_datasets.readers import check_xyz, unit_normals
from pointssl_datasets.source import Cloud, Source

_LAYOUT = (
    "the layout of modelnet40_ply_hdf5_2048: train_files.txt, test_files.txt, shape_names.txt "
    "and the .h5 files that they list"
)
_ROWS = 64  # read at once: a few MB


@dataclass(frozen=True)
class _Shard:
    path: Path
    labels: NDArray[np.int64]  # (M,)
    names: list[str]
    normals: bool


def open_modelnet(
    root: Path | None,
    split: str,
    *,
    size: int | None = None,
    seed: int = 0,
    up_axis: str = "auto",
    on_unpaired: str = "error",
    name: str = "modelnet40",
    up: str = "y",
) -> Source:
    """ModelNet40, y-up as distributed with PointNet. ``size``, ``seed`` etc. do not concern it.

    Raises:
        DataError: the folder or a file is missing, damaged or laid out otherwise than expected.
        UsageError: a split other than train and test.
    """
    if split not in ("train", "test"):
        raise UsageError(f"{name} has the splits train and test, not {split!r}")
    given = data_root(root, name)
    folder = find_layout(given, lambda f: (f / f"{split}_files.txt").is_file(), name, _LAYOUT)
    classes = _lines(folder / "shape_names.txt")
    shards = [_open_shard(path, classes) for path in _listed(folder, split)]
    names = [label for shard in shards for label in shard.names]
    if not names:
        listing = folder / f"{split}_files.txt"
        raise DataError(f"{listing}: the files that it lists hold no clouds. Download them again.")
    if len(set(names)) < len(names):  # ids are not unique: file and row always are
        shards = [
            _Shard(s.path, s.labels, [_by_row(s.path, i) for i in range(len(s.labels))], s.normals)
            for s in shards
        ]
    notes = []
    expected = {"modelnet40": 40, "modelnet10": 10}.get(name)
    if expected and len(classes) != expected:
        notes.append(f"{name}: {folder} has {len(classes)} classes, the original {expected}")
    return Source(
        dataset=name,
        split=split,
        classes=tuple(classes),
        up_axis=up if up_axis == "auto" else up_axis,
        key=stat_key([s.path for s in shards] + [folder / "shape_names.txt"], *names),
        count=len(names),
        clouds=lambda: _clouds(shards),
        notes=notes,
    )


def open_modelnet10(
    root: Path | None,
    split: str,
    *,
    size: int | None = None,
    seed: int = 0,
    up_axis: str = "auto",
    on_unpaired: str = "error",
) -> Source:
    """ModelNet10 in the same layout; z-up, as Princeton's meshes are. See :func:`open_modelnet`."""
    return open_modelnet(root, split, up_axis=up_axis, name="modelnet10", up="z")


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}. Expected {_LAYOUT}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not a text file") from None
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise DataError(f"{path}: the file is empty. Expected {_LAYOUT}.")
    return found


def _listed(folder: Path, split: str) -> list[Path]:
    """The HDF5 files of a split. The lists name ``data/modelnet40.../x.h5``: only x.h5 counts."""
    paths = [folder / Path(line).name for line in _lines(folder / f"{split}_files.txt")]
    absent = [path.name for path in paths if not path.is_file()]
    if absent:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        raise DataError(
            f"{folder / f'{split}_files.txt'} lists {', '.join(absent[:5])}{more}, "
            f"which {folder} does not hold. Complete the download."
        )
    return paths


def _open_shard(path: Path, classes: list[str]) -> _Shard:
    """Checks everything about a file but its coordinates."""
    try:
        with h5py.File(path, "r") as file:
            keys = sorted(file)
            if "data" not in keys or "label" not in keys:
                found = ", ".join(keys) or "none"
                raise DataError(f"{path}: expected the keys 'data' and 'label', found {found}")
            shape = file["data"].shape
            if len(shape) != 3 or shape[2] != 3:
                raise DataError(f"{path}: 'data' must be (clouds, points, 3), found {shape}")
            label = np.asarray(file["label"])
            if label.size != shape[0] or label.dtype.kind not in "iu":
                raise DataError(
                    f"{path}: 'label' must be {shape[0]} whole numbers, one per cloud, "
                    f"found {label.dtype} of shape {label.shape}"
                )
            normals = "normal" in keys
            if normals and file["normal"].shape != shape:
                raise DataError(
                    f"{path}: 'normal' must be {shape} as 'data', found {file['normal'].shape}"
                )
            ids = [x.decode(errors="replace") for x in file["id"]] if "id" in keys else None
    except (OSError, RuntimeError, KeyError, AttributeError) as error:
        raise _damaged(path, error) from None
    labels = label.reshape(-1).astype(np.int64)
    bad = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(bad):
        raise DataError(
            f"{path}: {len(bad)} labels are outside of the {len(classes)} classes of "
            f"shape_names.txt, the first at row {bad[0]}: {labels[bad[0]]}"
        )
    names = _names_from_json(path, len(labels)) or ids
    if names is None or len(names) != len(labels):
        names = [_by_row(path, i) for i in range(len(labels))]
    return _Shard(path, labels, names, normals)


def _names_from_json(path: Path, count: int) -> list[str] | None:
    """``ply_data_train_0_id2file.json`` beside ``ply_data_train0.h5``: one mesh name per row."""
    stem = path.stem.rstrip("0123456789")
    file = path.with_name(f"{stem}_{path.stem[len(stem) :]}_id2file.json")
    if not file.is_file():
        return None
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a JSON list of names ({error})") from None
    if not isinstance(names, list) or len(names) != count:
        raise DataError(f"{file}: expected a list of {count} names, one per row of {path.name}")
    return [str(name).removesuffix(".ply") for name in names]


def _by_row(path: Path, row: int) -> str:
    return f"{path.stem}/{row:05d}"


def _damaged(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(
        f"{path}: truncated or damaged HDF5 ({reason}). Download it again, or check its size."
    )


def _clouds(shards: list[_Shard]) -> Iterator[Cloud]:
    for shard in shards:
        row = 0
        for xyz_rows, normal_rows in _chunks(shard):
            for i, xyz in enumerate(xyz_rows):
                where = f"{shard.path}: row {row}"
                cloud = Cloud(
                    name=shard.names[row],
                    xyz=check_xyz(xyz, where),
                    label=int(shard.labels[row]),
                )
                if normal_rows is not None:
                    normals = unit_normals(normal_rows[i])
                    if normals is None:
                        raise DataError(f"{where}: its normals are not of unit length")
                    cloud["normals"] = normals
                yield cloud
                row += 1


def _chunks(
    shard: _Shard,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32] | None]]:
    """Coordinates and normals, each ``(up to 64, N, 3)``."""
    try:
        with h5py.File(shard.path, "r") as file:
            for start in range(0, len(shard.labels), _ROWS):
                rows = slice(start, start + _ROWS)
                yield file["data"][rows], file["normal"][rows] if shard.normals else None
    except (OSError, RuntimeError, KeyError) as error:
        raise _damaged(shard.path, error) from None
