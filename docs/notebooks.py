"""Notebooks in the manual: `{{ notebook: examples/x.ipynb }}` in a page becomes its cells.

mkdocs calls this as a hook (see ``mkdocs.yml``). Text is shown as it is, code as code, and outputs
as the notebook has saved them: printed lines, and figures.
"""

import json
import re
from pathlib import Path
from typing import Any

MARK = re.compile(r"^\{\{ notebook: (\S+) \}\}$", re.M)


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """The page with its notebooks in place of their marks."""
    folder = Path(config["docs_dir"])
    return MARK.sub(lambda match: _cells(folder / match[1]), markdown)


def _cells(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _parts(cell))


def _parts(cell: dict[str, Any]) -> list[str]:
    """Markdown of one cell and of its outputs."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    parts = [f"```python\n{source}\n```"]
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            printed = "".join(output["text"]).rstrip()
            parts.append(f"```text\n{printed}\n```")
        image = "".join(output.get("data", {}).get("image/png", "")).strip()
        if image:
            parts.append(f"![output of the cell above](data:image/png;base64,{image})")
    return parts
