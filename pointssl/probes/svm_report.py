"""An SVM evaluation from features to a plain result, and the text that compares results.

The text is that of every classifier of frozen features: SVM, nearest neighbours, linear.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pointssl.probes.common import Split, evaluate_seeds
from pointssl.probes.protocols import Protocol, find_protocol, stratified_folds
from pointssl.probes.svm import check_c, choose_c, fit_predict_kernel, kernel_matrices, standardise
from pointssl.reports.tables import WIDTH, owned, percent, remarks, short, text_table

# What a classifier chose on train: key in its result, and how the table calls it.
TUNED = {"neighbours": "neighb.", "c": "C"}


def evaluate_svm(
    features_by_seed: Sequence[Split],
    *,
    protocol: str,
    c: float | None = None,
    kernel: str = "linear",
    label_fraction: float = 1.0,
    classes: Sequence[str],
) -> dict[str, Any]:
    """Train and test an SVM on frozen features, once per point-sampling seed.

    Seed number i also seeds the share of train labels and the folds of the cross-validation, so
    two encoders evaluated alike see the same labels and folds.

    Args:
        features_by_seed: for each seed ``(train_x (M, D), train_y (M,), test_x (K, D),
            test_y (K,))``; the labels are the same for every seed.
        protocol: a name in :data:`pointssl.probes.protocols.PROTOCOLS`.
        c: instead of the protocol's.
        kernel: ``"linear"`` or ``"rbf"``.
        label_fraction: stratified share of the train labels that is used.
        classes: names that the labels index.

    Returns:
        Plain values, fit for JSON. Accuracies are in [0, 1], ``std`` is the population's over
        seeds, and ``confusion`` (row: true class) is summed over seeds.

    Raises:
        UsageError: an unknown protocol or kernel, C or the fraction out of range.
        DataError: features or labels that can't be evaluated.
    """
    preset = find_protocol(protocol)
    if c is not None:
        check_c(c)
    common, passes = evaluate_seeds(
        features_by_seed,
        lambda split, seed: _one_seed(split, preset, c, kernel, seed),
        classes=classes,
        label_fraction=label_fraction,
    )
    searched = c is None and preset.c is None
    by = f"by {preset.folds}-fold cross-validation on train" if searched else "fixed"
    caveats = list(preset.caveats)
    if c is not None:
        caveats.append(f"C = {c:g} was given by hand, not chosen on train")
    return {
        "protocol": preset.name,
        "classifier": "SVC",
        "kernel": kernel,
        "multi_class": "one-vs-one",
        "standardised": preset.standardise,
        "c": [entry["c"] for entry in passes],
        "c_chosen_by": by,
        "cv": [entry["cv"] for entry in passes] if searched else None,
        **common,
        "caveats": caveats,
    }


def _one_seed(
    split: Split, preset: Protocol, c: float | None, kernel: str, seed: int
) -> dict[str, Any]:
    """C, cross-validation table and predictions of one pass."""
    train_x, train_y, test_x, _ = split
    if preset.standardise:
        train_x, test_x = standardise(train_x, test_x)
    train_k, test_k = kernel_matrices(train_x, test_x, kernel)
    notes: list[str] = []
    cv = None
    value = preset.c if c is None else c
    if value is None:
        value, table = choose_c(train_k, train_y, preset.c_grid, preset.folds, seed)
        cv = [{"c": tried, "mean": mean, "std": std} for tried, (mean, std) in table.items()]
        notes = stratified_folds(train_y, preset.folds, seed)[1]
        if value in (min(preset.c_grid), max(preset.c_grid)):
            notes.append(
                f"C = {value:g} is the end of the grid that cross-validation searched: a better "
                "one may lie beyond"
            )
    predicted = fit_predict_kernel(train_k, train_y, test_k, value)
    return {"c": float(value), "cv": cv, "predicted": predicted, "notes": notes}


def format_report(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A table that compares results of one classifier, at most 100 columns wide.

    Args:
        results: row name, e.g. ``"pretrained"`` -> a result as of :func:`evaluate_svm`. The caller
            may add ``k``, ``points`` and ``sampling`` to it: what the encoder and the dataset know.

    Returns:
        Lines of text: one row per result, their facts, caveats and notes, and a row per class.
    """
    tuned = TUNED[_tuned(next(iter(results.values())))]
    header = ["protocol", tuned, "k", "points", "seeds", "features", "accuracy", "class acc."]
    rows = [_summary(result) for result in results.values()]
    used = sum(max(len(row[i]) for row in [header, *rows]) + 2 for i in range(len(header)))
    named = [[short(name, WIDTH - used), *row] for name, row in zip(results, rows, strict=True)]
    lines = [*text_table(["", *header], named, left=(0, 1)), ""]
    lines += remarks(owned({name: _facts(result) for name, result in results.items()}))
    return "\n".join([*lines, *_class_tables(results)])


def _summary(result: Mapping[str, Any]) -> list[str]:
    """The cells of a result under the header of :func:`format_report`."""
    values = result[_tuned(result)]
    low, high = (f"{value:g}".replace("e-0", "e-") for value in (min(values), max(values)))
    seeds = result["seeds"]
    spreads = [result["accuracy"], result["class_accuracy"]]
    return [
        result["protocol"],
        low if low == high else f"{low}..{high}",
        str(result.get("k") or "-"),
        f"{result.get('points') or '-'} {result.get('sampling') or ''}".strip(),
        str(seeds),
        f"{result['dimension']} {'std' if result['standardised'] else 'raw'}",
        *(percent(spread["mean"], spread["std"] if seeds > 1 else None) for spread in spreads),
    ]


def _tuned(result: Mapping[str, Any]) -> str:
    return next(key for key in TUNED if key in result)


def _facts(result: Mapping[str, Any]) -> list[str]:
    """What the table has no room for."""
    scaled = "standardised on train" if result["standardised"] else "raw"
    kernel = f", {result['kernel']} kernel" if "kernel" in result else ""
    tuned = _tuned(result)
    name = "C" if tuned == "c" else tuned
    lines = [
        f"{result['classifier']} ({result['multi_class']}){kernel}, "
        f"features {scaled}, {name} {result[f'{tuned}_chosen_by']}; {result['train']} train shapes "
        f"({100 * result['label_fraction']:g}% of the labels), {result['test']} test shapes"
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
