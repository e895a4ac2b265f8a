"""Partial downloads, and the metadata that is stored beside each."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def metadata_path(part: Path) -> Path:
    """The file with the address of a download, and a validator that changes with the content."""
    return part.with_name(part.name + ".json")


def read_metadata(part: Path) -> dict[str, Any]:
    """The metadata of a download; empty if there is none."""
    try:
        metadata = json.loads(metadata_path(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def write_metadata(part: Path, metadata: Mapping[str, Any]) -> None:
    """Stores the metadata of a download."""
    metadata_path(part).write_text(json.dumps(metadata), encoding="utf-8")


def remove(part: Path) -> None:
    """Removes a download and its metadata."""
    part.unlink(missing_ok=True)
    metadata_path(part).unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Size of a file in bytes; 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0
