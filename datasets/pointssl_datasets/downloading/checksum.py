"""Comparing a file with its published checksum."""

import hashlib
from pathlib import Path

from pointssl_datasets.catalogue import Archive

_CHUNK = 2**20


def check(archive: Archive, path: Path) -> tuple[str, str]:
    """The SHA-256 of a file, and the name of the checksum that was compared.

    The name is ``"sha256"`` or ``"md5"``, and empty if no checksum is published.

    Raises:
        ValueError: the checksum differs from the published one.
    """
    digests = {"sha256": hashlib.sha256()}
    if archive.md5 and not archive.sha256:
        digests["md5"] = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            for digest in digests.values():
                digest.update(block)
    for name, digest in digests.items():
        published = getattr(archive, name)
        if published and digest.hexdigest() != published.lower():
            raise ValueError(f"its {name} is {digest.hexdigest()}, the published one {published}")
    checked = "sha256" if archive.sha256 else "md5" if archive.md5 else ""
    return digests["sha256"].hexdigest(), checked
