"""An SVM evaluation from features to a plain result, and the text that compares results."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl.evaluation.metrics import (
    confusion_matrix,
    mean_class_accuracy,
    overall_accuracy,
    per_class_rows,
)
from pointssl.evaluation.protocols import (
    Protocol,
    find_protocol,
    stratified_folds,
    stratified_subset,
)
from pointssl.evaluation.svm import (
    check_c,
    check_problem,
    choose_c,
    fit_predict_kernel,
    kernel_matrices,
    standardise,
)
from pointssl.evaluation.tables import percent, short, text_table
from pointssl_datasets.errors import DataError

WIDTH = 100
Split = tuple[NDArray[Any], NDArray[np.int64], NDArray[Any], NDArray[np.int64]]


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
        protocol: a name in :data:`pointssl.evaluation.protocols.PROTOCOLS`.
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
    if not features_by_seed:
        raise DataError("there are no features to evaluate: 0 seeds")
    first = features_by_seed[0]
    passes = []
    for seed, (train_x, train_y, test_x, test_y) in enumerate(features_by_seed):
        if not np.array_equal(test_y, first[3]) or not np.array_equal(train_y, first[1]):
            raise DataError(f"features of seed {seed} have other labels than those of seed 0")
        check_problem(train_x, train_y, test_x, test_y)
        chosen = stratified_subset(train_y, label_fraction, seed)
        split = (train_x[chosen], train_y[chosen], test_x, test_y)
        passes.append(_one_seed(split, preset, c, kernel, len(classes), seed))

    matrices = [entry["confusion"] for entry in passes]
    total = np.sum(matrices, axis=0)
    rows = per_class_rows(total, classes)
    for row in rows:
        row["shapes"] //= len(passes)
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
        "seeds": len(passes),
        "accuracy": _spread([overall_accuracy(matrix) for matrix in matrices]),
        "class_accuracy": _spread([mean_class_accuracy(matrix, classes)[0] for matrix in matrices]),
        "per_class": rows,
        "absent_classes": mean_class_accuracy(total, classes)[1],
        "confusion": total.tolist(),
        "label_fraction": float(label_fraction),
        "train": passes[0]["train"],
        "test": len(first[3]),
        "dimension": int(first[0].shape[1]),
        "caveats": caveats,
        "notes": list(dict.fromkeys(note for entry in passes for note in entry["notes"])),
    }


def _one_seed(
    split: Split, preset: Protocol, c: float | None, kernel: str, classes: int, seed: int
) -> dict[str, Any]:
    """C, cross-validation table and confusion matrix of one pass."""
    train_x, train_y, test_x, test_y = split
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
    return {
        "c": float(value),
        "cv": cv,
        "confusion": confusion_matrix(test_y, predicted, classes),
        "train": len(train_y),
        "notes": notes,
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": float(np.mean(values)),
        "std": float(np.std(values)),
        "per_seed": [float(value) for value in values],
    }


def format_report(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A table that compares results of :func:`evaluate_svm`, at most 100 columns wide.

    Args:
        results: row name, e.g. ``"pretrained"`` -> result. The caller may add ``k``, ``points``
            and ``sampling`` to a result: what the encoder and the dataset know.

    Returns:
        Lines of text: one row per result, their facts, caveats and notes, and a row per class.
    """
    header = ["protocol", "C", "k", "points", "seeds", "features", "accuracy", "class acc."]
    rows = [_summary(result) for result in results.values()]
    used = sum(max(len(row[i]) for row in [header, *rows]) + 2 for i in range(len(header)))
    named = [[short(name, WIDTH - used), *row] for name, row in zip(results, rows, strict=True)]
    lines = [*text_table(["", *header], named, left=(0, 1)), ""]
    owners: dict[str, list[str]] = {}  # a line that several results share is printed once
    for name, result in results.items():
        for line in _facts(result):
            owners.setdefault(line, []).append(name)
    for line, names in owners.items():
        owner = "" if len(names) == len(results) else f"{', '.join(names)}: "
        lines += textwrap.wrap(f"- {owner}{line}", WIDTH, subsequent_indent="  ")
    return "\n".join([*lines, *_class_tables(results)])


def _summary(result: Mapping[str, Any]) -> list[str]:
    """The cells of a result under the header of :func:`format_report`."""
    low, high = (f"{c:g}".replace("e-0", "e-") for c in (min(result["c"]), max(result["c"])))
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


def _facts(result: Mapping[str, Any]) -> list[str]:
    """What the table has no room for."""
    scaled = "standardised on train" if result["standardised"] else "raw"
    lines = [
        f"{result['classifier']} ({result['multi_class']}), {result['kernel']} kernel, "
        f"features {scaled}, C {result['c_chosen_by']}; {result['train']} train shapes "
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
