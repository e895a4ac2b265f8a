"""Checks of the images of a cloud."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.checking.content import file_digest
from pointssl_datasets.packing.images import load_image

SMALLEST = 16  # pixels
_CHECKED_SIZE = 32  # pixels; side at which the content of an image is checked


def check_images(
    paths: Iterable[Path], owner: str, seen: dict[bytes, str]
) -> Iterator[tuple[str, str]]:
    """``(kind, detail)`` of each problem.

    Args:
        paths: the images of the cloud ``owner``.
        owner: name of the cloud.
        seen: hash of each previous image -> its cloud; new ones are added.
    """
    for path in paths:
        try:
            pixels = load_image(path, _CHECKED_SIZE)
            with Image.open(path) as image:
                width, height = image.size
            digest = file_digest(path)
        except (DataError, OSError) as error:
            yield "picture", f"{path.name}: {str(error).removeprefix(f'{path}: ')}"
            continue
        if min(width, height) < SMALLEST:
            yield "tiny-picture", f"{path.name} is {width} x {height}"
        if (pixels == pixels[0, 0]).all():
            yield "blank-picture", f"{path.name} is all #{pixels[0, 0].tobytes().hex()}"
        elif seen.setdefault(digest, owner) != owner:
            yield "same-picture", f"{path.name} is also {seen[digest]}'s"
