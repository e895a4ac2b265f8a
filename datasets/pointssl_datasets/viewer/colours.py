"""One colour for each part, the same in all figures and on all pages."""

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Okabe and Ito (2008), a little lighter where they are dark, with four of Paul Tol's: told apart
# with every common kind of colour blindness, on black and on white.
_FIRST = (
    "#1f83c4", "#e69f00", "#12a37a", "#d55e00", "#cc79a7", "#56c1f0",
    "#b9b22e", "#8f5fbf", "#a8344f", "#7ac36a", "#8a8f98", "#4b62c9",
)  # fmt: skip
_TURN = 0.61803398875  # the golden section: neighbours in the list are far apart in hue


def part_colours(parts: Sequence[str]) -> NDArray[np.uint8]:
    """``(P, 3)`` red, green, blue of P part names.

    The colours of names such as ``chair/leg`` start again in each category, since a cloud shows the
    parts of one category only. The first twelve colours are chosen by hand, the others are evenly
    spread hues.
    """
    seen: dict[str, int] = {}
    colours = np.empty((len(parts), 3), dtype=np.uint8)
    for row, name in zip(colours, parts, strict=True):
        category = name.rpartition("/")[0]
        number = seen.get(category, 0)
        seen[category] = number + 1
        row[:] = _colour(number)
    return colours


def _colour(number: int) -> tuple[int, ...]:
    if number < len(_FIRST):
        return tuple(bytes.fromhex(_FIRST[number][1:]))
    lightness = (0.42, 0.55, 0.66, 0.76)[number % 4]
    rgb = colorsys.hls_to_rgb(number * _TURN % 1, lightness, 0.6)
    return tuple(round(255 * value) for value in rgb)
