"""The files that somebody names: themselves, or all clouds below a folder."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.files.readers import SUFFIXES
from pointssl_datasets.files.writers import safe_names
from pointssl_datasets.layout.tree import check_name, entries, is_cloud, is_hidden


class Input(NamedTuple):
    """A file, the name of what is made of it, and the names of the folders it lies in, from the
    nearest up to the one that was given."""

    path: Path
    name: str
    folders: tuple[str, ...]


def list_inputs(given: Sequence[Path], out: Path) -> tuple[list[Input], list[str]]:
    """The clouds and meshes of ``given``, each once, and notes for the user.

    A folder is searched with all below it, but for hidden files and for ``out`` itself, where an
    earlier run may have left its results. Names are unique, and fit to be those of files.

    Raises:
        UsageError: ``out`` is one of the folders.
        DataError: nothing is there, there is no cloud, a folder can't be read, or a name could not
            be printed.
    """
    found: list[tuple[Path, str, tuple[str, ...]]] = []
    ignored: Counter[str] = Counter()
    for path in given:
        if path.is_dir() and path.resolve() == out.resolve():
            raise UsageError(
                f"--out {out}: it is the folder of the input ({path}); name another for the results"
            )
        if path.is_dir():
            found += _below(path, out.resolve(), ignored)
        elif path.exists():
            found.append((path, path.name, (path.absolute().parent.name,)))
        else:
            raise DataError(f"{path}: no such file or folder")
    once = {
        path.resolve(): (path, relative, folders) for path, relative, folders in reversed(found)
    }
    files = list(reversed(once.values()))
    if not files:
        raise DataError(f"{', '.join(map(str, given))}: no clouds or meshes ({' '.join(SUFFIXES)})")
    notes = []
    if ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in ignored.most_common(5))
        notes.append(f"ignored {ignored.total()} other files ({kinds})")
    names = safe_names(tuple(_names(files)))
    inputs = [
        Input(path, name, folders) for (path, _, folders), name in zip(files, names, strict=True)
    ]
    return inputs, notes


def _below(
    folder: Path, out: Path, ignored: Counter[str]
) -> list[tuple[Path, str, tuple[str, ...]]]:
    """Files below ``folder``: path, path from there, names of the folders between."""
    found = []
    top = folder.absolute().name
    seen = set()
    waiting: list[tuple[Path, tuple[str, ...]]] = [(folder, ())]
    while waiting:
        here, inside = waiting.pop()
        real = here.resolve()
        if real in seen or real == out:  # a link to a folder above, or what we wrote ourselves
            continue
        seen.add(real)
        files, folders = entries(here)
        for name in files:
            if is_cloud(name):
                check_name(name, here)
                relative = "/".join((*inside, name))
                found.append((here / name, relative, (*reversed(inside), top)))
            elif not is_hidden(name):
                ignored[os.path.splitext(name)[1] or name] += 1
        kept = [name for name in reversed(folders) if not is_hidden(name)]
        waiting += [(here / name, (*inside, name)) for name in kept]
    return sorted(found, key=lambda one: one[1])


def _names(files: Sequence[tuple[Path, str, tuple[str, ...]]]) -> list[str]:
    """Without suffix where that is unique, else with it, else the whole path."""
    names = [os.path.splitext(relative)[0] for _, relative, _ in files]
    for longer in (
        [relative for _, relative, _ in files],
        [str(p.absolute()) for p, _, _ in files],
    ):
        counts = Counter(names)
        names = [
            more if counts[name] > 1 else name for name, more in zip(names, longer, strict=True)
        ]
    return names
