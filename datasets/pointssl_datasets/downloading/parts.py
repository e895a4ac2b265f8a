"""What has arrived of a file, and a note of what it is."""

import json
from pathlib import Path
from typing import Any


def note_of(part: Path) -> Path:
    """Beside the file: where it comes from, and what tells whether that has changed."""
    return part.with_name(part.name + ".json")


def read_note(part: Path) -> dict[str, Any]:
    """Empty if there is none."""
    try:
        noted = json.loads(note_of(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def forget(part: Path) -> None:
    """The file and its note."""
    part.unlink(missing_ok=True)
    note_of(part).unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0
