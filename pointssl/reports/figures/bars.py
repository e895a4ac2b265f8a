"""Bar charts that compare encoders: a group for each metric, a bar for each encoder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pointssl.reports.figures.style import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    axes_grid,
    house_style,
    save_figure,
)

COLOURS = (BLUE, ORANGE, GREEN, RED)
Bar = tuple[float, float | None]


def bars_figure(
    groups: Sequence[str],
    series: Mapping[str, Sequence[Bar]],
    title: str,
    note: str,
    path: Path | str,
) -> None:
    """Draw a bar of each series in each group, with its interval and its value in percent.

    Args:
        groups: names below the axis.
        series: name -> for each group, the value and the half-width of its interval or None, both
            in [0, 1].
        title: title of the figure.
        note: text below the axis that explains the intervals.
        path: the PNG.

    Raises:
        UserError: matplotlib is missing, or ``path`` can't be written.
    """
    places = np.arange(len(groups), dtype=float)
    width = 0.8 / max(len(series), 1)
    with house_style():
        each = 0.35 + 0.42 * max(len(series), 1)
        figure, axes = axes_grid(max(4.2, 0.6 + each * len(groups)), 3.4, 1, 1)
        axis = axes[0, 0]
        for number, (name, bars) in enumerate(series.items()):
            x = places + (number - (len(series) - 1) / 2) * width
            heights = np.array([100 * value for value, _ in bars])
            halves = np.array([100 * (half or 0.0) for _, half in bars])
            axis.bar(x, heights, 0.9 * width, color=COLOURS[number % len(COLOURS)], label=name)
            known = halves > 0
            axis.errorbar(
                x[known], heights[known], halves[known], fmt="none", ecolor="0.2", elinewidth=1,
                capsize=3,
            )  # fmt: skip
            for spot, height, half in zip(x, heights, halves, strict=True):
                axis.annotate(
                    f"{height:.1f}", (spot, max(height + half, 0)), (0, 3), ha="center",
                    textcoords="offset points", fontsize=7.5, color="0.25",
                )  # fmt: skip
        lowest = min(0.0, *(100 * value for bars in series.values() for value, _ in bars))
        axis.set_ylim(lowest, 108)
        axis.set_yticks(range(0, 101, 20))
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0f}%")
        axis.set_xticks(places, groups)
        axis.tick_params(axis="x", length=0)
        axis.set_xlim(-0.6, len(groups) - 0.4)
        axis.grid(visible=True, axis="y")
        axis.set_axisbelow(True)
        axis.set_title(title.replace("$", r"\$"), loc="left", pad=22 if len(series) > 1 else 8)
        axis.set_xlabel(note, fontsize=7.5, color="0.45", loc="left")
        if len(series) > 1:
            axis.legend(
                loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=len(series), borderpad=0,
                fontsize=8, handlelength=1, columnspacing=1.2,
            )  # fmt: skip
        save_figure(figure, path)
