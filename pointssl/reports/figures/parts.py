"""Figures of part segmentation: prediction, truth and errors, and bars by category."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointssl.reports.figures.style import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    axes_grid,
    house_style,
    save_figure,
)
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.rendering.clouds import render_views
from pointssl_datasets.viewer import part_colours

Ints = NDArray[np.int64]
Shape = tuple[str, NDArray[np.float32], Ints, Ints]
SIDE = 260  # pixels per side of a rendered shape
COLUMNS = 4  # shapes per row
RIGHT, WRONG = (0.80, 0.83, 0.86), (0.80, 0.20, 0.12)


def parts_sheet(shapes: Sequence[Shape], parts: Sequence[str], path: Path | str) -> None:
    """Draw each shape three times: as predicted, as labelled, and with errors in red.

    Args:
        shapes: ``(title, xyz (N, 3) y-up, predicted (N,), true (N,))``.
        parts: names of the parts, indexed by the labels.
        path: the PNG.

    Raises:
        UsageError: no shapes.
        UserError: matplotlib is missing, or ``path`` can't be written.
    """
    if not shapes:
        raise UsageError("part sheet: no shapes to draw")
    palette = 0.15 + 0.85 * part_colours(parts) / 255  # lighter, as shading darkens them
    columns = min(COLUMNS, len(shapes))
    rows = -(-len(shapes) // columns)
    with house_style():
        figure, axes = axes_grid(3.6 * columns, 1.7 * rows + 0.4, rows, columns)
        figure.suptitle(
            "each shape as predicted, as labelled, and in red where the two differ",
            x=0.01, ha="left", fontsize=8, color="0.4",
        )  # fmt: skip
        for place in axes.flat:
            place.set_axis_off()
        for place, (title, xyz, predicted, truth) in zip(axes.flat, shapes, strict=False):
            wrong = predicted != truth
            colourings = palette[predicted], palette[truth], np.where(wrong[:, None], WRONG, RIGHT)
            renders = [render_on_white(xyz, colours) for colours in colourings]
            place.imshow(np.concatenate(renders, axis=1), interpolation="antialiased")
            share = 100 * wrong.mean()
            place.set_title(
                f"{title}   {share:.1f}% of the points wrong", loc="left", fontsize=8, pad=2
            )
            left = 0.0
            for part in np.union1d(predicted, truth).tolist():
                name = parts[part].rpartition("/")[2]
                place.plot(left + 8, SIDE + 16, "o", color=palette[part], markersize=4)
                place.text(left + 20, SIDE + 16, name, va="center", fontsize=6.5, color="0.3")
                left += 38 + 13 * len(name)
            place.set_xlim(0, 3 * SIDE)
            place.set_ylim(SIDE + 30, 0)
        save_figure(figure, path)


def render_on_white(xyz: NDArray[np.float32], colours: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Render one view of a cloud on white, ``(SIDE, SIDE, 3)``."""
    image = render_views(xyz, None, colours=colours, views=1, size=SIDE, seed=0)[0]
    alpha = image[..., 3:] / 255.0
    return np.rint(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def category_bars(
    series: Mapping[str, Sequence[tuple[str, float | None]]], title: str, path: Path | str
) -> None:
    """Draw a bar with its value for each category and series.

    Args:
        series: name (empty if there is only one) -> ``(category, share in [0, 1] or None)``.
        title: title of the figure.
        path: the PNG.

    Raises:
        UserError: matplotlib is missing, or ``path`` can't be written.
    """
    names = [name for name, _ in next(iter(series.values()))]
    thick = 0.8 / len(series)
    with house_style():
        figure, axes = axes_grid(5.6, 0.24 * len(names) * max(1, len(series) / 2) + 0.9, 1, 1)
        place = axes[0, 0]
        for number, (name, rows) in enumerate(series.items()):
            colour = (BLUE, ORANGE, GREEN, RED)[number % 4]
            heights = [100 * (value or 0.0) for _, value in rows]
            spots = np.arange(len(names)) + (number - (len(series) - 1) / 2) * thick
            place.barh(spots, heights, height=0.9 * thick, color=colour, label=name)
            for spot, (_, value) in zip(spots, rows, strict=True):
                text = "none in test" if value is None else f"{100 * value:.1f}"
                place.text(100 * (value or 0.0) + 0.8, spot, text, va="center", fontsize=7)
        place.set_yticks(range(len(names)), names)
        place.invert_yaxis()
        place.set_xlim(0, 108)
        place.set_xticks(range(0, 101, 20), [f"{share}%" for share in range(0, 101, 20)])
        place.tick_params(axis="y", length=0)
        place.grid(visible=True, axis="x")
        place.set_axisbelow(True)
        place.set_title(title, loc="left")
        if len(series) > 1:
            place.legend(loc="lower right", fontsize=8)
        save_figure(figure, path)
