"""Figures of segmented rooms: truth, prediction and errors side by side."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pointssl.reports.figures.style import axes_grid, house_style, save_figure
from pointssl_datasets.base.errors import UserError
from pointssl_datasets.rendering.cameras import DISTANCE
from pointssl_datasets.rendering.clouds import splat
from pointssl_datasets.rendering.surfels import surfels
from pointssl_datasets.viewer import part_colours

SIZE = 700  # pixels per side of a render
WRONG, RIGHT = (0.90, 0.40, 0.0), (0.86, 0.88, 0.90)
REST = (0.36, 0.34, 0.38)  # a near-grey for the last class, clutter
FROM = (0.62, 0.85, 0.62)  # direction of the camera from the middle of the room
OPENED = 0.12  # metres cut off at the top and at the two sides facing the camera


def rooms_figure(
    rooms: Sequence[dict[str, Any]], classes: Sequence[str], path: Path | str, title: str
) -> None:
    """Draw a row per room: truth, prediction and errors, seen from above at an angle.

    The rooms are cut open: the ceiling and the walls facing the camera are removed.

    Args:
        rooms: as returned by :func:`pointssl.tasks.scene_evaluation.evaluate_scenes`.
        classes: names of the point classes.
        path: the PNG.
        title: title of the figure.

    Raises:
        UserError: there are no rooms, matplotlib is missing, or ``path`` can't be written.
    """
    if not rooms:
        raise UserError(f"{path}: no rooms to draw")
    from matplotlib.lines import Line2D

    palette = 0.2 + 0.8 * part_colours(classes) / 255.0  # lighter, as shading darkens them
    palette[-1] = REST
    with house_style():
        figure, axes = axes_grid(10.5, 2.9 * len(rooms) + 1.0, len(rooms), 3)
        head = title.replace("$", r"\$") + "   (cut open: without ceiling and near walls)"
        figure.suptitle(head, x=0.01, ha="left", fontsize=11)
        seen: set[int] = set()
        for line, room in zip(axes, rooms, strict=True):
            kept = opened(room["xyz"], room["truth"], classes)
            truth, predicted = room["truth"][kept], room["predicted"][kept]
            seen.update(truth.tolist(), predicted.tolist())
            wrong = (truth != predicted)[:, None]
            errors = np.where(wrong, WRONG, RIGHT)
            share = (room["truth"] != room["predicted"]).mean()
            titles = (
                f"{room['name']}: truth",
                "prediction",
                f"errors: {100 * share:.1f}% of all points",
            )
            for axis, colours, heading in zip(
                line, (palette[truth], palette[predicted], errors), titles, strict=True
            ):
                axis.imshow(_render(room["xyz"][kept], colours), interpolation="antialiased")
                axis.set_title(heading, loc="left", fontsize=9)
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
        dots = [
            Line2D([], [], marker="o", linestyle="", color=palette[i], label=classes[i])
            for i in sorted(seen)
        ]
        figure.legend(handles=dots, loc="outside lower left", ncols=8, fontsize=8.5)
        save_figure(figure, path)


def opened(
    xyz: NDArray[np.float32], truth: NDArray[np.int64], classes: Sequence[str]
) -> NDArray[np.bool_]:
    """Return the mask of the points ``(N, 3)``, y-up, to draw; all if none would be left."""
    high = xyz.max(axis=0) - OPENED
    kept = (xyz < high).all(axis=1)
    if "ceiling" in classes:
        kept &= truth != list(classes).index("ceiling")
    return kept if kept.sum() > 2 else np.ones(len(xyz), bool)


def _render(xyz: NDArray[np.float32], colours: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Render a room, cropped to its bounding box, ``(H, W, 4)``."""
    back = np.array(FROM) / np.linalg.norm(FROM)
    right = np.cross(-back, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    camera = np.column_stack([np.stack([right, np.cross(-back, right), -back]), (0, 0, DISTANCE)])
    shape = surfels(xyz, None, colours)
    # Normals turned half towards the viewer light every wall, so that colours are comparable.
    facing = np.sign(shape.normal @ back)[:, None] * shape.normal + back
    facing /= np.linalg.norm(facing, axis=1, keepdims=True)
    pixels = splat(replace(shape, normal=facing), camera, SIZE)[0]
    rows, columns = (np.flatnonzero(pixels[..., 3].any(axis=axis)) for axis in (1, 0))
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
