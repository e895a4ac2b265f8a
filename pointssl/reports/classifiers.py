"""The text that compares results of a classifier of frozen features."""

from collections.abc import Mapping, Sequence
from typing import Any

from pointssl.reports.tables import WIDTH, owned, percent, remarks, short, text_table

CHOSEN_BY = "_chosen_by"  # ends the key that says how a classifier chose what is under the rest
NAMES = {"neighbours": "neighb.", "c": "C"}  # shorter or more usual than the key


def format_report(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A table that compares results of one classifier, at most 100 columns wide.

    Args:
        results: row name, e.g. ``"pretrained"`` -> a result as of
            :meth:`pointssl.probes.base.Classifier.evaluate`. The caller may add ``k``, ``points``
            and ``sampling`` to it: what the encoder and the dataset know.

    Returns:
        Lines of text: one row per result, their facts, caveats and notes, and a row per class.
    """
    first = chosen(next(iter(results.values())))
    tuned = NAMES.get(first, first) if first else "chosen"
    header = ["protocol", tuned, "k", "points", "seeds", "features", "accuracy", "class acc."]
    rows = [_summary(result) for result in results.values()]
    used = sum(max(len(row[i]) for row in [header, *rows]) + 2 for i in range(len(header)))
    named = [[short(name, WIDTH - used), *row] for name, row in zip(results, rows, strict=True)]
    lines = [*text_table(["", *header], named, left=(0, 1)), ""]
    lines += remarks(owned({name: _facts(result) for name, result in results.items()}))
    return "\n".join([*lines, *_class_tables(results)])


def _summary(result: Mapping[str, Any]) -> list[str]:
    """The cells of a result under the header of :func:`format_report`."""
    tuned = chosen(result)
    seeds = result["seeds"]
    spreads = [result["accuracy"], result["class_accuracy"]]
    return [
        result["protocol"],
        low_high(result[tuned]).replace("e-0", "e-") if tuned else "-",
        str(result.get("k") or "-"),
        f"{result.get('points') or '-'} {result.get('sampling') or ''}".strip(),
        str(seeds),
        f"{result['dimension']} {'std' if result['standardised'] else 'raw'}",
        *(percent(spread["mean"], spread["std"] if seeds > 1 else None) for spread in spreads),
    ]


def chosen(result: Mapping[str, Any]) -> str | None:
    """The key of what the classifier chose on train, e.g. ``"c"``; None if it chooses nothing."""
    keys = [key.removesuffix(CHOSEN_BY) for key in result if key.endswith(CHOSEN_BY)]
    return keys[0] if keys else None


def low_high(values: Sequence[float]) -> str:
    """``"0.01"``, or ``"0.01..0.1"`` where seeds differ."""
    low, high = f"{min(values):g}", f"{max(values):g}"
    return low if low == high else f"{low}..{high}"


def how_chosen(result: Mapping[str, Any]) -> str:
    """``"C by 5-fold cross-validation on train"``; empty for a classifier that chooses nothing."""
    tuned = chosen(result)
    if tuned is None:
        return ""
    return f"{'C' if tuned == 'c' else tuned} {result[tuned + CHOSEN_BY]}"


def _facts(result: Mapping[str, Any]) -> list[str]:
    """What the table has no room for."""
    scaled = "standardised on train" if result["standardised"] else "raw"
    kind = f" ({result['multi_class']})" if "multi_class" in result else ""
    kernel = f", {result['kernel']} kernel" if "kernel" in result else ""
    how = ", ".join(filter(None, (f"features {scaled}", how_chosen(result))))
    lines = [
        f"{result['classifier']}{kind}{kernel}, {how}; "
        f"{result['train']} train shapes ({100 * result['label_fraction']:g}% of the labels), "
        f"{result['test']} test shapes"
    ]
    if result["absent_classes"]:
        absent = ", ".join(result["absent_classes"])
        lines.append(f"left out of the class accuracy, as test has none: {absent}")
    return [*lines, *(f"caveat: {line}" for line in result["caveats"]), *result["notes"]]


def _class_tables(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Accuracy per class, side by side for results with the same classes and test shapes."""
    groups: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for name, result in results.items():
        key = tuple((row["class"], row["shapes"]) for row in result["per_class"])
        groups.setdefault(key, []).append(name)
    lines: list[str] = []
    for key, names in groups.items():
        for start in range(0, len(names), 3):  # class, shapes and three columns of 20 fit
            part = names[start : start + 3]
            columns = [[row["accuracy"] for row in results[name]["per_class"]] for name in part]
            rows = [
                [short(label, 24), str(shapes), *(percent(column[i]) for column in columns)]
                for i, (label, shapes) in enumerate(key)
            ]
            lines += ["", *text_table(["class", "shapes", *(short(n, 20) for n in part)], rows)]
    return lines
