"""`pointssl data download`: a dataset from the net, or from archives that are here."""

import os
import sys
from pathlib import Path

from pointssl.config.data import DownloadConfig
from pointssl_datasets.base.errors import UsageError, UserError
from pointssl_datasets.catalogue import Entry
from pointssl_datasets.downloading.download import download, entry_of
from pointssl_datasets.downloading.fetch import Patience


def run(config: DownloadConfig, patience: Patience = Patience()) -> Path:
    """The folder that holds the dataset now.

    Raises:
        UsageError: unknown name, nothing to download, or terms that nobody accepted.
        UserError: no mirror has it, the disk is full, or an archive is not what it ought to be.
    """
    entry = entry_of(config.name)
    root = (config.to or Path(os.environ.get("POINTSSL_DATA") or "data")).expanduser()
    if root.exists() and not root.is_dir():
        raise UserError(f"--to {root}: is a file, not a folder")
    try:
        return download(
            config.name,
            root.absolute(),
            archives=config.archive,
            mirrors=config.mirror,
            agree=lambda: _ask(config, entry),
            keep_archive=config.keep_archive,
            progress=config.progress,
            patience=patience,
            say=_say,
        )
    except KeyboardInterrupt:
        _say("What has arrived is kept: the same command goes on from there.")
        raise


def main(config: DownloadConfig) -> None:
    """Print the folder that :func:`run` returns."""
    print(run(config))


def _say(line: str) -> None:
    print(line, flush=True)


def _ask(config: DownloadConfig, entry: Entry) -> None:
    """Shows the terms; they are to be accepted before anything is fetched.

    Whoever brings the archive has agreed to them where it came from.
    """
    if not entry.terms:
        return
    _say(f"Terms of {config.name}: {entry.terms}")
    if entry.home:
        _say(f"Read more at {entry.home}")
    if config.accept_terms or config.archive:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            f"{config.name}: read its terms ({entry.home}), and if you agree run the command "
            "again with --accept-terms"
        )
    if input("Do you agree? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError(f"{config.name}: not downloaded, as its terms are not accepted")
