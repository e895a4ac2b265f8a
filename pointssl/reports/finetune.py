"""What a fine-tuning prints at the end: a table over seeds, its facts, and a row per class."""

import textwrap
from collections.abc import Sequence
from typing import Any

from pointssl.metrics import mean_std
from pointssl.reports.tables import percent, text_table

WIDTH = 100
Runs = Sequence[dict[str, Any]]
Means = dict[str, dict[str, Any]]


def print_partseg(config: Any, runs: Runs) -> Means:
    """mIoU by argmax and vote, and by category."""
    first = runs[0]["test"]
    kinds = [kind for kind in ("masked", "free", "masked_voted", "free_voted") if kind in first]
    kinds.sort(key=lambda kind: not kind.startswith(first["headline"]))
    scores = ("instance_miou", "class_miou", "accuracy")
    return finish(
        config,
        runs,
        kinds,
        scores,
        header=["argmax", "instance mIoU", "class mIoU", "point accuracy"],
        rows=("per_category", "category", "iou"),
        headline=first["headline"],
        facts=[f"all {first['points']} points of {first['shapes']} test shapes, each shape once"],
    )


def print_cls(config: Any, runs: Runs) -> Means:
    """Accuracy and class accuracy, and a row per class."""
    first = runs[0]["test"]
    kinds = [kind for kind in ("single", "voted") if kind in first]
    return finish(
        config,
        runs,
        kinds,
        ("accuracy", "class_accuracy"),
        header=["pass", "accuracy", "class accuracy"],
        rows=("per_class", "class", "accuracy"),
        headline="single",
        facts=[f"{first['shapes']} test shapes"],
    )


def print_semseg(config: Any, runs: Runs) -> Means:
    """mIoU and accuracies over all points of the test rooms, and a row per class of points."""
    first = runs[0]["test"]
    facts = [
        f"{first['points']} points of {first['rooms']} rooms of {first['areas']}: {first['counts']}"
    ]
    absent = list(dict.fromkeys(n for run in runs for n in run["test"]["merged"]["absent"]))
    if absent:
        facts.append(f"left out of the mIoU, in neither truth nor prediction: {', '.join(absent)}")
    return finish(
        config,
        runs,
        ("merged",),
        ("miou", "class_accuracy", "accuracy"),
        header=["votes", "mIoU", "class accuracy", "point accuracy"],
        rows=("per_part", "part", "iou"),
        headline="merged",
        facts=facts,
        counted="points",
    )


def finish(
    config: Any,
    runs: Runs,
    kinds: Sequence[str],
    scores: Sequence[str],
    *,
    header: list[str],
    rows: tuple[str, str, str],
    headline: str,
    facts: list[str],
    counted: str = "shapes",
) -> Means:
    """Print the table.

    Args:
        kinds: entries of ``run["test"]``, a line of the table each.
        scores: of each of them, a column each.
        rows: of the table by class: the entry, and what its rows call name and value.
        headline: the kind that the table by class and the last line are about.
        counted: of what a row of the table by class says how many there are.

    Returns:
        mean, deviation and value per seed of each score of each kind.
    """
    means = {
        kind: {name: mean_std([run["test"][kind][name] for run in runs]) for name in scores}
        for kind in kinds
    }
    several = len(runs) > 1

    def shown(value: dict[str, Any]) -> str:
        return percent(value["mean"], value["std"] if several else None)

    table = [
        [kind.replace("_", ", "), *(shown(means[kind][name]) for name in scores)] for kind in kinds
    ]
    lines = text_table(header, table)
    lines += [""]
    for fact in [*summary(runs), *facts]:
        lines += textwrap.wrap(f"- {fact}", WIDTH, subsequent_indent="  ")
    entry, name, value = rows
    per_class = []
    for place, row in enumerate(runs[0]["test"][headline][entry]):
        found = [run["test"][headline][entry][place][value] for run in runs]
        cell = "-" if None in found else shown(mean_std(found))
        per_class.append([row[name], str(row[counted]), cell])
    column = header[1] if name == "class" else "IoU"
    if name == "category":
        column = f"IoU, {headline}"
    lines += ["", *text_table([name, counted, column], per_class)]
    print("\n".join(lines))
    path = config.run_dir / "results.json"
    if several or getattr(config, "six_fold", False):  # the runs are in folders below
        path = config.run_dir / "summary.json"
    print(f"results: {path}")
    print(f"checkpoint: {runs[-1]['checkpoint']}")
    print(f"{header[1]}: {shown(means[headline][scores[0]])}")
    return means


def summary(runs: Runs) -> list[str]:
    """Protocol, network, data, seeds, and what a reader must know."""
    first = runs[0]
    labels = f"{first['train']} train clouds"
    if first["label_fraction"] < 1:
        labels += f" ({100 * first['label_fraction']:g}% of the labels)"
    start = first["weights"]
    epochs = ", ".join(str(run["epoch"]) for run in runs)
    seeds = ", ".join(str(run["seed"]) for run in runs)
    lines = [
        f"protocol {first['protocol']}; {first['backbone']}, k {first['k']}, {first['points']} "
        f"points ({first['sampling']}), {'frozen, ' if first['frozen'] else ''}{start}",
        f"{labels} of {first['data']}; seeds {seeds}; epoch {epochs} of {first['epochs']}, chosen "
        f"by {first['epoch_chosen_by']}; test was looked at once",
    ]
    if first["votes"] > 1:
        lines.append(f"voted: mean of {first['votes']} passes over other points, axes scaled")
    lines += [f"caveat: {caveat}" for caveat in first["caveats"]]
    return lines + list(dict.fromkeys(note for run in runs for note in run["notes"]))
