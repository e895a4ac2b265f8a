"""Bar charts of a dataset's statistics: clouds per class, points per cloud, sizes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointssl.reports.figures.style import BLUE, GREEN, ORANGE, axes_grid, house_style, save_figure

TITLES = {"points": "points per cloud", "longest_side": "longest side, as stored"}


def statistics_figure(statistics: Mapping[str, Any], path: Path | str) -> None:
    """Draw bars of clouds per class and split, points per cloud, and longest sides.

    Args:
        statistics: as returned by :func:`pointssl_datasets.checking.statistics.summarise`.
        path: the PNG.

    Raises:
        UserError: matplotlib is missing, or ``path`` can't be written.
    """
    splits, classes = statistics["splits"], statistics["classes"]
    histograms = statistics["histograms"]
    varied = [key for key, h in histograms.items() if h["edges"][0] != h["edges"][-1]]
    heading = f"{statistics['dataset']}: " + ", ".join(
        f"{split['clouds']:,} {name}" for name, split in splits.items()
    )
    if "points" not in varied:
        heading += f"; {histograms['points']['median']:,} points each"
    panels = (["classes"] if classes else []) + (varied or ["points"])
    # With many classes, the histograms are stacked beside them.
    tall = len(classes) > 14
    layout = [["classes", key] for key in panels[1:]] if tall else [panels]
    with house_style():
        height = max(3.2, 0.16 * len(classes) + 1.1)
        figure, axes = axes_grid(4.3 * len(layout[0]), height, 1, 1)
        axes[0, 0].remove()
        places = figure.subplot_mosaic(layout)
        if classes:
            _class_bars(places["classes"], splits, classes)
        for key in panels[bool(classes) :]:
            _histogram(places[key], histograms[key], TITLES[key])
        figure.suptitle(_plain(heading), x=0.02, ha="left", fontsize=11, fontweight="bold")
        save_figure(figure, path)


def _plain(text: str, limit: int = 90) -> str:
    """Shorten a text, and escape the dollar, which would begin a formula."""
    return (text if len(text) <= limit else text[: limit - 1] + "…").replace("$", r"\$")


def _class_bars(place: Any, splits: Mapping[str, Any], classes: Sequence[str]) -> None:
    rows = np.arange(len(classes))
    left = np.zeros(len(classes))
    for (name, split), colour in zip(splits.items(), (BLUE, ORANGE, GREEN), strict=False):
        counts = np.array([split["classes"].get(c, 0) for c in classes], dtype=float)
        place.barh(rows, counts, left=left, color=colour, label=name, height=0.72)
        left += counts
    place.set_yticks(rows, [_plain(name, 22) for name in classes], fontsize=7.5)
    for row, total in zip(rows, left, strict=True):
        place.annotate(
            f"{total:,.0f}", (total, row), (3, 0), textcoords="offset points", va="center",
            fontsize=7, color="0.35",
        )  # fmt: skip
    place.set_ylim(max(len(classes), 4) - 0.4, -0.6)
    place.set_xlim(0, 1.12 * left.max())
    place.set_title("clouds per class", loc="left")
    place.spines["left"].set_visible(False)
    place.tick_params(axis="y", length=0)
    place.grid(visible=True, axis="x")
    place.set_axisbelow(True)
    place.locator_params(axis="x", nbins=5, integer=True)
    if len(splits) > 1:
        place.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=len(splits), fontsize=8, borderpad=0.2,
            handlelength=1, columnspacing=1,
        )  # fmt: skip


def _histogram(place: Any, histogram: Mapping[str, Any], title: str) -> None:
    edges, counts = np.array(histogram["edges"], dtype=float), histogram["counts"]
    place.set_title(title, loc="left")
    if edges[0] == edges[-1]:
        place.bar([f"{edges[0]:,g}"], counts, color=BLUE, width=0.35)
        place.set_xlim(-1, 1)
    else:
        widths = np.diff(edges)
        place.bar(
            edges[:-1], counts, widths, align="edge", color=BLUE, edgecolor="white", linewidth=0.6
        )
        place.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        place.locator_params(axis="x", nbins=5)
        place.axvline(histogram["median"], color="0.25", linewidth=1, linestyle=":")
        place.set_title(f"median {histogram['median']:,}", loc="right", fontsize=8, color="0.35")
    place.locator_params(axis="y", integer=True)
    place.set_ylabel("clouds")
    place.grid(visible=True, axis="y")
    place.set_axisbelow(True)
