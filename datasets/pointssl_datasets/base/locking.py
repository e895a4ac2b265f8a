"""Locks between processes. The system releases them when their process ends, however it ends."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout


class Busy(Exception):
    """Another process holds the lock."""


class Lock:
    """A lock that this process holds, or would hold if the file system could lock.

    Args:
        path: of the lock file; its folder is made if need be.
        wait: until it is free.

    Attributes:
        held: whether there is a lock: some network file systems have none, and in some folders one
            may not write.

    Raises:
        Busy: another process holds it, and ``wait`` is False.
        FileNotFoundError: somebody removed the folder at this very moment.
    """

    def __init__(self, path: Path, *, wait: bool) -> None:
        self.path = path
        # A soft lock would be left by a process that is killed, and stop all that follow.
        self._lock = FileLock(path, thread_local=False, fallback_to_soft=False)
        self.held = True
        try:
            self._lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            raise Busy(str(path)) from None
        except FileNotFoundError:
            raise
        except OSError:
            self.held = False

    def release(self, *, remove: bool = False) -> None:
        """Let others have it; the file stays unless it is to be removed."""
        if remove:  # first: whoever then gets a lock on a file that is gone tries again
            with contextlib.suppress(OSError):
                self.path.unlink()
        if self.held:
            self._lock.release()
            self.held = False


@contextlib.contextmanager
def locked(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Makes ``folder`` and holds the lock on it; ``say`` is told if one has to wait.

    The lock file is beside the folder, which may therefore be removed or renamed meanwhile, and is
    gone at the end.
    """
    path = folder.with_name(f".{folder.name}.lock")
    while True:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock = Lock(path, wait=False)
            except Busy:
                say(f"another process is at work in {folder}: waiting for it")
                lock = Lock(path, wait=True)
            break
        except FileNotFoundError:  # another process, which is done, just removed the parent
            continue
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        lock.release(remove=True)
