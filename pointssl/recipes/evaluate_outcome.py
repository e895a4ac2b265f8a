"""How results of an evaluation are printed, written to ``results.json`` and drawn."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pointssl.config.evaluate import EvalOptions
from pointssl.reports.classifiers import format_report
from pointssl.reports.scores import format_scores
from pointssl.runs.folder import RunFolder
from pointssl_datasets.base.errors import UserError


def print_and_save(folder: RunFolder, text: str, results: Mapping[str, Any]) -> None:
    """The text, what is to be said of the data, and the files of a run folder."""
    print(text)
    first = next(iter(results.values()))
    for note in first["data_notes"]:
        print(f"- data: {note}")
    if "up" in first["turn"].values() or "so3" in first["turn"].values():
        print(f"- clouds turned: train {first['turn']['train']}, test {first['turn']['test']}")
    print(f"results: {folder.finish(results)}")


def confusion_path(config: EvalOptions, name: str) -> Path:
    """Where the confusion matrix of a row is drawn."""
    return config.out / f"confusion_{name.replace(' ', '_')}.png"


def report_classifier(config: EvalOptions, folder: RunFolder, results: Mapping[str, Any]) -> None:
    """The table of a classifier, ``results.json`` and a confusion matrix per row."""
    from pointssl.reports.figures.features import confusion_figure

    print_and_save(folder, format_report(results), results)
    for name, result in results.items():
        path = confusion_path(config, name)
        title = f"{name}: {100 * result['accuracy']['mean']:.1f}% on {result['data']}"
        matrix = np.array(result["confusion"])
        draw("confusion matrix", path, confusion_figure, matrix, result["classes"], title)
    names = " against ".join(
        f"{name} {100 * result['accuracy']['mean']:.1f}%" for name, result in results.items()
    )
    print(f"accuracy: {names}")


def report_scores(
    config: EvalOptions, folder: RunFolder, results: Mapping[str, Any], probe: Any
) -> None:
    """The table of a probe's numbers, ``results.json``, and bars.

    Args:
        probe: a :class:`pointssl.probes.base.Probe`.
    """
    from pointssl.reports.figures.bars import bars_figure

    how = probe.how(next(iter(results.values())))
    print_and_save(folder, format_scores(results, probe.numbers, how), results)
    bars = {}
    for name, result in results.items():
        many = result["seeds"] > 1
        found = [result[key] for key in probe.numbers.values()]
        bars[name] = [(value["mean"], value["std"] if many else None) for value in found]
    note = f"intervals: standard deviation over {result['seeds']} seeds" if many else "one seed"
    title = f"{probe.title} on {config.data}"
    draw("picture", config.out / "scores.png", bars_figure, list(probe.numbers), bars, title, note)


def draw(what: str, path: Path, figure: Callable[..., None], *arguments: Any) -> None:
    """``figure(*arguments, path)`` and a line about it; a result is not lost for want of one."""
    try:
        figure(*arguments, path)
    except UserError as error:
        print(f"no picture: {error}")
    else:
        print(f"{what}: {path}")
