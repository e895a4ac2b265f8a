"""`pointssl data list`: the known datasets, where to get them, and which are on this machine."""

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
    """What is known about each dataset, by name; ``"found"`` is None if it is not on this machine.

    Raises:
        DataError: ``config.data_root`` is not a folder.
        UsageError: ``config.name`` is not a dataset.
    """
    root = (config.data_root or Path(os.environ.get("POINTSSL_DATA") or "data")).expanduser()
    if config.data_root is not None and not root.is_dir():
        raise DataError(f"--data-root {config.data_root}: no such folder")
    entries = CATALOGUE if config.name is None else {config.name: find_entry(config.name)}
    return {name: _describe(entry, find_dataset(name, root)) for name, entry in entries.items()}


def main(config: ListConfig) -> None:
    """Print what :func:`run` finds, as a table or as JSON."""
    found = run(config)
    print(json.dumps(found, indent=2) if config.json else as_text(found))


def found_here(root: Path | None) -> dict[str, str]:
    """For each dataset in files ``"9840 train, 2468 test in 40 classes"`` or ``"not found"``."""
    in_files = [name for name in DATASETS if CATALOGUE[name].origin != "generated"]
    return {name: str(find_dataset(name, root)) for name in in_files if name != "folder"}


def _describe(entry: Entry, local: LocalDataset) -> dict[str, Any]:
    clouds: Any = dict(entry.clouds)
    if entry.by_classes:
        clouds = {f"{count} classes": dict(each) for count, each in entry.by_classes.items()}
    found = None
    if local.splits:
        folder = None if entry.origin == "generated" else str(local.folder)
        found = {"folder": folder, "clouds": local.splits, "classes": local.classes}
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
        "how": entry.how or f"pointssl data download {local.name}",
        "addresses": [url for archive in entry.archives for url in archive.urls],
        "found": found,
    }


def as_text(datasets: dict[str, dict[str, Any]]) -> str:
    """A table for 100 columns; for a single dataset all that is known about it."""
    if len(datasets) == 1:
        return "\n".join(_card(*next(iter(datasets.items()))))
    rows = [("name", "clouds", "classes", "up", "GB", "from", "here")]
    for name, one in datasets.items():
        rows.append(
            (
                name,
                _counts(one["clouds"]),
                str(one["classes"] or ""),
                one["up_axis"],
                f"{one['gigabytes']:g}" if one["gigabytes"] else "",
                one["origin"],
                _local_counts(one),
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
    """A dataset in lines of a label and a text, wrapped at 100 columns."""
    clouds = one["clouds"]
    if clouds and all(isinstance(each, dict) for each in clouds.values()):
        counts = "; ".join(f"{key}: {_numbers(each)}" for key, each in clouds.items())
    else:
        counts = _numbers(clouds, one["classes"])
    found = one["found"]
    lines = {
        "layout": one["layout"],
        "clouds": counts,
        "up": f"{one['up_axis']} in the files; y where they are served",
        "size": f"about {one['gigabytes']:g} GB" if one["gigabytes"] else "",
        "terms": one["terms"],
        "home": one["home"],
        "get it": one["how"],
        "from": " ".join(one["addresses"]),
        "here": "no" if found is None else _numbers(found["clouds"], found["classes"]),
        "folder": (found or {}).get("folder") or "",
    }
    text = textwrap.wrap(f"{name}: {one['title']}", 100)
    for label, value in lines.items():
        if value:
            text += textwrap.wrap(
                value, 100, initial_indent=f"  {label:<8}", subsequent_indent=" " * 10,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    return text


def _numbers(clouds: dict[str, int], classes: int | None = None) -> str:
    counts = ", ".join(f"{count} {split}" for split, count in clouds.items())
    return " in ".join(filter(None, (counts, f"{classes} classes" if classes else "")))


def _counts(clouds: dict[str, Any]) -> str:
    """``"9840/2468"``; of a layout that several datasets share, those of the first dataset."""
    first = next(iter(clouds.values()), None)
    return _counts(first) if isinstance(first, dict) else "/".join(map(str, clouds.values()))


def _local_counts(one: dict[str, Any]) -> str:
    """The clouds on this machine, and the classes if their number is not the official one."""
    found = one["found"]
    if found is None:
        return "-"
    if set(found["clouds"]) == set(one["clouds"]):
        counts = "/".join(map(str, found["clouds"].values()))
    else:
        counts = ", ".join(f"{count} {split}" for split, count in found["clouds"].items())
    other = one["classes"] and found["classes"] != one["classes"]
    return counts + (f" in {found['classes']} classes" if other else "")
