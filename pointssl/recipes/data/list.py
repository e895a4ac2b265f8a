"""`pointssl data list`: which datasets are known, where they come from, and which are here."""

import json
import os
import textwrap
from pathlib import Path
from typing import Any

from pointssl.config.data import ListConfig
from pointssl_datasets.base.errors import DataError
from pointssl_datasets.catalogue import CATALOGUE, Entry, find_entry
from pointssl_datasets.serving.finding import LocalDataset, find_dataset
from pointssl_datasets.sets import DATASETS

_HINT = (
    "`pointssl data list NAME` has layout and terms, `data download NAME` gets it, --data "
    "NAME reads it."
)


def run(config: ListConfig) -> dict[str, dict[str, Any]]:
    """Plain facts by name; a dataset that is not here has ``"found": None``. Never raises for what
    is absent.

    Raises:
        DataError: ``config.data_root`` is no folder.
        UsageError: ``config.name`` is no dataset.
    """
    root = (config.data_root or Path(os.environ.get("POINTSSL_DATA") or "data")).expanduser()
    if config.data_root is not None and not root.is_dir():
        raise DataError(f"--data-root {config.data_root}: no such folder")
    entries = CATALOGUE if config.name is None else {config.name: find_entry(config.name)}
    return {name: _facts(entry, find_dataset(name, root)) for name, entry in entries.items()}


def main(config: ListConfig) -> None:
    """Print what :func:`run` finds, as a table or as JSON."""
    found = run(config)
    print(json.dumps(found, indent=2) if config.json else as_text(found))


def found_here(root: Path | None) -> dict[str, str]:
    """``"9840 train, 2468 test in 40 classes"`` or ``"not found"``, of each that has a layout."""
    laid_out = [name for name in DATASETS if CATALOGUE[name].origin != "generated"]
    return {name: str(find_dataset(name, root)) for name in laid_out if name != "folder"}


def _facts(entry: Entry, found: LocalDataset) -> dict[str, Any]:
    clouds: Any = dict(entry.clouds)
    if entry.by_classes:
        clouds = {f"{count} classes": dict(each) for count, each in entry.by_classes.items()}
    here = None
    if found.splits:
        folder = None if entry.origin == "generated" else str(found.folder)
        here = {"folder": folder, "clouds": found.splits, "classes": found.classes}
    return {
        "title": entry.title,
        "layout": entry.layout,
        "up_axis": entry.up_axis,
        "clouds": clouds,
        "classes": entry.classes,
        "gigabytes": entry.gigabytes,
        "terms": entry.terms,
        "home": entry.home,
        "origin": entry.origin,
        "how": entry.how or f"pointssl data download {found.name}",
        "addresses": [url for archive in entry.archives for url in archive.urls],
        "found": here,
    }


def as_text(facts: dict[str, dict[str, Any]]) -> str:
    """A table for 100 columns, or all about a single dataset."""
    if len(facts) == 1:
        return "\n".join(_card(*next(iter(facts.items()))))
    rows = [("name", "clouds", "classes", "up", "GB", "from", "here")]
    for name, one in facts.items():
        rows.append(
            (
                name,
                _counts(one["clouds"]),
                str(one["classes"] or ""),
                one["up_axis"],
                f"{one['gigabytes']:g}" if one["gigabytes"] else "",
                one["origin"],
                _here(one),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        for column in (2, 4):  # numbers
            cells[column] = row[column].rjust(widths[column])
        lines.append("  ".join([*cells, row[6]]).rstrip())
    return "\n".join([*lines, "", _HINT])


def _card(name: str, one: dict[str, Any]) -> list[str]:
    """A dataset in lines of ``what: text``, wrapped for 100 columns."""
    clouds = one["clouds"]
    if clouds and all(isinstance(each, dict) for each in clouds.values()):
        counts = "; ".join(f"{key}: {_numbers(each)}" for key, each in clouds.items())
    else:
        counts = _numbers(clouds, one["classes"])
    here = one["found"]
    lines = {
        "layout": one["layout"],
        "clouds": counts,
        "up": f"{one['up_axis']} in the files; y where they are served",
        "size": f"about {one['gigabytes']:g} GB" if one["gigabytes"] else "",
        "terms": one["terms"],
        "home": one["home"],
        "get it": one["how"],
        "from": " ".join(one["addresses"]),
        "here": "no" if here is None else _numbers(here["clouds"], here["classes"]),
        "folder": (here or {}).get("folder") or "",
    }
    text = textwrap.wrap(f"{name}: {one['title']}", 100)
    for what, value in lines.items():
        if value:
            text += textwrap.wrap(
                value, 100, initial_indent=f"  {what:<8}", subsequent_indent=" " * 10,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    return text


def _numbers(clouds: dict[str, int], classes: int | None = None) -> str:
    counts = ", ".join(f"{count} {split}" for split, count in clouds.items())
    return " in ".join(filter(None, (counts, f"{classes} classes" if classes else "")))


def _counts(clouds: dict[str, Any]) -> str:
    """``"9840/2468"``; the layout that several datasets share has the first."""
    first = next(iter(clouds.values()), None)
    return _counts(first) if isinstance(first, dict) else "/".join(map(str, clouds.values()))


def _here(one: dict[str, Any]) -> str:
    """What lies here, and that it is not the original, where its classes tell."""
    found = one["found"]
    if found is None:
        return "-"
    if set(found["clouds"]) == set(one["clouds"]):
        counts = "/".join(map(str, found["clouds"].values()))
    else:
        counts = ", ".join(f"{count} {split}" for split, count in found["clouds"].items())
    other = one["classes"] and found["classes"] != one["classes"]
    return counts + (f" in {found['classes']} classes" if other else "")
