"""The text that compares results of a probe that gives scores: a column for each of them."""

from collections.abc import Mapping
from typing import Any

from pointssl.reports.tables import owned, percent, remarks, text_table


def format_scores(
    results: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str], how: str
) -> str:
    """A table of results, a row each, with the facts and caveats below it.

    Args:
        results: row name -> result, with ``k``, ``points`` and ``sampling`` of the encoder and
            data beside what the evaluation returned.
        columns: heading -> key of a result, as :attr:`pointssl.probes.base.Probe.numbers`.
        how: what was done, in a line.
    """
    rows = [
        [name, *(_number(result[key], result["seeds"]) for key in columns.values())]
        for name, result in results.items()
    ]
    facts = {
        name: [
            f"{how}; numbers in percent",
            f"protocol {result['protocol']}: {result['dimension']} features, standardised on "
            f"train; {result['train']} train and {result['test']} test shapes, "
            f"{result.get('points')} {result.get('sampling')} points, k {result.get('k') or '-'}, "
            f"{result['seeds']} seeds",
            *(f"caveat: {line}" for line in result["caveats"]),
            *result["notes"],
        ]
        for name, result in results.items()
    }
    return "\n".join([*text_table(["", *columns], rows), "", *remarks(owned(facts))])


def _number(found: Mapping[str, Any], seeds: int) -> str:
    return percent(found["mean"], found["std"] if seeds > 1 else None)
