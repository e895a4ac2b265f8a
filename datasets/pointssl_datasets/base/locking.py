"""A folder in which one process works at a time."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: two processes at once may then do the work twice
    fcntl = None  # type: ignore[assignment]

_LOCKS = fcntl is not None


@contextlib.contextmanager
def locked(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Holds a lock on ``folder``, which is made if need be; ``say`` is told if one has to wait."""
    handle = _lock(folder, say)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)  # releases it, and so does the death of the process


def _lock(folder: Path, say: Callable[[str], None]) -> int | None:
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not _LOCKS:
                return None
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # another process, which is done, just removed it or its parent
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is at work in {folder}: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # some network file systems can't lock
            os.close(handle)
            return None
        # The other one may have removed the folder: then this is a lock on nothing.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(folder).st_ino == os.fstat(handle).st_ino:
                return handle
        os.close(handle)
