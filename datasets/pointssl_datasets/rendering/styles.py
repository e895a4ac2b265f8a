"""What the pixels of a rendered image show: light, depth, normals, or just the silhouette.

A renderer blends :func:`values` of the surface over each pixel; :func:`finished` turns the result
into an image. Camera axes are x right, y down, z away from the viewer.
"""

import numpy as np
from numpy.typing import NDArray

from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.rendering.cameras import DISTANCE, Array

STYLES = ("shaded", "depth", "normals", "silhouette")

# The light moves with the camera: a key light over the left shoulder and a weaker headlight; the
# rest is ambient.
KEY, HEAD, AMBIENT = 0.52, 0.25, 0.23
KEY_DIRECTION = np.array([-0.45, -0.75, -0.50]) / np.linalg.norm([-0.45, -0.75, -0.50])
WRAP = 0.4  # how far the key light reaches round, as a share of the half turn
GREY = 205.0  # of the neutral material, 0-255
NEAREST, FARTHEST = 255.0, 40.0  # levels of depth: front and back of the sphere around the shape


def check_style(style: str) -> None:
    """Raises UsageError for an unknown style."""
    if style not in STYLES:
        raise UsageError(f"style={style!r}: choose {', '.join(STYLES)}")


def values(style: str, normals: Array, places: Array, colour: Array | None) -> Array:
    """The values ``(M, C)`` of M surfaces that are blended over a pixel; C is 1 or 3.

    Args:
        style: one of :data:`STYLES`.
        normals: ``(M, 3)`` unit length, either sign, in camera axes.
        places: ``(M, 3)`` positions of these surfaces, in camera axes.
        colour: ``(M, 3)`` of the surface, 0-255; None: neutral grey.
    """
    if style == "shaded":
        light = lit(normals, places)[:, None]
        return light * (np.array([GREY]) if colour is None else colour)
    if style == "normals":
        away = (normals * places).sum(axis=1, keepdims=True) > 0
        return np.where(away, -normals, normals)
    return np.full((len(normals), 1), 255.0)


def finished(style: str, blended: Array, depth: Array, alpha: Array) -> NDArray[np.uint8]:
    """The image ``(..., 4)`` RGBA, not premultiplied; black and transparent where alpha is 0.

    Depth goes linearly from :data:`NEAREST` to :data:`FARTHEST`. A normal is red to the right,
    green upwards and blue towards the viewer, 0 at -1 and 255 at 1, as in usual normal maps.

    Args:
        style: one of :data:`STYLES`.
        blended: ``(..., C)`` means of :func:`values`.
        depth: ``(...)`` along the camera's axis, infinite where there is no surface.
        alpha: ``(...)`` 0-255.
    """
    image = np.zeros((*alpha.shape, 4), dtype=np.uint8)
    seen = alpha >= 1
    blended = blended[seen]
    if style == "depth":
        share = np.clip((depth[seen] - (DISTANCE - 1)) / 2, 0.0, 1.0)
        blended = (NEAREST + (FARTHEST - NEAREST) * share)[:, None]
    elif style == "normals":
        length = np.sqrt((blended * blended).sum(axis=1, keepdims=True))
        blended = blended / np.maximum(length, 1e-12) * [1, -1, -1] * 127.5 + 127.5
    whole = np.concatenate(
        [np.repeat(blended, 3 // blended.shape[1], axis=1), alpha[seen, None]], 1
    )
    image[seen] = np.rint(np.clip(whole, 0, 255))
    return image


def lit(normals: Array, towards: Array) -> Array:
    """Brightness in 0-1 of surfaces with unit ``normals``, seen along ``towards``, both ``(M, 3)``.

    Lambert's law, wrapped a little, and on both sides: a normal that points away from the viewer is
    flipped, because the normals of real meshes and clouds have no reliable sign. Near the
    outline, where noise decides which side is seen, the two sides fade into each other.
    """
    facing = -(normals * towards).sum(axis=1) / np.sqrt((towards * towards).sum(axis=1))
    side = np.clip(facing / 0.25, -1.0, 1.0)
    key = np.maximum(0.0, (side * (normals @ KEY_DIRECTION) + WRAP) / (1 + WRAP))
    return AMBIENT + KEY * key + HEAD * np.abs(facing)
