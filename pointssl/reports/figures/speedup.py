"""Bar chart of speed-ups over the textbook implementations, with goals."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointssl.config.tools import SECTIONS
from pointssl.reports.figures.style import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    axes_grid,
    house_style,
    save_figure,
)

COLOURS = dict(zip(SECTIONS, (BLUE, ORANGE, GREEN, SKY, PURPLE), strict=True))


def ratios_figure(rows: Sequence[dict[str, Any]], title: str, path: Path | str) -> None:
    """Draw a bar for each row with a ratio, its quartiles, and a mark at its goal.

    Args:
        rows: as returned by :func:`pointssl.benchmarks.measuring.measure`.
        title: description of the machine.
        path: the PNG.

    Raises:
        UserError: matplotlib is missing, or ``path`` can't be written.
    """
    shown = [row for row in rows if "ratio" in row]
    with house_style():
        figure, axes = axes_grid(7.6, 1.1 + 0.27 * max(len(shown), 3), 1, 1)
        axis = axes[0, 0]
        for place, row in enumerate(shown):
            ratio, (low, high) = row["ratio"], row["ratio_quartiles"]
            axis.barh(place, ratio - 1, 0.68, left=1, color=COLOURS[row["section"]])
            axis.plot([low, high], [place, place], color="0.2", linewidth=1)
            goal = row["goal"]
            if goal is not None:
                axis.plot([goal, goal], [place - 0.42, place + 0.42], color="black", linewidth=2)
            axis.annotate(
                f"{ratio:.1f}x", (max(ratio, high, goal or 0, 1), place), (5, 0), va="center",
                textcoords="offset points", fontsize=7.5, color="0.25",
            )  # fmt: skip
        axis.set_xscale("log")
        ends = [
            x for row in shown for x in (row["ratio"], *row["ratio_quartiles"], row["goal"] or 1)
        ]
        axis.set_xlim(min(0.8, 0.8 * min(ends, default=1)), max(4.0, 1.7 * max(ends, default=1)))
        ticks = (0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
        low, high = axis.get_xlim()
        axis.set_xticks([x for x in ticks if low <= x <= high])
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
        axis.xaxis.set_minor_locator(_none())
        axis.axvline(1, color="0.35", linewidth=0.8)
        axis.set_yticks(np.arange(len(shown)), [row["case"] for row in shown], fontsize=8)
        axis.set_ylim(len(shown) - 0.4, -0.6)
        axis.tick_params(axis="y", length=0)
        axis.tick_params(axis="x", labelsize=8)
        axis.spines["left"].set_visible(False)
        axis.grid(visible=True, axis="x")
        axis.set_axisbelow(True)
        axis.set_title(
            "Speed-up over the textbook implementation", loc="left", fontweight="bold", pad=20
        )
        axis.annotate(
            title.replace("$", r"\$"), (0, 1), (0, 7), xycoords="axes fraction",
            textcoords="offset points", fontsize=7.5, color="0.45",
        )  # fmt: skip
        note = "thin line: quartiles" + (
            "; black mark: goal" if any(row["goal"] for row in shown) else ""
        )
        axis.set_xlabel(note, fontsize=7.5, color="0.45", loc="left")
        save_figure(figure, path)


def _none() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()
