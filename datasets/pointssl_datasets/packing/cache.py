"""Folders of the cache, built once: never half written, never twice by processes that race."""

import contextlib
import errno
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.locking import Busy, Lock

HOST = re.sub(r"[^A-Za-z0-9]", "_", platform.node())[:40]
WEEK = 7 * 24 * 3600.0


def built_folder(folder: Path, write: Callable[[Path], None]) -> Path:
    """``folder``, after ``write(temporary folder)`` has filled it if it did not exist.

    ``write`` works in a temporary folder beside, which is renamed when complete. A lock file makes
    processes that start together wait for the first, also those on other machines where the file
    system can lock over the network; where it can't, each does the work and the first to finish
    wins. Temporary folders of killed processes are removed.

    Raises:
        DataError: the cache can't be written (permission, full disk, a file in the way).
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder.with_name(folder.name + ".lock")) as held:
            if folder.is_dir():  # another process finished it while we waited
                return folder
            if held:
                _sweep(folder)
            temporary = folder.with_name(f"{folder.name}.tmp-{HOST}-{uuid.uuid4().hex[:8]}")
            try:  # an interrupt between making the folder and filling it must not leave it
                temporary.mkdir()
                write(temporary)
                _rename(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"cannot write the cache {folder.parent}: {error.strerror or error}. "
            "Name a folder with space where you may write: --cache-dir or $POINTSSL_CACHE."
        ) from None
    return folder


def _rename(temporary: Path, folder: Path) -> None:
    try:
        os.rename(temporary, folder)
    except OSError as error:
        finished_elsewhere = error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES)
        if not (finished_elsewhere and folder.is_dir()):
            raise


@contextlib.contextmanager
def _lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Holds an exclusive lock while the block runs; yields whether it was really obtained."""
    try:
        lock = Lock(path, wait=wait)
    except Busy:
        yield False
        return
    try:
        yield lock.held
    finally:
        lock.release()


def _is_old(folder: Path) -> bool:
    """Nothing in it was written for a week."""
    try:
        newest = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except OSError:  # somebody is at work there
        return False
    return time.time() - newest > WEEK


def _sweep(folder: Path) -> None:
    """Removes temporary folders whose builder died, i.e. no longer holds its lock.

    The caller holds the lock of ``folder``, so what is left of ``folder`` itself is dead too. A
    lock may not be seen from another machine, so what others left stays until it is a week old.
    """
    for temporary in folder.parent.glob("*.tmp-*"):
        built, _, owner = temporary.name.rpartition(".tmp-")
        if not owner.startswith(f"{HOST}-") and not _is_old(temporary):
            continue
        if built == folder.name:
            shutil.rmtree(temporary, ignore_errors=True)
            continue
        with _lock(temporary.with_name(built + ".lock"), wait=False) as dead:
            if dead:
                shutil.rmtree(temporary, ignore_errors=True)
