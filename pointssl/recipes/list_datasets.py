"""`pointssl data list`: which datasets are known, where they come from, and which are here."""

import os
from pathlib import Path
from typing import Any

from pointssl.data_config import ListConfig
from pointssl_datasets import DATASETS
from pointssl_datasets.catalogue import CATALOGUE, Entry
from pointssl_datasets.finding import Found, find

_HINT = (
    "pointssl data download NAME gets one, --data NAME reads it; data list --json tells all about "
    "each."
)


def run(config: ListConfig) -> dict[str, dict[str, Any]]:
    """Plain facts by name; a dataset that is not here has ``"found": None``. Never raises for what
    is absent.
    """
    root = (config.data_root or Path(os.environ.get("POINTSSL_DATA") or "data")).expanduser()
    return {name: _facts(CATALOGUE[name], find(name, root)) for name in DATASETS}


def found_here(root: Path | None) -> dict[str, str]:
    """``"9840 train, 2468 test in 40 classes"`` or ``"not found"``, of each that has a layout."""
    laid_out = [name for name in DATASETS if CATALOGUE[name].origin != "generated"]
    return {name: str(find(name, root)) for name in laid_out if name != "folder"}


def _facts(entry: Entry, found: Found) -> dict[str, Any]:
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
    """A table for 100 columns."""
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
