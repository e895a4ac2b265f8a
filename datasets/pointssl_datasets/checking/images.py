"""What can be wrong with the pictures of a cloud."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.checking.content import digest_of
from pointssl_datasets.packing.images import load_image

SMALLEST = 16  # pixels
_LOOK = 32  # pixels: the side at which a picture is looked at


def check_images(
    paths: Iterable[Path], owner: str, seen: dict[bytes, str]
) -> Iterator[tuple[str, str]]:
    """(kind, detail) of what is wrong.

    Args:
        paths: the pictures of the cloud ``owner``.
        seen: hash of every picture so far -> its cloud; the new ones are added.
    """
    for path in paths:
        try:
            pixels = load_image(path, _LOOK)
            with Image.open(path) as image:
                width, height = image.size
            digest = digest_of(path)
        except (DataError, OSError) as error:
            yield "picture", f"{path.name}: {str(error).removeprefix(f'{path}: ')}"
            continue
        if min(width, height) < SMALLEST:
            yield "tiny-picture", f"{path.name} is {width} x {height}"
        if (pixels == pixels[0, 0]).all():
            yield "blank-picture", f"{path.name} is all #{pixels[0, 0].tobytes().hex()}"
        elif seen.setdefault(digest, owner) != owner:
            yield "same-picture", f"{path.name} is also {seen[digest]}'s"
