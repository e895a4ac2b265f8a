"""`pointssl data check`: everything is read once, and what is wrong with it is said, worst first.

``--fix`` writes a skip list, with which loaders leave out what is broken; nothing is deleted.
"""

import dataclasses
import functools
import json
import re
from pathlib import Path

from pointssl.config.data import CheckConfig
from pointssl.recipes.splits import list_split
from pointssl_datasets.base.errors import DataError, UsageError, UserError
from pointssl_datasets.base.paths import data_root
from pointssl_datasets.base.skipping import FILE_NAME, Skip, find_skip_list
from pointssl_datasets.base.source import Source
from pointssl_datasets.base.writing import write_text
from pointssl_datasets.catalogue import CATALOGUE, splits_of
from pointssl_datasets.checking.clouds import Seen, audit_classes, audit_split
from pointssl_datasets.checking.files import audit_files
from pointssl_datasets.checking.findings import Findings
from pointssl_datasets.checking.fix import add_skips
from pointssl_datasets.checking.report import Report
from pointssl_datasets.layout.pairs import Unpaired
from pointssl_datasets.sets import GENERATED

BY_FOLDER = ("folder", "packed")  # a split is a folder of that name, and need not be there


def main(config: CheckConfig) -> Report:
    """Print the report of :func:`run`; its ``exit_code`` is that of the command."""
    report = run(config)
    print(json.dumps(report.as_json(), indent=2) if config.json else report.as_text())
    return report


def run(config: CheckConfig) -> Report:
    """Checks the splits that the config names; with ``config.fix`` writes the skip list.

    Raises:
        UsageError: an unknown dataset or split, or options that do not fit it.
        DataError: the skip list or the report can't be read or written.
    """
    if config.data.startswith("concat:"):
        raise UsageError(f"--data {config.data}: check the datasets one by one")
    named = config.skip_list
    if config.fix and named is not None and not named.expanduser().is_file():
        named = None  # it is about to be written
    in_force = find_skip_list(config.data_root, named)
    findings = Findings(config.data)
    seen = Seen()
    clouds: dict[str, int] = {}
    classes: tuple[str, ...] = ()
    up_axis = ""
    closed: dict[str, str] = {}  # split -> why it can't be opened
    for split in _splits(config.data, config.split):
        source = _open(config, split, in_force, findings, closed)
        if source is None:
            continue
        _counts(config.data, source, findings)
        audit_split(
            source,
            findings,
            seen,
            points=config.points,
            pictures=config.pictures,
            progress=config.progress,
        )
        clouds[split], classes, up_axis = source.count, source.classes, source.up_axis
    _unopenable(closed, findings)
    if clouds:
        audit_classes(classes, seen, findings)
        _axis(config.data, up_axis, seen, findings)
    root = _root(config)
    if root is not None:
        audit_files(root, config.data, findings)
    report = Report(
        dataset=config.data,
        clouds=clouds,
        findings=tuple(findings.sorted()),
        strict=config.strict,
        fixable=len({(skip.split, skip.name) for skip in findings.skips}),
    )
    if config.fix and findings.skips:
        try:
            report = _fixed(config, report, findings.skips, in_force, root)
        except UserError:
            print(report.as_text(), flush=True)  # what was read is not read in vain
            raise
    if config.out is not None:
        write_text(config.out, json.dumps(report.as_json(), indent=2) + "\n")
    return report


def _splits(name: str, asked: str) -> list[str]:
    """Test first: what is in two splits is then reported, and left out, where one trains."""
    if asked != "all":
        return [asked]
    order = {"test": 0, "val": 1, "train": 2}
    return sorted(splits_of(name), key=lambda split: order.get(split, 3))


def _open(
    config: CheckConfig,
    split: str,
    skip_list: Path | None,
    findings: Findings,
    closed: dict[str, str],
) -> Source | None:
    """The split, or None where there is none; ``closed`` or ``findings`` then say why."""
    try:
        source = _paired(config, split, skip_list, findings)
    except UsageError:
        if config.split != "all" or split == "train":
            raise
        return None  # by design
    except UserError as error:
        if config.data in BY_FOLDER and config.split == "all" and _lacks(config, split):
            if split != "val":  # few datasets have one
                findings.add("no-split", split, detail=str(error))
        else:
            closed[split] = str(error)
        return None
    if not source.count:
        findings.add("unopenable", split, detail=f"{config.data}: no clouds")
    for note in source.notes:
        if "ignored" in note:
            findings.add("ignored", split, detail=note)
    if source.left_out:
        findings.add("skipped", split, detail=str(skip_list), count=source.left_out)
    return source


def _paired(config: CheckConfig, split: str, skip_list: Path | None, findings: Findings) -> Source:
    """The split without what is unpaired, all of which is added to the findings."""
    listed = dataclasses.replace(config, skip_list=skip_list)  # the one in force
    opened = functools.partial(list_split, listed, split)
    try:
        return opened(on_unpaired="error")
    except Unpaired as error:
        clouds, pictures = error.clouds, error.images
    try:
        source = opened(on_unpaired="skip")
    except DataError:  # no cloud has pictures: what is wrong is that a few lie about
        if not pictures:
            raise
        clouds = ()
        source = opened(on_unpaired="error", ignore=pictures)
    for kind, names in (("unpaired-cloud", clouds), ("unpaired-picture", pictures)):
        for name in names:
            findings.add(kind, split, name)
    return source


def _unopenable(closed: dict[str, str], findings: Findings) -> None:
    """What differs between two splits only in their names is said once."""
    alike: dict[str, list[str]] = {}
    for split, message in closed.items():
        alike.setdefault(re.sub(r"\b(test|val|train)\b", "*", message), []).append(split)
    for splits in alike.values():
        whole = "" if len(splits) > 1 else splits[0]
        findings.add("unopenable", whole, detail=closed[splits[-1]])


def _lacks(config: CheckConfig, split: str) -> bool:
    """Whether some split has a folder, and this one has none."""
    root = _root(config)
    if root is None:
        return False
    there = [name for name in ("train", "val", "test") if (root / name).is_dir()]
    return split not in there and bool(there or split == "val")


def _counts(name: str, source: Source, findings: Findings) -> None:
    """Compares with the official release."""
    entry = CATALOGUE.get(name)
    if entry is None:
        return
    official = entry.official(source.split, len(source.classes))
    here = source.count + source.left_out
    if official is not None and official != here:
        findings.add("counts", source.split, detail=f"{here} clouds, officially {official}")
    if entry.classes is not None and source.classes and entry.classes != len(source.classes):
        detail = f"{len(source.classes)} classes, officially {entry.classes}"
        findings.add("counts", source.split, detail=detail)


def _axis(name: str, stated: str, seen: Seen, findings: Findings) -> None:
    found = seen.axis.found()
    if found is None or found.axis == stated:
        return
    detail = (
        f"{found.axis} points up in {found.agree} of {found.classes} classes whose shape is known "
        f"({found.clouds} clouds), but {name} is taken to be {stated}-up"
    )
    todo = f"Pass --up-axis {found.axis}."
    if found.axis.startswith("-"):
        axis = found.axis[1:]
        todo = f"The shapes stand on their head: negate {axis} and one more axis in the files."
        todo += f" Then pass --up-axis {axis}." if axis != stated else ""
    findings.add("axis", "", detail=detail, todo=todo)


def _root(config: CheckConfig) -> Path | None:
    """The folder to look around in; None where nothing was named or there is none."""
    if config.data in GENERATED or (":" in config.data and config.data_root is None):
        return None
    try:
        return data_root(config.data_root, config.data)
    except DataError:
        return None


def _fixed(
    config: CheckConfig, report: Report, skips: list[Skip], in_force: Path | None, root: Path | None
) -> Report:
    """Writes the skip list: what was in force, then what is new."""
    path, hint = config.skip_list, ""
    if path is not None:
        path = path.expanduser()
        hint = f" (pass --skip-list {path})"
    elif root is not None:
        path = root / FILE_NAME
        hint = "" if config.data_root else f" (pass --skip-list {path})"
    else:
        raise UsageError(f"--fix: {config.data} has no folder. Name the file with --skip-list.")
    add_skips(path, in_force, skips)
    return dataclasses.replace(report, skip_list=path, hint=hint)
