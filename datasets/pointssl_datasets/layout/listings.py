"""Text files that list what belongs to a split, and what is said when the listed is not there."""

from collections.abc import Sequence
from pathlib import Path

from pointssl_datasets.base.errors import DataError

_NAMED = 5  # of what is missing; the rest is counted


def read_lines(path: Path, layout: str) -> list[str]:
    """The lines of a text file that are not blank, without white space around them.

    Args:
        path: the file.
        layout: what was expected of the folder, for the message.

    Raises:
        DataError: the file is missing, empty or no text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}. Expected {layout}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not a text file") from None
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise DataError(f"{path}: the file is empty. Expected {layout}.")
    return found


def require_files(paths: Sequence[Path], listing: Path, hint: str = "") -> None:
    """Every path is a file.

    Args:
        paths: what is listed.
        listing: the file that lists them, for the message.
        hint: ends the message.

    Raises:
        DataError: some are not there: how many, of how many, and the names of five.
    """
    absent = [path for path in paths if not path.is_file()]
    if absent:
        named = ", ".join(path.name for path in absent[:_NAMED])
        more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
        raise DataError(
            f"{listing}: {len(absent)} of the {len(paths)} files that it lists are missing: "
            f"{named}{more}. {hint or 'Complete the download.'}"
        )


def require_unique(names: Sequence[str], listing: Path) -> None:
    """No name twice.

    Raises:
        DataError: names the first that is.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{listing}: lists {name} twice. Download it again.")
        seen.add(name)
