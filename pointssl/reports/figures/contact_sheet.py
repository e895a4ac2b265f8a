"""A contact sheet of a dataset: its clouds by class, with their pictures and parts."""

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.writing import whole_file

CELL = 168  # pixels, side of a picture on the sheet
GAP, MARGIN = 26, 40  # between groups, around everything
LINE = 20  # height of a line of text
COLUMNS = (8, 12)  # at least and at most, pictures in a line; groups flow into it
MOST_PARTS = 12  # in a legend
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
    """A group of pictures for each class, under its name and the colours of its parts.

    Args:
        cells: in the order of their classes: dicts with ``group`` (name of the class, may be
            empty), ``name``, ``picture (H, W, 4)`` uint8, ``image`` ((H, W, 3) uint8, or None)
            shown beside it, and ``parts``, the numbers of the parts that it has.
        path: the PNG.
        title, subtitle: above everything.
        parts, colours: names of all parts and their colours ``(P, 3)`` uint8.

    Raises:
        UserError: it can't be written, or there is nothing to draw.
    """
    if not cells:
        raise UserError(f"{path}: no clouds to draw")
    fonts = _fonts()
    groups = [(name, list(items)) for name, items in groupby(cells, lambda cell: cell["group"])]
    used = [sorted({part for cell in items for part in cell["parts"]}) for _, items in groups]
    # One legend for all where classes share parts, or there are no classes; else one per class.
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
    """Rows of (left, name, cells), in a number of columns that leaves few places empty, and in few
    rows."""
    low, high = (max(1, columns * CELL // step) for columns in COLUMNS)
    tried = [(columns, _wrapped(groups, columns, step)) for columns in range(low, high + 1)]
    return min(tried, key=lambda pair: (pair[0] + 1) * len(pair[1]))[1]


def _wrapped(groups: Sequence[tuple[str, list[Cell]]], columns: int, step: int) -> Rows:
    """Groups follow each other like words in a line; long ones are broken."""
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
    """Draws dots and names from ``at`` on, unless ``draw`` is None; how many lines that takes."""
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
    picture = Image.fromarray(pixels)
    if picture.mode == "RGBA":  # without its margin, but thin shapes stay thin
        left, top, right, bottom = picture.getbbox() or (0, 0, *picture.size)
        half = max(1.06 * (right - left), 1.06 * (bottom - top), 0.6 * picture.width) / 2
        x, y = (left + right) / 2, (top + bottom) / 2
        picture = picture.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    side = CELL - 12
    scale = min(side / picture.width, side / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    place = (at[0] + (side - size[0]) // 2, at[1] + (side - size[1]) // 2)
    sheet.paste(picture, place, picture if picture.mode == "RGBA" else None)


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """``text``, or as much of its beginning as fits."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _fonts() -> dict[str, ImageFont.FreeTypeFont]:
    """DejaVu Sans, which comes with matplotlib."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    sizes = {"title": ("-Bold", 23), "text": ("", 14), "class": ("-Bold", 14), "small": ("", 11)}
    return {
        use: ImageFont.truetype(str(folder / f"DejaVuSans{style}.ttf"), size)
        for use, (style, size) in sizes.items()
    }
