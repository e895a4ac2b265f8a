"""Docstrings as the manual shows them: their reStructuredText marks become Markdown.

mkdocstrings loads this as an extension of griffe (see ``mkdocs.yml``). ``:func:`pointssl.x.y``` is
a link where the manual has that object, and code elsewhere. A paragraph that ends in ``::`` opens
a block of code. ``a, b: text`` in a list of arguments is one entry each.
"""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|mod|meth|data|attr|math):`(~?)([^`]+)`")
BLOCK = re.compile(r"^([ ]*)(.*)::\n\n((?:\1[ ]{4}.*\n|[ ]*\n)+)", re.M)
SEVERAL = re.compile(r"^([ ]+)(\w+(?:, \w+)+):(.*\n(?:\1[ ]+.*\n)*)", re.M)


def markdown(text: str) -> str:
    """A docstring with its roles, its ``::`` blocks and its joint arguments in Markdown."""
    text = BLOCK.sub(_fence, text + "\n")
    text = SEVERAL.sub(_one_each, text)
    return ROLE.sub(_link, text).rstrip("\n")


def _link(match: re.Match[str]) -> str:
    short, name = match.groups()
    shown = name.rpartition(".")[2] if short else name
    if not name.startswith("pointssl"):
        return f"`{shown}`"
    return f'<autoref identifier="{name}" optional><code>{shown}</code></autoref>'


def _fence(match: re.Match[str]) -> str:
    indent, before, code = match.groups()
    lead = f"{indent}{before}:\n\n" if before else ""
    body = re.sub(rf"^{indent}[ ]{{4}}", indent, code.rstrip("\n"), flags=re.M)
    kind = "python" if re.search(r"^\s*(from|import) |\w\(", body, re.M) else "text"
    return f"{lead}{indent}```{kind}\n{body}\n{indent}```\n\n"


def _one_each(match: re.Match[str]) -> str:
    indent, names, text = match.groups()
    return "".join(f"{indent}{name}:{text}" for name in names.split(", "))


class Docstrings(griffe.Extension):
    """Translates every docstring that griffe finds."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)
