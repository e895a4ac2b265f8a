"""Text files that list the files of a split, and errors for listed files that do not exist."""

from collections.abc import Sequence
from pathlib import Path

from pointssl_datasets.base.errors import DataError

_EXAMPLES = 5  # names of missing files in a message; the rest is counted


def read_lines(path: Path, layout: str) -> list[str]:
    """The lines of a text file that are not blank, stripped.

    Args:
        path: the file.
        layout: the expected layout of the folder, for the message.

    Raises:
        DataError: the file is missing, empty or not text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}. Expected {layout}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not a text file") from None
    filled = [line.strip() for line in lines if line.strip()]
    if not filled:
        raise DataError(f"{path}: the file is empty. Expected {layout}.")
    return filled


def require_files(paths: Sequence[Path], listing: Path, hint: str = "") -> None:
    """Checks that every path is a file.

    Args:
        paths: the listed files.
        listing: the file that lists them, for the message.
        hint: end of the message.

    Raises:
        DataError: some are missing; the message has their number and up to five names.
    """
    absent = [path for path in paths if not path.is_file()]
    if absent:
        examples = ", ".join(path.name for path in absent[:_EXAMPLES])
        more = f" and {len(absent) - _EXAMPLES} more" if len(absent) > _EXAMPLES else ""
        raise DataError(
            f"{listing}: {len(absent)} of the {len(paths)} files that it lists are missing: "
            f"{examples}{more}. {hint or 'Complete the download.'}"
        )


def require_unique(names: Sequence[str], listing: Path) -> None:
    """Checks that no name occurs twice.

    Raises:
        DataError: one does; the message has the first.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{listing}: lists {name} twice. Download it again.")
        seen.add(name)
