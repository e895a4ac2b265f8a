"""Statistics of a dataset as HTML: tiles with a number each, and tables whose bars are SVG.

Every bar is an SVG of its own with widths in percent, so that a chart fits any screen without its
text becoming smaller. Names are escaped, since they come from whoever made the dataset.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

Statistics = Mapping[str, Any]


def tiles(statistics: Statistics) -> str:
    """The few numbers that matter most."""
    splits = statistics["splits"]
    numbers = [(f"{split} clouds", f"{s['clouds']:,}") for split, s in splits.items()]
    if statistics["classes"]:
        numbers.append(("classes", f"{len(statistics['classes']):,}"))
    if statistics["part_names"]:
        numbers.append(("parts", f"{len(statistics['part_names']):,}"))
    points = [s["points"] for s in splits.values() if s["points"]]
    if points:
        low, high = min(p["min"] for p in points), max(p["max"] for p in points)
        span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        numbers.append(("points per cloud", span))
    for key, name in (("pictures", "images"), ("repeats", "repeated clouds")):
        total = sum(s[key] for s in splits.values())
        if total:
            numbers.append((name, f"{total:,}"))
    for pair, number in statistics["repeats_between"].items():
        if number:
            before, after = pair.split(", ")
            numbers.append((f"{after} clouds also in {before}", f"{number:,}"))
    unreadable = sum(len(s["unreadable"]) for s in splits.values())
    if unreadable:
        numbers.append(("unreadable clouds", f"{unreadable:,}"))
    cells = (f"<div><dt>{escape(n)}</dt><dd>{escape(value)}</dd></div>" for n, value in numbers)
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def charts(statistics: Statistics) -> str:
    """All charts that apply to the dataset."""
    every = [
        _classes(statistics),
        _spread(statistics, "points", "Points per cloud", "The number of points of every cloud is"),
        _spread(statistics, "longest_side", "Longest side, as stored", "Every cloud has"),
        *_parts(statistics),
    ]
    cards = "".join(f'<section class="chart">{chart}</section>' for chart in every if chart)
    return f'<h2 id="statistics">Statistics</h2><div class="charts">{cards}</div>'


def _bar(shares: Sequence[float], height: int = 12) -> str:
    """One line of bars beside each other, on a track; shares of the whole width."""
    start, rects = 0.0, []
    for number, share in enumerate(shares):
        width = 100 * share
        rects.append(
            f'<rect class="fill-{number % 3}" x="{start:.2f}%" width="{width:.2f}%" height="100%"/>'
        )
        start += width
    track = '<rect class="track" width="100%" height="100%" rx="2"/>'
    return f'<svg height="{height}" aria-hidden="true">{track}{"".join(rects)}</svg>'


def _row(name: str, shares: Sequence[float], number: str) -> str:
    return (
        f'<tr><th scope="row" title="{escape(name)}">{escape(name)}</th><td>{_bar(shares)}</td>'
        f'<td class="number">{escape(number)}</td></tr>'
    )


def _classes(statistics: Statistics) -> str:
    splits, classes = statistics["splits"], statistics["classes"]
    if not classes:
        return ""
    counts = [[s["classes"].get(name, 0) for s in splits.values()] for name in classes]
    most = max(map(sum, counts)) or 1
    key = "".join(
        f'<span class="key"><svg height="12"><rect class="fill-{i % 3}" width="100%" height="100%" '
        f'rx="2"/></svg>{escape(split)}</span>'
        for i, split in enumerate(splits)
    )
    rows = (
        _row(name, [n / most for n in row], " + ".join(f"{n:,}" for n in row))
        for name, row in zip(classes, counts, strict=True)
    )
    return f"<h3>Clouds per class</h3>{key}<table>{''.join(rows)}</table>"


def _spread(statistics: Statistics, key: str, heading: str, same: str) -> str:
    """A histogram, or a sentence if there is only one value."""
    histogram = statistics["histograms"][key]
    counts, edges, middle = histogram["counts"], histogram["edges"], histogram["median"]
    heading = f"<h3>{heading}</h3>"
    if edges[0] == edges[-1]:
        return f"{heading}<p>{same} {edges[0]:,}.</p>"
    width, most = 100 / len(counts), max(counts)
    bars = "".join(
        f'<rect class="fill-0" x="{width * i + 0.3:.2f}%" width="{width - 0.6:.2f}%" '
        f'y="{100 - 100 * n / most:.2f}%" height="{100 * n / most:.2f}%">'
        f"<title>{edges[i]:,} to {edges[i + 1]:,}: {n:,} clouds</title></rect>"
        for i, n in enumerate(counts)
    )
    axis = f"<span>{edges[0]:,}</span><span>median {middle:,}</span><span>{edges[-1]:,}</span>"
    figure = f'<svg height="130" role="img" aria-label="Histogram, median {middle:,}">{bars}</svg>'
    return f'{heading}{figure}<div class="axis">{axis}</div>'


def _parts(statistics: Statistics) -> list[str]:
    return [
        f"<h3>Parts of {escape(category)}</h3>"
        "<table><thead><tr><th></th><th>share of the points</th>"
        '<th class="number">in clouds</th></tr></thead>'
        + "".join(
            _row(name.rpartition("/")[2], [share["points"]], f"{100 * share['shapes']:.0f}%")
            for name, share in parts.items()
        )
        + "</table>"
        for category, parts in statistics["parts"].items()
    ]
