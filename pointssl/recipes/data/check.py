"""`pointssl data check`: reads a dataset once and reports its problems, the worst first.

``--fix`` writes a skip list, by which loaders leave out what is broken. Nothing is deleted.
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
from pointssl_datasets.checking.clouds import AuditState, audit_classes, audit_split
from pointssl_datasets.checking.files import audit_files
from pointssl_datasets.checking.findings import Findings
from pointssl_datasets.checking.fix import add_skips
from pointssl_datasets.checking.report import Report
from pointssl_datasets.layout.pairs import Unpaired
from pointssl_datasets.sets import GENERATED

BY_FOLDER = ("folder", "packed")  # each split is a folder of that name, which may be missing


def main(config: CheckConfig) -> Report:
    """Print the report of :func:`run`; its ``exit_code`` is that of the command."""
    report = run(config)
    print(json.dumps(report.as_json(), indent=2) if config.json else report.as_text())
    return report


def run(config: CheckConfig) -> Report:
    """Checks the split or splits of the config; with ``config.fix`` writes the skip list.

    Raises:
        UsageError: an unknown dataset or split, or options that do not fit the dataset.
        DataError: the skip list or the report can't be read or written.
    """
    if config.data.startswith("concat:"):
        raise UsageError(f"--data {config.data}: check the datasets one by one")
    skip_list = config.skip_list
    if config.fix and skip_list is not None and not skip_list.expanduser().is_file():
        skip_list = None  # it will be written
    active = find_skip_list(config.data_root, skip_list)
    findings = Findings(config.data)
    state = AuditState()
    clouds: dict[str, int] = {}
    classes: tuple[str, ...] = ()
    up_axis = ""
    errors: dict[str, str] = {}  # split -> error, if it can't be opened
    for split in _splits(config.data, config.split):
        source = _open(config, split, active, findings, errors)
        if source is None:
            continue
        _check_counts(config.data, source, findings)
        audit_split(
            source,
            findings,
            state,
            points=config.points,
            images=config.pictures,
            progress=config.progress,
        )
        clouds[split], classes, up_axis = source.count, source.classes, source.up_axis
    _add_errors(errors, findings)
    if clouds:
        audit_classes(classes, state, findings)
        _check_axis(config.data, up_axis, state, findings)
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
            report = _fix(config, report, findings.skips, active, root)
        except UserError:
            print(report.as_text(), flush=True)  # reading the dataset was not in vain
            raise
    if config.out is not None:
        write_text(config.out, json.dumps(report.as_json(), indent=2) + "\n")
    return report


def _splits(name: str, split: str) -> list[str]:
    """The splits to check; test first, so that clouds in two splits are left out of train."""
    if split != "all":
        return [split]
    order = {"test": 0, "val": 1, "train": 2}
    return sorted(splits_of(name), key=lambda one: order.get(one, 3))


def _open(
    config: CheckConfig,
    split: str,
    skip_list: Path | None,
    findings: Findings,
    errors: dict[str, str],
) -> Source | None:
    """The split; or None, after adding to ``errors`` or ``findings``, if it can't be opened."""
    try:
        source = _open_paired(config, split, skip_list, findings)
    except UsageError:
        if config.split != "all" or split == "train":
            raise
        return None  # the dataset does not have this split
    except UserError as error:
        if config.data in BY_FOLDER and config.split == "all" and _is_missing(config, split):
            if split != "val":  # which few datasets have
                findings.add("no-split", split, detail=str(error))
        else:
            errors[split] = str(error)
        return None
    if not source.count:
        findings.add("unopenable", split, detail=f"{config.data}: no clouds")
    for note in source.notes:
        if "ignored" in note:
            findings.add("ignored", split, detail=note)
    if source.left_out:
        findings.add("skipped", split, detail=str(skip_list), count=source.left_out)
    return source


def _open_paired(
    config: CheckConfig, split: str, skip_list: Path | None, findings: Findings
) -> Source:
    """The split without unpaired clouds and images, which are added to the findings."""
    active = dataclasses.replace(config, skip_list=skip_list)
    open_split = functools.partial(list_split, active, split)
    try:
        return open_split(on_unpaired="error")
    except Unpaired as error:
        clouds, images = error.clouds, error.images
    try:
        source = open_split(on_unpaired="skip")
    except DataError:  # no cloud has images, so that only the stray images are a problem
        if not images:
            raise
        clouds = ()
        source = open_split(on_unpaired="error", ignore=images)
    for kind, names in (("unpaired-cloud", clouds), ("unpaired-picture", images)):
        for name in names:
            findings.add(kind, split, name)
    return source


def _add_errors(errors: dict[str, str], findings: Findings) -> None:
    """Adds errors of opening splits; those that differ only in the split's name are added once."""
    same: dict[str, list[str]] = {}
    for split, message in errors.items():
        same.setdefault(re.sub(r"\b(test|val|train)\b", "*", message), []).append(split)
    for splits in same.values():
        split = "" if len(splits) > 1 else splits[0]
        findings.add("unopenable", split, detail=errors[splits[-1]])


def _is_missing(config: CheckConfig, split: str) -> bool:
    """Whether this split has no folder, but another one has."""
    root = _root(config)
    if root is None:
        return False
    existing = [name for name in ("train", "val", "test") if (root / name).is_dir()]
    return split not in existing and bool(existing or split == "val")


def _check_counts(name: str, source: Source, findings: Findings) -> None:
    """Compares the numbers of clouds and classes with the official release."""
    entry = CATALOGUE.get(name)
    if entry is None:
        return
    official = entry.official(source.split, len(source.classes))
    count = source.count + source.left_out
    if official is not None and official != count:
        findings.add("counts", source.split, detail=f"{count} clouds, officially {official}")
    if entry.classes is not None and source.classes and entry.classes != len(source.classes):
        detail = f"{len(source.classes)} classes, officially {entry.classes}"
        findings.add("counts", source.split, detail=detail)


def _check_axis(name: str, stated: str, state: AuditState, findings: Findings) -> None:
    """Compares the up axis that the shapes suggest with the ``stated`` one."""
    up = state.axis.result()
    if up is None or up.axis == stated:
        return
    detail = (
        f"{up.axis} points up in {up.agree} of {up.classes} classes of known shapes "
        f"({up.clouds} clouds), but {name} is assumed to be {stated}-up"
    )
    todo = f"Pass --up-axis {up.axis}."
    if up.axis.startswith("-"):
        axis = up.axis[1:]
        todo = f"The shapes are upside down: negate {axis} and one more axis in the files."
        todo += f" Then pass --up-axis {axis}." if axis != stated else ""
    findings.add("axis", "", detail=detail, todo=todo)


def _root(config: CheckConfig) -> Path | None:
    """The folder of the dataset, to check its other files; None if there is none."""
    if config.data in GENERATED or (":" in config.data and config.data_root is None):
        return None
    try:
        return data_root(config.data_root, config.data)
    except DataError:
        return None


def _fix(
    config: CheckConfig, report: Report, skips: list[Skip], active: Path | None, root: Path | None
) -> Report:
    """Writes the skip list, the lines of the active one first; returns the report with its path."""
    path, hint = config.skip_list, ""
    if path is not None:
        path = path.expanduser()
        hint = f" (pass --skip-list {path})"
    elif root is not None:
        path = root / FILE_NAME
        hint = "" if config.data_root else f" (pass --skip-list {path})"
    else:
        raise UsageError(f"--fix: {config.data} has no folder. Choose a file with --skip-list.")
    add_skips(path, active, skips)
    return dataclasses.replace(report, skip_list=path, hint=hint)
