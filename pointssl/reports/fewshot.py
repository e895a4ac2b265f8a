"""The text that compares few-shot results: a row for each setting, the encoders side by side."""

from collections.abc import Mapping
from typing import Any

from pointssl.reports.tables import owned, percent, remarks, text_table

APART = (
    "few-shot numbers of different protocols answer different questions: never put them in one "
    "table"
)


def title(setting: Mapping[str, Any]) -> str:
    """``"5-way 10-shot"``."""
    return f"{setting['way']}-way {setting['shot']}-shot"


def format_fewshot(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each setting, the encoders side by side, and what a reader must know.

    Args:
        results: row name -> result with ``settings`` (each of ``way``, ``shot``, ``runs`` and
            ``accuracy`` of :func:`pointssl.probes.fewshot.summarise`), ``protocol``, ``how``,
            ``caveats`` and ``notes``; the same settings in each.
    """
    first = next(iter(results.values()))
    rows = []
    for number, setting in enumerate(first["settings"]):
        cells = [interval(result["settings"][number]["accuracy"]) for result in results.values()]
        rows.append([title(setting), str(setting["runs"]), *cells])
    facts = {
        name: [
            f"protocol {result['protocol']}: {result['how']}",
            "accuracy in percent: mean ± standard deviation over episodes [95% interval of the "
            "mean]; each class weighs the same",
            f"{result.get('points')} points, {result.get('sampling')}; k {result.get('k') or '-'}; "
            f"point-sampling seeds: {result['seeds']}",
            *(f"caveat: {line}" for line in result["caveats"]),
            *result["notes"],
            APART,
        ]
        for name, result in results.items()
    }
    header = [f"few-shot, {first['protocol']}", "runs", *results]
    return "\n".join([*text_table(header, rows), "", *remarks(owned(facts))])


def interval(found: Mapping[str, Any]) -> str:
    """``"83.1 ± 4.0 [82.3, 83.9]"``."""
    mean, half = found["mean"], found["ci95"]
    if half is None:
        return percent(mean)
    return f"{percent(mean, found['std'])} [{percent(mean - half)}, {percent(mean + half)}]"
