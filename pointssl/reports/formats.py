"""Tables of one checkpoint's results as text, Markdown and LaTeX, from the same cells."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pointssl.reports.tables import remarks, text_table

LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    **{sign: "\\" + sign for sign in "&%$#_{}"},
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Cells of text.

    Attributes:
        title: what the table is about.
        header: of each column.
        rows: as many cells in each.
        left: columns of words.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[int] = (0,)


def as_text(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """For the terminal."""
    parts = [
        "\n".join([f"{table.title}:", *text_table(table.header, table.rows, left=table.left)])
        for table in tables
    ]
    return "\n\n".join([*parts, "\n".join(remarks(notes))])


def as_markdown(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """A heading and a table for each, then the notes as a list."""
    lines: list[str] = []
    for table in tables:
        rules = ["---" if i in table.left else "---:" for i in range(len(table.header))]
        lines += [f"## {_markdown(table.title)}", ""]
        for row in (table.header, rules, *table.rows):
            lines.append("| " + " | ".join(_markdown(cell) for cell in row) + " |")
        lines.append("")
    return "\n".join([*lines, *(f"- {_markdown(note)}" for note in notes), ""])


def _markdown(text: str) -> str:
    return re.sub(r"([|\\`*_<>\[\]])", r"\\\1", text)


def as_latex(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """A ``table`` for each, with its title as caption and no package needed; notes as comments.

    Comments, since what belongs to a caption is the author's choice.
    """
    parts = ["".join(f"% {note}\n" for note in notes)]
    for table in tables:
        columns = "".join("l" if i in table.left else "r" for i in range(len(table.header)))
        rows = [" & ".join(latex(cell) for cell in row) + r" \\" for row in table.rows]
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex(table.title)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\hline",
            " & ".join(latex(cell) for cell in table.header) + r" \\",
            r"\hline",
            *rows,
            r"\hline",
            r"\end{tabular}",
            r"\end{table}",
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def latex(text: str) -> str:
    """``text`` as LaTeX sets it: its special characters escaped."""
    return "".join(LATEX.get(character, character) for character in text)
