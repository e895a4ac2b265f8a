"""`pointssl eval-all`: every evaluation that trains no network, in one table for a checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

from pointssl.config.evaluate import EvalAllConfig, EvalFewshotConfig, EvalOptions, EvalSvmConfig
from pointssl.config.options import to_dict
from pointssl.engine.distributed import World, start_world
from pointssl.features.encoder import where
from pointssl.probes.clustering import evaluate_clusters
from pointssl.probes.common import Split
from pointssl.probes.fewshot import APART, interval, title
from pointssl.probes.knn import evaluate_knn
from pointssl.probes.linear import evaluate_linear
from pointssl.probes.protocols import PROTOCOLS
from pointssl.probes.retrieval import evaluate_retrieval
from pointssl.probes.svm_report import evaluate_svm
from pointssl.recipes.fewshot import answer
from pointssl.recipes.frozen import draw, evaluate_frozen
from pointssl.reports.figures.bars import Bar, bars_figure
from pointssl.reports.formats import Table, as_latex, as_markdown, as_text
from pointssl.reports.tables import owned, percent
from pointssl.runs.folder import write_json
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.writing import write_text

# Evaluation, as in the results and as in the table, and its numbers: key and name.
NUMBERS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("svm_strict", "SVM strict", (("accuracy", "accuracy"),)),
    ("svm_crosspoint", "SVM crosspoint", (("accuracy", "accuracy"),)),
    ("knn", "nearest neighbours", (("accuracy", "accuracy"),)),
    ("linear", "logistic regression", (("accuracy", "accuracy"),)),
    ("cluster", "k-means", (("nmi", "NMI"), ("ari", "ARI"))),
    ("retrieval", "retrieval in test", (("map_test", "mAP"), ("precision_1_test", "P@1"),
                                        ("precision_10_test", "P@10"))),
    ("retrieval", "retrieval in train", (("map_train", "mAP"), ("precision_1_train", "P@1"),
                                         ("precision_10_train", "P@10"))),
)  # fmt: skip
NOT_HERE = (
    "few-shot by full fine-tuning is not among these, as it trains a network for each episode: "
    "pointssl eval-fewshot --protocol point-mae"
)
Judges = dict[str, Callable[..., dict[str, Any]]]
Results = dict[str, dict[str, Any]]  # evaluation -> row -> result


def run(config: EvalAllConfig) -> Results:
    """Evaluate as ``config`` says; returns what is written to ``results.json``."""
    with start_world(config.device, config.threads, config.kernels) as world:
        return evaluate(config, world)


def evaluate(config: EvalAllConfig, world: World) -> Results:
    """:func:`run` in a process group that exists already. Rank 0 alone judges."""
    world.say(f"every evaluation of {where(config.weights)} on {config.data} without training")
    notes: list[str] = []
    results: Results = {}
    fraction = config.label_fraction
    strict: Judges = {
        "svm_strict": lambda passes, **k: evaluate_svm(
            passes, protocol="strict", label_fraction=fraction, **k
        ),
        "knn": lambda passes, **k: evaluate_knn(passes, label_fraction=fraction, **k),
        "linear": lambda passes, **k: evaluate_linear(passes, label_fraction=fraction, **k),
        "cluster": evaluate_clusters,
        "retrieval": evaluate_retrieval,
    }
    crosspoint = PROTOCOLS["crosspoint"]
    first: Judges = {
        "svm_crosspoint": lambda passes, **k: evaluate_svm(
            passes, protocol="crosspoint", label_fraction=fraction, **k
        ),
    }
    parts: Sequence[tuple[Judges, dict[str, Any]]] = (
        (strict, {}),
        (first, {"sampling": crosspoint.sampling, "points": crosspoint.points, "seeds": 1}),
    )
    for judges, choice in parts:
        judge = partial(several, judges, notes)
        found = evaluate_frozen(config, world, judge, **choice)
        for row, together in found.items():
            about = {key: value for key, value in together.items() if key != "each"}
            for name, result in together["each"].items():
                lines = [*result["notes"], *about["notes"]]
                results.setdefault(name, {})[row] = {**about, **result, "notes": lines}
    for protocol in ("strict", "crosspoint"):
        name = f"fewshot_{protocol}"
        try:
            results[name] = answer(fewshot_config(config, protocol), world)
        except DataError as error:  # the same on every rank: the data has too few shapes
            notes.append(f"few-shot {protocol} is left out: {error}")
    if world.is_main:
        report(config, results, list(dict.fromkeys(notes)))
    return results


def several(
    judges: Judges,
    notes: list[str],
    passes: Sequence[Split],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Results of all ``judges`` on the same features; what the data does not allow is noted."""
    each = {}
    for name, judge in judges.items():
        try:
            each[name] = judge(passes, classes=classes)
        except DataError as error:
            notes.append(f"{name.replace('_', ' ')} is left out: {error}")
    return {"each": each, "notes": []}


def fewshot_config(config: EvalAllConfig, protocol: str) -> EvalFewshotConfig:
    """The options of `eval-fewshot` that these are."""
    shared = {field.name: getattr(config, field.name) for field in fields(EvalOptions)}
    out = config.out / f"fewshot_{protocol}"
    return EvalFewshotConfig(**{**shared, "protocol": protocol, "out": out})


def of_svm(config: EvalSvmConfig) -> EvalAllConfig:
    """The options of `eval-svm --all-protocols` as those of `eval-all`.

    Raises:
        UsageError: one that holds for a single protocol was given.
    """
    for name in ("protocol", "c", "kernel"):
        value = getattr(config, name)
        if value != getattr(EvalSvmConfig, name):
            raise UsageError(
                f"--{name} {value} is of one evaluation, and --all-protocols runs them all: leave "
                "one of the two out"
            )
    return EvalAllConfig(**{f.name: getattr(config, f.name) for f in fields(EvalAllConfig)})


def report(config: EvalAllConfig, results: Results, notes: Sequence[str]) -> None:
    """The tables in the terminal, as Markdown and as LaTeX, ``results.json`` and a picture."""
    tables = [frozen_table(config, results)]
    tables += [fewshot_table(config, name, results[name]) for name in results if "fewshot" in name]
    lines = [*notes, *facts(results), NOT_HERE]
    print(as_text(tables, lines))
    write_json(config.out / "results.json", {"config": to_dict(config), "results": results})
    write_text(config.out / "results.md", as_markdown(tables, lines))
    write_text(config.out / "results.tex", as_latex(tables, lines))
    for ending in ("json", "md", "tex"):
        print(f"results: {config.out / f'results.{ending}'}")
    groups: list[str] = []
    bars: dict[str, list[Bar]] = {}
    for key, label, number, name in shown(results):
        groups.append(f"{label}\n{name}".replace(" ", "\n", 1))
        for row, result in results[key].items():
            found = result[number]
            bars.setdefault(row, []).append(
                (found["mean"], found["std"] if result["seeds"] > 1 else None)
            )
    note = "intervals: standard deviation over seeds"
    heading = f"frozen features on {config.data}"
    draw("picture", config.out / "results.png", bars_figure, groups, bars, heading, note)


def shown(results: Results) -> list[tuple[str, str, str, str]]:
    """Evaluation, its label, key and name of each number that there is."""
    return [
        (key, label, number, name)
        for key, label, numbers in NUMBERS
        for number, name in numbers
        if key in results
    ]


def frozen_table(config: EvalAllConfig, results: Results) -> Table:
    """All that is measured on the whole of the data, with the encoders side by side."""
    names = list(next(iter(results.values())))
    rows = []
    for key, label, number, name in shown(results):
        cells = []
        for row in names:
            result = results[key][row]
            std = result[number]["std"] if result["seeds"] > 1 else None
            cells.append(percent(result[number]["mean"], std))
        rows.append([label, name, *cells])
    head = f"Frozen features on {config.data}, percent, mean ± standard deviation over seeds"
    return Table(head, ["evaluation", "number", *names], rows, left=(0, 1))


def fewshot_table(config: EvalAllConfig, name: str, found: dict[str, Any]) -> Table:
    """The settings of one few-shot protocol."""
    first = next(iter(found.values()))
    rows = [
        [
            title(setting),
            str(setting["runs"]),
            *(interval(result["settings"][number]["accuracy"]) for result in found.values()),
        ]
        for number, setting in enumerate(first["settings"])
    ]
    head = (
        f"Few-shot on {config.data}, protocol {first['protocol']}: accuracy in percent, mean ± "
        "standard deviation over episodes [95% interval of the mean]"
    )
    return Table(head, ["setting", "runs", *found], rows)


def facts(results: Results) -> list[str]:
    """How each evaluation was made, and what a reader must know of it."""
    labels = {key: label for key, label, _ in NUMBERS} | {"retrieval": "retrieval"}
    by_evaluation = {}
    for key, found in results.items():
        first = next(iter(found.values()))
        seeds = f"{first['seeds']} seeds" if first["seeds"] > 1 else "one seed"
        served = f"{first['points']} {first['sampling']} points, k {first['k'] or '-'}, {seeds}"
        chosen = []
        if "c" in first:
            chosen = owned(
                {row: [f"C {low_high(result['c'])} {result['c_chosen_by']}"]
                 for row, result in found.items()}
            )  # fmt: skip
        elif "neighbours" in first:
            chosen = owned(
                {row: [f"{low_high(result['neighbours'])} neighbours "
                       f"{result['neighbours_chosen_by']}"]
                 for row, result in found.items()}
            )  # fmt: skip
        lines = [served, *chosen, *([first["how"]] if "how" in first else [])]
        lines += [f"caveat: {line}" for line in first["caveats"]]
        lines += owned({row: [*r["data_notes"], *r["notes"]] for row, r in found.items()})
        by_evaluation[labels.get(key, key.replace("fewshot_", "few-shot "))] = lines
    return [*owned(by_evaluation), APART]


def low_high(values: Sequence[float]) -> str:
    """``"0.01"``, or ``"0.01..0.1"`` where seeds differ."""
    low, high = f"{min(values):g}", f"{max(values):g}"
    return low if low == high else f"{low}..{high}"
