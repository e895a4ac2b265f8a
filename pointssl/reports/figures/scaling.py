"""Line charts of how throughput and memory scale, for both sides of a benchmark."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pointssl.reports.figures.style import BLUE, RED, axes_grid, house_style, save_figure

COLOURS = {"textbook": RED, "ours": BLUE}
TITLES = {"points": "points per cloud", "clouds": "clouds per process", "processes": "processes"}
MEASURES = {"clouds_per_second": "clouds/s", "memory": "MB added by a step"}


def scale_figure(rows: Sequence[dict[str, Any]], title: str, path: Path | str) -> None:
    """Draw two panels for each axis that grows, with a cross where a side exceeded its limit.

    Raises:
        UserError: matplotlib is missing, or ``path`` can't be written.
    """
    from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

    names = list(dict.fromkeys(row["axis"] for row in rows))
    with house_style():
        figure, axes = axes_grid(3.1 * len(names), 5.2, len(MEASURES), len(names))
        for column, name in enumerate(names):
            for panel, (measure, label) in zip(axes[:, column], MEASURES.items(), strict=True):
                for side, colour in COLOURS.items():
                    line = [r for r in rows if r["axis"] == name and r["side"] == side]
                    known = [r for r in line if measure in r]
                    panel.plot(
                        [r[name] for r in known], [r[measure] for r in known], "o-", color=colour,
                        markersize=4, label=side,
                    )  # fmt: skip
                    beyond = [r for r in line if measure not in r]
                    if known and beyond:
                        panel.plot(
                            beyond[0][name], known[-1][measure], "x", color=colour, markersize=7,
                            markeredgewidth=2,
                        )  # fmt: skip
                values = sorted({r[name] for r in rows if r["axis"] == name})
                panel.set_xscale("log", base=2)
                panel.set_yscale("log")
                panel.xaxis.set_major_locator(FixedLocator(values))
                panel.xaxis.set_minor_locator(NullLocator())
                panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
                panel.set_xlim(values[0] / 1.3, values[-1] * 1.3)
                panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
                panel.yaxis.set_minor_formatter(NullFormatter())
                panel.tick_params(labelsize=7.5)
                panel.grid(visible=True, axis="y")
                panel.set_axisbelow(True)
                if column == 0:
                    panel.set_ylabel(label)
            axes[-1, column].set_xlabel(TITLES[name])
        for line_of_panels in axes:  # all panels of a measure share their scale
            low = min(panel.get_ylim()[0] for panel in line_of_panels)
            high = max(panel.get_ylim()[1] for panel in line_of_panels)
            for panel in line_of_panels:
                panel.set_ylim(low, high)
        axes[0, 0].legend(loc="best", fontsize=8)
        note = "; cross: memory or time limit exceeded" * any("outcome" in r for r in rows)
        figure.suptitle(
            title.replace("$", r"\$") + note, x=0.02, ha="left", fontsize=8, color="0.35"
        )
        save_figure(figure, path)
