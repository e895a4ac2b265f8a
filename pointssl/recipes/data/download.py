"""`pointssl data download`: a dataset from the internet, or from local archives."""

import os
import sys
from pathlib import Path

from pointssl.config.data import DownloadConfig
from pointssl_datasets.base.errors import UsageError, UserError
from pointssl_datasets.catalogue import Entry
from pointssl_datasets.downloading.download import download, downloadable_entry
from pointssl_datasets.downloading.fetch import RetryPolicy


def run(config: DownloadConfig, retries: RetryPolicy = RetryPolicy()) -> Path:
    """Downloads the dataset and returns its folder.

    Raises:
        UsageError: unknown name, nothing to download, or the terms are not accepted.
        UserError: all mirrors failed, the disk is full, or an archive is damaged.
    """
    entry = downloadable_entry(config.name)
    root = (config.to or Path(os.environ.get("POINTSSL_DATA") or "data")).expanduser()
    if root.exists() and not root.is_dir():
        raise UserError(f"--to {root}: is a file, not a folder")
    try:
        return download(
            config.name,
            root.absolute(),
            archives=config.archive,
            mirrors=config.mirror,
            accept_terms=lambda: _accept_terms(config, entry),
            keep_archive=config.keep_archive,
            progress=config.progress,
            retries=retries,
            say=_say,
        )
    except KeyboardInterrupt:
        _say("The part that has arrived is kept: the same command resumes the download.")
        raise


def main(config: DownloadConfig) -> None:
    """Print the folder that :func:`run` returns."""
    print(run(config))


def _say(line: str) -> None:
    print(line, flush=True)


def _accept_terms(config: DownloadConfig, entry: Entry) -> None:
    """Shows the terms of use, and asks the user to accept them unless they are already accepted.

    A user who supplies the archive has accepted them when downloading it.

    Raises:
        UsageError: the terms are not accepted.
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
            f"{config.name}: read its terms ({entry.home}), and if you agree, run the command "
            "again with --accept-terms"
        )
    if input("Do you agree? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError(f"{config.name}: not downloaded, as its terms were not accepted")
