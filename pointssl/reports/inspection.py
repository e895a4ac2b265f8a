"""What `pointssl inspect` prints: the modules as a tree, and the layers in numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from pointssl.inspection.statistics import OUTLIER
from pointssl.reports.tables import remarks, short, text_table

Row = Mapping[str, Any]
HOW_COUNTED = (
    "multiply-adds: of matrix products, convolutions and attention, a neighbour search by matrix "
    "product included; sorting, norms, sums and gathered rows are not counted",
    "time: median of {passes} passes in evaluation mode; output: bytes of the tensors that a "
    "module returns{memory}",
    "a module's figures include those of the modules inside it; (itself) is what is left",
)
HOW_MEASURED = (
    "norm: of the features of a place, mean and standard deviation; largest: over the median; "
    f"outliers: above {OUTLIER:g} times the median (arXiv 2309.16588)",
    "spread: standard deviation of the features over their root mean square norm, 0 where all are "
    "alike; between: the share of that variance between clouds",
    "rank: effective, the exponential of the entropy of the singular values (Roy, Vetterli 2007)",
)
HOW_ATTENDED = "attention: mean entropy of the weights in nats, and that of uniform weights, log M"
COLLAPSED = 0.01  # spread below which a layer says the same of every place


def amount(value: float) -> str:
    """Three digits: ``"456"``, ``"1.23 k"``, ``"45.6 M"``, ``"7.89 G"``."""
    value = float(f"{value:.3g}")
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        scaled = value / size
        if scaled >= 1:
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f} {unit}"
    return f"{value:.0f}"


def shape(shapes: Sequence[Sequence[int]]) -> str:
    """``"8x1024x64"``, the first two of several."""
    written = ["x".join(map(str, item)) or "number" for item in shapes]
    more = f" +{len(written) - 2}" if len(written) > 2 else ""
    return ", ".join(written[:2]) + more if written else "-"


def modules_table(rows: Sequence[Row], depth: int) -> list[str]:
    """Lines: a row for each module down to ``depth`` calls below the encoder."""
    header = ["module", "class", "in", "out", "parameters", "multiply-adds", "ms", "output"]
    with_peak = any(row["peak_bytes"] is not None for row in rows)
    lines = []
    for row in rows:
        if row["depth"] > depth:
            continue
        times = f" x{row['calls']}" if row["calls"] > 1 else ""
        costs = [amount(row["parameters"]), amount(row["multiply_adds"])]
        costs += [f"{1000 * row['seconds']:.2f}", f"{amount(row['output_bytes'])}B"]
        if with_peak:
            costs.append(f"{amount(row['peak_bytes'] or 0)}B")
        lines.append([
            _indented(row) + times, short(row["class"], 20), short(shape(row["in"]), 24),
            short(shape(row["out"]), 24), *costs,
        ])  # fmt: skip
        own = row["own"]
        inner = row["depth"] < depth and any(r["caller"] == row["name"] for r in rows)
        if inner and (own["multiply_adds"] > 0 or own["parameters"] > 0):
            label = "  " * (row["depth"] + 1) + "(itself)"
            costs = [amount(own["parameters"]), amount(own["multiply_adds"])]
            costs += [f"{1000 * max(0.0, own['seconds']):.2f}", ""]
            lines.append([label, "", "", "", *costs, *([""] if with_peak else [])])
    table = text_table([*header, *(["peak"] if with_peak else [])], lines, left=(0, 1, 2, 3))
    deepest = max(row["depth"] for row in rows)
    if deepest > depth:
        table.append(f"- {len(rows)} modules in all, to be seen with --depth {deepest}")
    return table


def _indented(row: Row) -> str:
    """The name as the caller would say it."""
    name, caller = row["name"], row["caller"]
    if caller is None:
        return name or "encoder"
    inside = name.startswith(f"{caller}.") and caller
    return "  " * row["depth"] + (name.removeprefix(f"{caller}.") if inside else name)


def totals_lines(totals: Mapping[str, Row]) -> list[str]:
    """A table with a row for each network.

    Args:
        totals: by label, as `inspect.json` has them.
    """
    with_peak = any(row["peak_bytes"] is not None for row in totals.values())
    header = ["total", "modules", "parameters", "multiply-adds", "a cloud", "ms", "clouds/s",
              "largest output"]  # fmt: skip
    rows = []
    for label, row in totals.items():
        cells = [label, str(row["modules"]), amount(row["parameters"])]
        cells += [amount(row["multiply_adds"]), amount(row["multiply_adds_per_cloud"])]
        cells += [f"{1000 * row['seconds']:.2f}", f"{row['clouds_per_second']:.1f}"]
        cells.append(f"{amount(row['largest_output_bytes'])}B")
        rows.append([*cells, *([f"{amount(row['peak_bytes'])}B"] if with_peak else [])])
    return text_table([*header, *(["peak"] if with_peak else [])], rows)


def layers_table(layers: Mapping[str, Row]) -> list[str]:
    """Lines: a row for each layer, shallow to deep."""
    header = ["layer", "places", "norm", "largest", "outliers", "spread", "between", "rank",
              "attention"]  # fmt: skip
    rows = []
    for name, row in layers.items():
        norm, ratio = row["norm"], row["norm"]["largest_ratio"]
        attention = row["attention"]
        rows.append([
            name,
            f"{row['places']} x {row['channels']}",
            f"{norm['mean']:.3g} ± {norm['std']:.2g}",
            "-" if ratio is None else f"{ratio:.2f}",
            str(row["outliers"]["count"]),
            f"{row['spread']:.2f}",
            "-" if row["between"] is None else f"{row['between']:.2f}",
            f"{row['rank']:.1f} of {row['channels']}",
            f"{attention['mean']:.2f} of {attention['uniform']:.2f}" if attention else "-",
        ])  # fmt: skip
    return text_table(header, rows)


def how_counted(passes: int, peak: bool) -> list[str]:
    """What the columns of :func:`modules_table` mean."""
    memory = "; peak: the most GPU memory during it, above that before" if peak else ""
    return remarks([line.format(passes=passes, memory=memory) for line in HOW_COUNTED])


def how_measured(layers: Sequence[Row]) -> list[str]:
    """What the columns of :func:`layers_table` mean."""
    attended = [HOW_ATTENDED] if any(row["attention"] for row in layers) else []
    return remarks([*HOW_MEASURED, *attended])


def warnings_of(layers: Mapping[str, Row]) -> list[str]:
    """What a reader of :func:`layers_table` should not miss."""
    collapsed = [name for name, row in layers.items() if row["spread"] < COLLAPSED]
    lines = []
    if collapsed:
        lines.append(
            f"COLLAPSED: the features of {', '.join(collapsed)} are as good as equal at all places "
            f"of all clouds (spread below {COLLAPSED:g})"
        )
    for name, row in layers.items():
        count, ratio = row["outliers"]["count"], row["norm"]["largest_ratio"]
        if count and ratio is None:
            lines.append(f"{name}: at least half of its features are zero")
        elif count:
            share = row["outliers"]["share"]
            lines.append(
                f"outliers in {name}: {count} places ({share:.2%}), the largest {ratio:.1f} times "
                "the median"
            )
    return remarks(lines)
