"""Files that are whole or not there: whatever this project writes is written here."""

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pointssl_datasets.base.errors import UserError


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; renamed at the end, removed after an error.

    The folder is made if need be.

    Raises:
        UserError: it can't be written there, or the disk is full; ``path`` is left as it was.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"could not write {path}: {error.strerror or error}. Name a place where you may write "
            "and that has space; what was there before is untouched."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Fills ``path`` by ``write(file)`` and has it on the disk before it returns; raises as
    :func:`whole_file`."""
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        try:
            write(file)
        except RuntimeError as error:  # torch reports a full disk so
            raise OSError(str(error).splitlines()[0]) from None
        file.flush()
        os.fsync(file.fileno())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes ``content``; raises as :func:`whole_file`."""
    write_file(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """Writes a text file as UTF-8, with the line ends of ``text``; raises as :func:`whole_file`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, values: Any) -> None:
    """Writes plain values as JSON; raises as :func:`whole_file`."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """What :func:`write_json` wrote.

    Raises:
        UserError: it can't be read, or somebody damaged it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}): delete it") from None
