"""The folder of a run: what it was asked to do, where it ran, what came out."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pointssl.config.options import Options, to_dict, to_yaml
from pointssl.runs.environment import Process, environment
from pointssl_datasets.base.errors import UsageError, UserError
from pointssl_datasets.base.locking import Busy, Lock
from pointssl_datasets.base.writing import write_json, write_text

CONFIG, ENVIRONMENT, RESULTS = "config.yaml", "environment.json", "results.json"
LOCK = ".lock"


class RunFolder:
    """What every command that writes results leaves: ``config.yaml``, ``environment.json`` and
    ``results.json``.

    Make it before anything is computed, so that a folder that can't be one is refused at once. A
    command that leaves files as it goes calls :meth:`start`, and at the end :meth:`write_results`;
    others call :meth:`finish`. Rank 0 alone writes: on the others the methods do nothing.

    Args:
        path: of the folder.
        config: the options of the command.
        process: among all that work together, e.g. a ``World``.
        flag: by which the folder is named, for messages.

    Raises:
        UserError: there is a file of that name.
    """

    def __init__(
        self, path: Path, config: Options, process: Process, *, flag: str = "--out"
    ) -> None:
        self.path, self.config, self.process, self.flag = path, config, process, flag
        if path.exists() and not path.is_dir():
            raise UserError(f"{flag} {path} is a file: name a folder")

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Keeps other processes out meanwhile, as two runs in one folder would overwrite each
        other's checkpoints. Where the file system can't lock, nobody is kept out.

        Raises:
            UsageError: another process is at work there.
        """
        lock = self._lock() if self.process.is_main else None
        try:
            yield
        finally:
            if lock is not None:
                lock.release(remove=True)

    def _lock(self) -> Lock | None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return Lock(self.path / LOCK, wait=False)
        except Busy:
            raise UsageError(
                f"another process is training in {self.path}: wait for it, or give another "
                f"{self.flag}"
            ) from None
        except OSError:
            return None  # the first file to be written says why

    def start(self) -> None:
        """Write ``config.yaml`` and ``environment.json``.

        Raises:
            UserError: the folder can't be written.
        """
        if self.process.is_main:
            write_text(self.path / CONFIG, to_yaml(self.config))
            write_json(self.path / ENVIRONMENT, environment(self.process))

    def write_results(self, results: Any) -> Path:
        """Write ``results.json``, which also holds the options; returns its path.

        Args:
            results: plain values.

        Raises:
            UserError: it can't be written.
        """
        return self.write_json(RESULTS, {"config": to_dict(self.config), "results": results})

    def finish(self, results: Any) -> Path:
        """All three files of a command that leaves nothing before its end; returns the path of
        ``results.json``. What an earlier command left there is replaced as a whole.

        Raises:
            UserError: they can't be written.
        """
        path = self.write_results(results)
        self.start()
        return path

    def write_json(self, name: str, values: Any) -> Path:
        """Write a file of plain values into the folder; returns its path."""
        path = self.path / name
        if self.process.is_main:
            write_json(path, values)
        return path
