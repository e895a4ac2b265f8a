"""Figures of a training run: its inputs, loss curves and features.

Every function writes one PNG atomically.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointssl.reports.figures.features import confusion_figure, tsne_figure
from pointssl.reports.figures.style import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    axes_grid,
    house_style,
    save_figure,
)
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.rendering.clouds import render_views

__all__ = ["confusion_figure", "contact_sheet", "loss_curves", "tsne_figure"]


def contact_sheet(
    rows: Sequence[tuple[str, ArrayLike, Sequence[ArrayLike]]], path: Path | str
) -> None:
    """Draw the pairs that the network trains on: shapes and their images.

    Args:
        rows: ``(title, xyz (N, 3) y-up, images)``, images ``(H, W, 3 or 4)`` uint8. The cloud is
            drawn first, from two sides.
        path: the PNG.

    Raises:
        UsageError: there are no rows.
        DataError: a cloud can't be drawn.
        UserError: matplotlib is missing, or ``path`` can't be written.
    """
    if not rows:
        raise UsageError("contact sheet: no shapes to draw; give at least one row")
    with house_style():
        widest = max(len(images) for _, _, images in rows)
        cell, sides = 1.35, 2
        width, height = cell * (sides + widest) + 0.2, (cell + 0.2) * len(rows) + 0.25
        figure, axes = axes_grid(width, height, len(rows), sides + widest)
        for line, (title, xyz, images) in zip(axes, rows, strict=True):
            cloud = render_views(xyz, views=sides, size=224, seed=0)
            for place, image in zip(line, [*cloud, *images], strict=False):
                place.imshow(_on_white(image), interpolation="antialiased")
                place.set_aspect("equal")
            for place in line:
                place.set_xticks([])
                place.set_yticks([])
                place.spines[:].set_visible(False)
            for place in line[sides : sides + len(images)]:
                place.spines[:].set(visible=True, color="0.85")
            line[0].set_title(title, loc="left", fontsize=8, pad=3)
        axes[0, 1].set_title("points", loc="right", fontsize=8, color="0.45", pad=3)
        if widest:
            axes[0, -1].set_title("images", loc="right", fontsize=8, color="0.45", pad=3)
        save_figure(figure, path)


def _on_white(image: ArrayLike) -> NDArray[np.uint8]:
    """Composite an RGB or RGBA image on white, ``(H, W, 3)``."""
    values = np.asarray(image)
    if values.ndim != 3 or values.shape[2] not in (3, 4) or values.dtype != np.uint8:
        raise UsageError(
            f"contact sheet: expected images (H, W, 3 or 4) uint8, "
            f"got {values.shape} {values.dtype}"
        )
    if values.shape[2] == 3:
        return values
    alpha = values[..., 3:] / 255.0
    return np.rint(values[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


# Panel title, scale of its axis, and its lines: key in the metrics, label, colour.
CURVES: tuple[tuple[str, str, tuple[tuple[str, str, str], ...]], ...] = (
    ("total loss", "linear", (("loss", "loss", "0.2"),)),
    ("within modality: two views of the points", "linear", (("loss_within", "loss", BLUE),)),
    ("across modalities: points and image", "linear",
     (("loss_cross", "loss", RED),)),
    ("retrieval accuracy within a batch", "share",
     (("retrieval_within", "view to view", BLUE), ("retrieval_cross", "points to image", RED))),
    ("standard deviation of the embedding", "zero", (("embedding_std", "std", GREEN),)),
    ("accuracy", "share",
     (("accuracy", "train", BLUE), ("val_accuracy", "validation", RED),
      ("val_class_accuracy", "validation, by class", ORANGE))),
    ("mean IoU on validation", "share",
     (("val_instance_miou", "instances", BLUE), ("val_class_miou", "categories", RED),
      ("val_miou", "classes of points", GREEN))),
    ("learning rate", "zero", (("lr", "lr", PURPLE),)),
)  # fmt: skip


def loss_curves(
    metrics: Sequence[Mapping[str, Any]],
    path: Path | str,
    watch: Mapping[str, str] | None = None,
) -> None:
    """Draw the curves of a run: one panel for each kind of recorded metric.

    Args:
        metrics: rows as in ``metrics.jsonl``, with ``epoch`` and any of ``loss``, ``loss_within``,
            ``loss_cross``, ``retrieval_within``, ``retrieval_cross``, ``embedding_std``, ``lr``, or
            those of fine-tuning, ``accuracy``, ``val_accuracy``, ``val_instance_miou`` and so on.
            Keys may be missing: a run on points only has no cross-modal ones. A value that is not
            finite leaves a gap in its line.
        path: the PNG.
        watch: further keys, each with the title of its panel.

    Raises:
        UsageError: none of the rows has any of these metrics.
        UserError: matplotlib is missing, or ``path`` can't be written.
    """
    known = {key for _, _, lines in CURVES for key, _, _ in lines}
    own = [
        (label, "linear", ((key, label, ORANGE),))
        for key, label in (watch or {}).items()
        if key not in known
    ]
    curves = [*CURVES[:-1], *own, CURVES[-1]]
    series = {key: _line(metrics, key) for _, _, lines in curves for key, _, _ in lines}
    shown = [
        (title, kind, [line for line in lines if len(series[line[0]][0])])
        for title, kind, lines in curves
        if any(len(series[key][0]) for key, _, _ in lines)
    ]
    if not shown:
        raise UsageError(f"loss curves: no losses in the {len(metrics)} rows of metrics")
    columns = min(3, len(shown))
    height = math.ceil(len(shown) / columns)
    with house_style():
        figure, axes = axes_grid(3.5 * columns, 2.5 * height, height, columns)
        for place, (title, kind, lines) in zip(axes.flat, shown, strict=False):
            for key, label, colour in lines:
                x, y = series[key]
                dot = "o" if len(x) <= 20 else ""
                place.plot(x, y, color=colour, label=label, linewidth=1.6, marker=dot, markersize=3)
            place.set_title(title, loc="left")
            place.set_xlabel("epoch")
            place.grid(visible=True, axis="y")
            place.set_axisbelow(True)
            place.margins(x=0.02)
            if kind == "share":
                place.set_ylim(0, 1.02)
                place.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
            elif kind == "zero":
                place.set_ylim(0, place.get_ylim()[1])
            if len(lines) > 1:
                place.legend(loc="best", fontsize=8)
        for place in axes.flat[len(shown) :]:
            place.set_axis_off()
        save_figure(figure, path)


def heatmap_figure(
    title: str, values: NDArray[Any], rows: str, columns: str, path: Path | str
) -> None:
    """Draw a matrix as a heat map with a colour bar: blue to red around 0 if it has negative
    values, else blues.

    Args:
        values: ``(R, C)`` in [-1, 1].
        rows, columns: labels of the axes.
        path: the PNG.

    Raises:
        UserError: matplotlib is missing, or ``path`` can't be written.
    """
    with house_style():
        figure, axes = axes_grid(4.6, 4.0, 1, 1)
        place = axes[0, 0]
        signed = float(values.min()) < -0.05
        drawn = place.imshow(
            values, cmap="RdBu_r" if signed else "Blues", vmin=-1.0 if signed else 0.0, vmax=1.0,
            interpolation="nearest",
        )  # fmt: skip
        place.set_title(title, loc="left")
        place.set_xlabel(columns)
        place.set_ylabel(rows)
        figure.colorbar(drawn, ax=place, shrink=0.8)
        save_figure(figure, path)


def _line(metrics: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Return the epochs at which ``key`` was recorded (default: row number), and its values."""
    points = [
        (float(row.get("epoch", number)), float(row[key]))
        for number, row in enumerate(metrics)
        if isinstance(row.get(key), (int, float))
    ]
    return [x for x, _ in points], [y if math.isfinite(y) else math.nan for _, y in points]
