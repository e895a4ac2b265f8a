"""From ``--data NAME`` to a listed split, of a built-in dataset or the user's own.

An opener is anything callable with ``(root, split)``. It may take further options by keyword:
``size`` and ``seed`` (of a generator), ``up_axis``, ``on_unpaired``, ``mesh_points``, ``skip``
(names to leave out). It returns a :class:`Source`, or any sequence of clouds: an object with
``len()`` whose items are dicts with ``xyz``, or tuples of points and label.
"""

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pointssl_datasets.base.errors import DataError, UsageError, UserError
from pointssl_datasets.base.resolve import resolve
from pointssl_datasets.base.skipping import find_skip_list, leave_out, read_skips
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.sets import DATASETS

_DEBUG = " (`pointssl --debug ...` shows where)"
_ARRAYS = {
    "xyz": np.float32, "normals": np.float32, "colours": np.float32, "place": np.float32,
    "part": np.int64,
}  # fmt: skip


def open_source(
    name: str,
    root: Path | None,
    split: str,
    *,
    size: int | None = None,
    seed: int = 0,
    up_axis: str = "auto",
    on_unpaired: str = "error",
    mesh_points: int | None = None,
    skip_list: Path | None = None,
    ignore: Iterable[str] = (),
) -> Source:
    """One split of the dataset ``name``, listed but not read.

    The arguments are those of :func:`~.dataset.load_dataset`; ``ignore`` has the names of images
    that may lack a cloud.

    Raises:
        DataError: the data is missing or in an unexpected layout.
        UsageError: an unknown name, or an option that the dataset does not have.
    """
    if name.startswith("concat:"):
        raise UsageError(f"--data {name!r}: a mixture is only for training; name a single dataset")
    opener = resolve(name, DATASETS, "dataset")
    path = find_skip_list(root, skip_list)
    skips = read_skips(path) if path else []
    listed = frozenset(s.name for s in skips if s.split == split and s.dataset == name)
    options: dict[str, Any] = {"size": size, "seed": seed, "up_axis": up_axis}
    options |= {
        "on_unpaired": on_unpaired,
        "mesh_points": mesh_points,
        "skip": listed.union(ignore),
    }
    data = _call(opener, name, root, split, options)
    source = data if isinstance(data, Source) else _as_source(data, name, split)
    if up_axis != "auto" and source.up_axis != up_axis:
        source = dataclasses.replace(source, up_axis=up_axis, packed=None)
    return leave_out(source, listed, path) if path else source


def _call(
    opener: Callable[..., Any], name: str, root: Path | None, split: str, options: dict[str, Any]
) -> Any:
    """``opener(root, split)`` with the options that it accepts."""
    signature = inspect.signature(opener)
    accepts_all = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    given = {k: v for k, v in options.items() if v is not None}
    accepted = {k: v for k, v in given.items() if accepts_all or k in signature.parameters}
    for option in ("size", "mesh_points"):
        if option in given and option not in accepted:
            flag = f"--{option.replace('_', '-')}"
            raise UsageError(f"{flag}: {name} does not have this option. Leave {flag} out.")
    try:
        signature.bind(root, split, **accepted)
    except TypeError as error:
        raise UsageError(
            f"dataset {name!r}: must be callable with (root, split) and further options as "
            f"keywords, but: {error}"
        ) from None
    if name in DATASETS:
        return opener(root, split, **accepted)
    try:
        return opener(root, split, **accepted)
    except UserError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise DataError(f"dataset {name!r}: {type(error).__name__}: {error}{_DEBUG}") from error


def _as_source(data: Any, name: str, split: str) -> Source:
    """A :class:`Source` of any sequence of clouds.

    The sequence may have the attributes ``classes``, ``names``, ``parts``, ``up_axis`` and ``key``.
    Without a key all clouds are read once to compute one.
    """
    try:
        count = len(data)
    except TypeError:
        count = -1
    if count < 0 or not hasattr(data, "__getitem__"):
        raise UsageError(
            f"dataset {name!r} returned {type(data).__name__}: expected a Source, or an object "
            "with len() and [i] whose items are dicts with 'xyz'"
        )
    # A qualified name contains a colon and dots, which are not for names of cache folders.
    title = name.partition(":")[2] or name
    names = [str(n) for n in getattr(data, "names", None) or (f"{i:07d}" for i in range(count))]
    if len(names) != count:
        raise DataError(f"dataset {name!r}: {len(names)} names for {count} clouds")

    def read(index: int) -> Cloud:
        where = f"{title}: {names[index]}"
        try:
            item = data[index]
        except UserError:
            raise
        except Exception as error:  # the user's code may raise anything
            raise DataError(f"{where}: {type(error).__name__}: {error}{_DEBUG}") from error
        return _as_cloud(item, where)

    key = getattr(data, "key", None)
    return Source(
        dataset=title,
        split=split,
        classes=tuple(map(str, getattr(data, "classes", ()))),
        parts=tuple(map(str, getattr(data, "parts", ()))),
        up_axis=str(getattr(data, "up_axis", "y")),
        key=f"{name}-{key}" if key is not None else _content_key(read, names),
        names=names,
        read=read,
    )


def _as_cloud(item: Any, where: str) -> Cloud:
    """A cloud from a dict, or a tuple of points and label, of arrays or tensors."""
    if isinstance(item, (tuple, list)) and len(item) == 2:
        item = {"xyz": item[0], "label": item[1]}
    if not isinstance(item, Mapping) or "xyz" not in item:
        content = ", ".join(item) if isinstance(item, Mapping) else type(item).__name__
        raise DataError(f"{where}: expected a dict with 'xyz', found {content}")
    cloud = Cloud()
    try:
        for field, dtype in _ARRAYS.items():
            if field in item:
                cloud[field] = np.asarray(item[field], dtype=dtype)  # type: ignore[literal-required]
        if "label" in item:
            cloud["label"] = int(np.asarray(item["label"]).item())
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: not arrays of numbers ({error})") from None
    if "images" in item:
        cloud["images"] = [Path(path) for path in item["images"]]
    return cloud


def _content_key(read: Callable[[int], Cloud], names: list[str]) -> str:
    """Hex digest of all names and of all values of all clouds."""
    digest = hashlib.sha256("\0".join(names).encode())
    for index in range(len(names)):
        for field, value in sorted(read(index).items()):
            raw = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
            digest.update(f"{field}\0{len(raw)}\0".encode() + raw)
    return digest.hexdigest()
