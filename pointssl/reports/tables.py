"""Text tables of results."""

import textwrap
from collections.abc import Mapping, Sequence

WIDTH = 100  # characters of a report


def text_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)
) -> list[str]:
    """Lines: columns as wide as their widest cell, two spaces apart; those in ``left`` flush left.

    ``header`` and every row have the same number of cells.
    """
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def percent(mean: float | None, std: float | None = None) -> str:
    """``"93.1"``, ``"93.1 ± 0.2"``, or ``"-"`` for None; both are shares, in [0, 1]."""
    if mean is None:
        return "-"
    return f"{100 * mean:.1f}" + ("" if std is None else f" ± {100 * std:.1f}")


def short(text: str, width: int) -> str:
    """``text`` cut to ``width`` characters, the last three dots."""
    return text if len(text) <= width else text[: max(width - 3, 0)] + "..."


def owned(lines_of: Mapping[str, Sequence[str]]) -> list[str]:
    """Each line once; one that not all rows have begins with whose it is.

    Args:
        lines_of: row name -> its lines.
    """
    owners: dict[str, list[str]] = {}
    for name, lines in lines_of.items():
        for line in dict.fromkeys(lines):
            owners.setdefault(line, []).append(name)
    return [
        line if len(names) == len(lines_of) else f"{', '.join(names)}: {line}"
        for line, names in owners.items()
    ]


def remarks(lines: Sequence[str]) -> list[str]:
    """``- line`` for each line, wrapped."""
    return [
        part for line in lines for part in textwrap.wrap(f"- {line}", WIDTH, subsequent_indent="  ")
    ]
