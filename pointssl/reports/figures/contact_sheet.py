"""A contact sheet of a dataset: its clouds by class, with their images and parts."""

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.writing import whole_file

CELL = 168  # pixels per side of a render on the sheet
GAP, MARGIN = 26, 40  # between groups, around the sheet
LINE = 20  # height of a line of text
COLUMNS = (8, 12)  # minimum and maximum number of renders per line, over all its groups
MOST_PARTS = 12  # maximum number of entries in a legend
INK, SOFT, RULE = (27, 36, 48), (104, 114, 128), (223, 227, 233)

Cell = Mapping[str, Any]


def contact_sheet(
    cells: Sequence[Cell],
    path: Path | str,
    *,
    title: str,
    subtitle: str,
    parts: Sequence[str] = (),
    colours: NDArray[np.uint8] | None = None,
) -> None:
    """Draw a group of clouds for each class, below its name and the colours of its parts.

    Args:
        cells: sorted by class: dicts with ``group`` (name of the class, may be empty), ``name``,
            ``picture``, the rendered cloud ``(H, W, 4)`` uint8, ``image`` ((H, W, 3) uint8, or
            None), the dataset's image, shown beside it, and ``parts``, the numbers of its parts.
        path: the PNG.
        title, subtitle: heading of the sheet.
        parts, colours: names of all parts and their colours ``(P, 3)`` uint8.

    Raises:
        UserError: the file can't be written, or there is nothing to draw.
    """
    if not cells:
        raise UserError(f"{path}: no clouds to draw")
    fonts = _fonts()
    groups = [(name, list(items)) for name, items in groupby(cells, lambda cell: cell["group"])]
    used = [sorted({part for cell in items for part in cell["parts"]}) for _, items in groups]
    # One legend for all if classes share parts or there are no classes; else one per class.
    shared = len(groups) == 1 or any(set(a) & set(b) for a, b in pairwise(used))
    double = any(cell["image"] is not None for cell in cells)
    step = 2 * CELL if double else CELL
    rows = _flow(groups, step)
    spans = [x + len(items) * step for row in rows for x, _, items in row]
    width = max(900, max(spans) + 2 * MARGIN)
    part_names = [name.rpartition("/")[2] for name in parts]

    def entries(numbers: Sequence[int]) -> list[tuple[str, tuple[int, ...]]]:
        known = [n for n in numbers if colours is not None and 0 <= n < len(part_names)]
        if len(known) > MOST_PARTS and not shared:
            return []
        return [(part_names[n], tuple(colours[n].tolist())) for n in known]  # type: ignore[index]

    everything = entries(sorted(set().union(*used))) if shared else []
    if len(everything) > 4 * MOST_PARTS:
        everything = []
    own = {name: entries(has) for (name, _), has in zip(groups, used, strict=True) if not shared}
    top_lines = _legend(None, everything, (MARGIN, 0), width - 2 * MARGIN, fonts)
    top = MARGIN + 62 + top_lines * LINE
    heads = []  # height of each row's headings
    for row in rows:
        lines = [
            _legend(None, own.get(name, []), (0, 0), len(items) * step, fonts)
            for _, name, items in row
        ]
        heads.append(LINE * max(lines) + (28 if any(name for _, name, _ in row) else 8))
    height = top + sum(heads) + len(rows) * (CELL + LINE + GAP) + MARGIN - GAP

    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN - 8), title, INK, fonts["title"])
    draw.text((MARGIN, MARGIN + 24), subtitle, SOFT, fonts["text"])
    _legend(draw, everything, (MARGIN, MARGIN + 54), width - 2 * MARGIN, fonts)
    y = top
    for row, head in zip(rows, heads, strict=True):
        for left, name, items in row:
            x, span = MARGIN + left, len(items) * step
            draw.line((x, y, x + span - 14, y), RULE)
            draw.text((x, y + 6), _fitted(name, fonts["class"], span - 14), INK, fonts["class"])
            _legend(draw, own.get(name, []), (x, y + 28), span, fonts)
            for i, cell in enumerate(items):
                _paste(sheet, cell["picture"], (x + i * step, y + head))
                if cell["image"] is not None:
                    _paste(sheet, cell["image"], (x + i * step + CELL, y + head))
                text = _fitted(cell["name"], fonts["small"], step - 16)
                draw.text((x + i * step + 2, y + head + CELL), text, SOFT, fonts["small"])
        y += head + CELL + LINE + GAP
    with whole_file(Path(path)) as part:
        sheet.save(part, format="PNG", optimize=True)


Rows = list[list[tuple[int, str, list[Cell]]]]


def _flow(groups: Sequence[tuple[str, list[Cell]]], step: int) -> Rows:
    """Arrange groups in rows of (left, name, cells), with a number of columns that needs little
    area."""
    low, high = (max(1, columns * CELL // step) for columns in COLUMNS)
    tried = [(columns, _wrapped(groups, columns, step)) for columns in range(low, high + 1)]
    return min(tried, key=lambda pair: (pair[0] + 1) * len(pair[1]))[1]


def _wrapped(groups: Sequence[tuple[str, list[Cell]]], columns: int, step: int) -> Rows:
    """Arrange groups in rows like words in lines; long groups are split."""
    rows: Rows = [[]]
    left, taken = 0, 0
    for name, items in groups:
        for start in range(0, len(items), columns):
            piece = items[start : start + columns]
            if taken and taken + len(piece) > columns:
                rows.append([])
                left, taken = 0, 0
            rows[-1].append((left, name, piece))
            left += len(piece) * step + GAP
            taken += len(piece)
    return rows


def _legend(
    draw: ImageDraw.ImageDraw | None,
    entries: Sequence[tuple[str, tuple[int, ...]]],
    at: tuple[int, int],
    width: int,
    fonts: Mapping[str, ImageFont.FreeTypeFont],
) -> int:
    """Draw dots and names at ``at``, unless ``draw`` is None; return the number of lines."""
    x, y, lines = at[0], at[1], 1 if entries else 0
    for name, colour in entries:
        need = round(fonts["small"].getlength(name)) + 24
        if x > at[0] and x + need > at[0] + width:
            x, y, lines = at[0], y + LINE, lines + 1
        if draw is not None:
            draw.ellipse((x, y + 3, x + 9, y + 12), fill=colour)
            draw.text((x + 13, y), name, SOFT, fonts["small"])
        x += need
    return lines


def _paste(sheet: Image.Image, pixels: NDArray[np.uint8], at: tuple[int, int]) -> None:
    image = Image.fromarray(pixels)
    if image.mode == "RGBA":  # crop the margin, but do not enlarge thin shapes too much
        left, top, right, bottom = image.getbbox() or (0, 0, *image.size)
        half = max(1.06 * (right - left), 1.06 * (bottom - top), 0.6 * image.width) / 2
        x, y = (left + right) / 2, (top + bottom) / 2
        image = image.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    side = CELL - 12
    scale = min(side / image.width, side / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.LANCZOS)
    place = (at[0] + (side - size[0]) // 2, at[1] + (side - size[1]) // 2)
    sheet.paste(image, place, image if image.mode == "RGBA" else None)


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Truncate ``text`` to this width in pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _fonts() -> dict[str, ImageFont.FreeTypeFont]:
    """Load DejaVu Sans, which matplotlib includes."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    sizes = {"title": ("-Bold", 23), "text": ("", 14), "class": ("-Bold", 14), "small": ("", 11)}
    return {
        use: ImageFont.truetype(str(folder / f"DejaVuSans{style}.ttf"), size)
        for use, (style, size) in sizes.items()
    }
