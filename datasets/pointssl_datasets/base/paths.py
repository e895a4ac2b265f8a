"""The folders of data and of the cache, and a key that changes when files change."""

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from pointssl_datasets.base.errors import DataError


def cache_root(cache_dir: Path | None) -> Path:
    """``cache_dir``, else ``$POINTSSL_CACHE``, else ``~/.cache/pointssl``. It need not exist."""
    path = cache_dir or os.environ.get("POINTSSL_CACHE") or "~/.cache/pointssl"
    return Path(path).expanduser().absolute()


def data_root(root: Path | None, what: str) -> Path:
    """``root``, else ``$POINTSSL_DATA``, else ``./data``; symbolic links are followed.

    Args:
        root: the folder that the user named, or None.
        what: name of the dataset, for the message.

    Raises:
        DataError: the folder does not exist, or is a file.
    """
    if root is not None:
        origin, folder = "--data-root", Path(root)
    elif os.environ.get("POINTSSL_DATA"):
        origin, folder = "$POINTSSL_DATA", Path(os.environ["POINTSSL_DATA"])
    else:
        origin, folder = "the default ./data", Path("data")
    folder = folder.expanduser()
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        raise DataError(
            f"{what}: {folder.absolute()} ({origin}) {state}. "
            "Name the folder of the dataset with --data-root or $POINTSSL_DATA."
        )
    return folder.resolve()


def find_layout(root: Path, fits: Callable[[Path], bool], what: str, layout: str) -> Path:
    """``root`` if it ``fits`` the layout, else the only folder directly below it that fits.

    Args:
        root: where to look.
        fits: whether a folder has the layout.
        what: name of the dataset, for the message.
        layout: description of the layout, for the message.

    Raises:
        DataError: no folder fits, or several do.
    """
    if fits(root):
        return root
    below = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and fits(folder)]
    if len(below) == 1:
        return below[0]
    if below:
        names = ", ".join(folder.name for folder in below)
        raise DataError(f"{what}: {root} contains several: {names}. Choose one with --data-root.")
    raise DataError(
        f"{what}: not found in {root} nor in a folder directly below it. Expected {layout}; "
        "name its folder with --data-root."
    )


def stat_key(paths: Iterable[Path], *more: str) -> str:
    """Hex digest of the paths, sizes and modification times of files, and of ``more`` strings.

    Raises:
        DataError: a file does not exist or can't be accessed.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            stat = path.stat()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    digest.update("\0".join(more).encode())
    return digest.hexdigest()
