"""`pointssl eval-all`: every evaluation that trains no network, in one table for a checkpoint."""

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any

from pointssl.config.evaluate import EvalAllConfig, EvalOptions
from pointssl.engine.distributed import World, start_world
from pointssl.features.encoder import where
from pointssl.probes import PROBES
from pointssl.probes.base import Probe, Split
from pointssl.probes.build import eval_config, find_probe
from pointssl.recipes.evaluate import evaluate_encoders
from pointssl.recipes.evaluate_outcome import draw
from pointssl.recipes.fewshot import answer
from pointssl.reports.classifiers import chosen, how_chosen, low_high
from pointssl.reports.fewshot import APART, interval, title
from pointssl.reports.figures.bars import Bar, bars_figure
from pointssl.reports.formats import Table, as_latex, as_markdown, as_text
from pointssl.reports.tables import owned, percent
from pointssl.runs.folder import RunFolder
from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.writing import write_text

NOT_HERE = (
    "few-shot by full fine-tuning is not among these, as it trains a network for each episode: "
    "pointssl eval-fewshot --protocol point-mae"
)
Results = dict[str, dict[str, Any]]  # evaluation -> row -> result


def run(config: EvalAllConfig) -> Results:
    """Evaluate as ``config`` says; returns what is written to ``results.json``."""
    with start_world(config.device, config.threads, config.kernels) as world:
        return evaluate(config, world)


def evaluate(config: EvalAllConfig, world: World) -> Results:
    """:func:`run` in a process group that exists already. Rank 0 alone judges."""
    world.say(f"every evaluation of {where(config.weights)} on {config.data} without training")
    folder = RunFolder(config.out, config, world)
    notes: list[str] = []
    probes = all_probes()
    results: Results = {}
    for serving, together in by_serving(probes):
        found = evaluate_encoders(
            config,
            world,
            partial(several, {name: probes[name] for name in together}, config, notes),
            **serving,
        )
        for row, several_results in found.items():
            about = {key: value for key, value in several_results.items() if key != "each"}
            for name, result in several_results["each"].items():
                lines = [*result["notes"], *about["notes"]]
                results.setdefault(name, {})[row] = {**about, **result, "notes": lines}
    results = {name: results[name] for name in probes if name in results}
    for protocol in ("strict", "crosspoint"):
        name = f"fewshot_{protocol}"
        try:
            results[name] = answer(fewshot_config(config, protocol), world)
        except DataError as error:  # the same on every rank: the data has too few shapes
            notes.append(f"few-shot {protocol} is left out: {error}")
    if world.is_main:
        report(config, folder, results, list(dict.fromkeys(notes)))
    return results


def all_probes() -> dict[str, Probe]:
    """Every probe but few-shot, which has tables of its own, by its key in the results:
    ``svm_strict``, ``svm_crosspoint``, ``knn``, ..."""
    return {
        "_".join(filter(None, (name, variant))): probe
        for name, probe_class in _classes().items()
        for variant, probe in probe_class.variants().items()
    }


def titles() -> dict[str, str]:
    """What tables call each of :func:`all_probes`: ``"SVM strict"``, ``"k-means"``, ..."""
    words = [
        " ".join(filter(None, (probe_class.title, variant)))
        for probe_class in _classes().values()
        for variant in probe_class.variants()
    ]
    return dict(zip(all_probes(), words, strict=True))


def _classes() -> dict[str, type[Probe]]:
    return {name: find_probe(name) for name in PROBES if name != "fewshot"}


def by_serving(probes: dict[str, Probe]) -> list[tuple[dict[str, Any], list[str]]]:
    """Keys of the probes that see the same clouds, and how those are served."""
    groups: list[tuple[dict[str, Any], list[str]]] = []
    for name, probe in probes.items():
        for serving, names in groups:
            if serving == probe.serving():
                names.append(name)
                break
        else:
            groups.append((probe.serving(), [name]))
    return groups


def several(
    probes: dict[str, Probe],
    config: EvalAllConfig,
    notes: list[str],
    passes: Sequence[Split],
    classes: Sequence[str],
) -> dict[str, Any]:
    """Results of all ``probes`` on the same features; what the data does not allow is noted."""
    each = {}
    for name, probe in probes.items():
        share = {"label_fraction": config.label_fraction} if probe.learns else {}
        try:
            each[name] = probe.evaluate(passes, classes=classes, **share)
        except DataError as error:
            notes.append(f"{name.replace('_', ' ')} is left out: {error}")
    return {"each": each, "notes": []}


def fewshot_config(config: EvalAllConfig, protocol: str) -> EvalOptions:
    """The options of `eval-fewshot` that these are."""
    shared = {field.name: getattr(config, field.name) for field in fields(EvalOptions)}
    out = config.out / f"fewshot_{protocol}"
    return eval_config("fewshot")(**{**shared, "protocol": protocol, "out": out})


def report(
    config: EvalAllConfig, folder: RunFolder, results: Results, notes: Sequence[str]
) -> None:
    """The tables in the terminal, as Markdown and as LaTeX, ``results.json`` and a picture."""
    tables = [frozen_table(config, results)]
    tables += [fewshot_table(config, name, results[name]) for name in results if "fewshot" in name]
    lines = [*notes, *facts(results), NOT_HERE]
    print(as_text(tables, lines))
    folder.finish(results)
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
    """Evaluation, its title, key and heading of each number that there is."""
    title_of = titles()
    return [
        (name, title_of[name], key, heading)
        for name, probe in all_probes().items()
        if name in results
        for heading, key in probe.numbers.items()
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
    title_of = titles()
    by_evaluation = {}
    for key, found in results.items():
        first = next(iter(found.values()))
        seeds = f"{first['seeds']} seeds" if first["seeds"] > 1 else "one seed"
        lines = [f"{first['points']} {first['sampling']} points, k {first['k'] or '-'}, {seeds}"]
        lines += owned({row: choice(result) for row, result in found.items()})
        lines += [first["how"]] if "how" in first else []
        lines += [f"caveat: {line}" for line in first["caveats"]]
        lines += owned({row: [*r["data_notes"], *r["notes"]] for row, r in found.items()})
        by_evaluation[title_of.get(key, key.replace("fewshot_", "few-shot "))] = lines
    return [*owned(by_evaluation), APART]


def choice(result: dict[str, Any]) -> list[str]:
    """``["C 0.01..1 by 5-fold cross-validation on train"]``, of a classifier that chooses."""
    name = chosen(result)
    if name is None:
        return []
    words = how_chosen(result).split(" ", 1)
    return [f"{words[0]} {low_high(result[name])} {words[1]}"]
