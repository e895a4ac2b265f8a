"""Figures of an encoder's layers: points coloured by their features, and similarity of layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointssl.reports.figures.parts import render_on_white
from pointssl.reports.figures.style import axes_grid, house_style, save_figure
from pointssl_datasets.base.errors import UsageError

QUANTILE = 0.02  # share of the values at each end that get the extreme colour
FAR = 0.95  # quantile that lengths are clipped to before the components are computed
MOST_LAYERS = 12  # maximum number of columns of a sheet
LABEL = 32  # maximum characters per line of a heat map's axis label
Colours = NDArray[np.float64]


def component_colours(features: Tensor) -> Colours:
    """Map the first three principal components of all clouds' features to red, green and blue.

    Before the components are computed, distances from the median are clipped to their 95% quantile,
    and 2% of the values at each end of a component share its extreme colour, so that a few outliers
    neither determine the components nor use up the colours. A constant component gets the middle
    value. The sum of a component's cubes is made positive, which fixes its sign.

    Args:
        features: ``(S, N, C)`` of S clouds.

    Returns:
        ``(S, N, 3)``, 0-1.
    """
    rows = features.flatten(0, 1).double()
    size = rows.abs().amax().clamp(min=1e-300)
    rows = (rows - rows.median(0).values) / size
    lengths = rows.norm(dim=1, keepdim=True)
    near = rows * (lengths.quantile(FAR) / lengths.clamp(min=1e-30)).clamp(max=1)
    near = near - near.mean(0)
    directions = torch.linalg.eigh(near.mT @ near).eigenvectors
    values = rows @ directions.flip(1)[:, :3]
    values = values * torch.where((values**3).sum(0) < 0, -1.0, 1.0)
    low, high = values.quantile(QUANTILE, dim=0), values.quantile(1 - QUANTILE, dim=0)
    # Equal float32 features differ by rounding, which must not be drawn.
    varies = (high - low) > 1e-6
    colours = ((values - low) / (high - low).clamp(min=1e-30)).clamp(0, 1)
    colours = torch.where(varies, colours, 0.5)
    filled = torch.full((len(rows), 3), 0.5, dtype=torch.float64)
    filled[:, : colours.shape[1]] = colours
    return filled.view(*features.shape[:2], 3).numpy()


def layers_sheet(
    clouds: Sequence[tuple[str, NDArray[np.float32]]],
    layers: Mapping[str, tuple[str, Colours]],
    title: str,
    path: Path | str,
) -> None:
    """Draw a sheet of coloured clouds: a row for each cloud and a column for each layer.

    Args:
        clouds: ``(name, xyz (N, 3) y-up)``.
        layers: name -> a subtitle, and colours ``(len(clouds), N, 3)``, 0-1. Of more than 12
            layers, 12 are shown, evenly spaced from the first to the last.
        title: title of the figure.
        path: the PNG.

    Raises:
        UsageError: there are no clouds or no layers.
        UserError: matplotlib is missing, or ``path`` can't be written.
    """
    if not clouds or not layers:
        raise UsageError("sheet of layers: no clouds or no layers to draw")
    names = list(layers)
    if len(names) > MOST_LAYERS:
        spread = np.linspace(0, len(names) - 1, MOST_LAYERS)
        names = [names[i] for i in np.rint(spread).astype(int)]
        title += f"; {MOST_LAYERS} of {len(layers)} layers"
    with house_style():
        cell = 1.3
        width, height = cell * len(names) + 0.5, (cell + 0.05) * len(clouds) + 0.75
        figure, axes = axes_grid(max(width, 5.0), height, len(clouds), len(names))
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
        for row, (name, xyz) in enumerate(clouds):
            # Lighter colours, as shading darkens them. All renders of a row have the same view.
            renders = [render_on_white(xyz, 0.2 + 0.8 * layers[layer][1][row]) for layer in names]
            low, high = _bounding_square(renders[0])
            for place, image in zip(axes[row], renders, strict=True):
                place.imshow(image, interpolation="antialiased")
                place.set_xlim(low[1], high[1])
                place.set_ylim(high[0], low[0])
                place.set_xticks([])
                place.set_yticks([])
                place.spines[:].set_visible(False)
            axes[row, 0].set_ylabel(name, fontsize=7.5, color="0.3")
        for place, layer in zip(axes[0], names, strict=True):
            place.set_title(layer, fontsize=8, pad=12)
            place.text(
                0.5, 1.02, layers[layer][0], transform=place.transAxes, ha="center", va="bottom",
                fontsize=6.5, color="0.45",
            )  # fmt: skip
        save_figure(figure, path)


def _bounding_square(image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the upper left and lower right, (y, x), of the square around all that isn't white."""
    seen = np.argwhere((image < 250).any(axis=-1))
    if not len(seen):
        return np.zeros(2), np.array(image.shape[:2], dtype=np.float64)
    low, high = seen.min(axis=0) - 0.5, seen.max(axis=0) + 0.5
    middle, half = (low + high) / 2, 0.52 * (high - low).max()
    return middle - half, middle + half


def cka_figure(
    panels: Sequence[tuple[str, str, Sequence[str], Sequence[str], Sequence[Sequence[float]]]],
    path: Path | str,
) -> None:
    """Draw heat maps of the similarity of layers, side by side.

    Args:
        panels: ``(label of the rows, of the columns, names of the rows, of the columns, values)``;
            NaN, for a constant layer, is grey. Values are printed for up to 15 layers.
        path: the PNG.

    Raises:
        UsageError: there is nothing to draw.
        UserError: matplotlib is missing, or ``path`` can't be written.
    """
    if not panels or not all(rows and columns for _, _, rows, columns, _ in panels):
        raise UsageError("CKA: no layers to compare")
    rows_most = max(len(rows) for _, _, rows, _, _ in panels)
    columns_all = sum(len(columns) for _, _, _, columns, _ in panels)
    longest = max(len(name) for _, _, rows, columns, _ in panels for name in (*rows, *columns))
    margin = 0.6 + 0.075 * longest
    cell = 0.34 if rows_most <= 15 else 0.2
    with house_style():
        width = cell * columns_all + margin * len(panels) + 0.9
        figure, axes = axes_grid(
            max(width, 5.0), max(2.6, cell * rows_most + margin + 0.5), 1, len(panels)
        )
        axes[0, 0].get_gridspec().set_width_ratios([len(columns) for _, _, _, columns, _ in panels])
        colours = _colour_map()
        for place, (down, across, rows, columns, values) in zip(axes[0], panels, strict=True):
            matrix = np.asarray(values, dtype=np.float64)
            image = place.imshow(matrix, cmap=colours, vmin=0, vmax=1)
            place.set_anchor("NW")
            place.set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
            place.set_yticks(range(len(rows)), rows, fontsize=7)
            place.tick_params(length=0)
            place.spines[:].set_visible(False)
            place.set_xlabel(fill(across, LABEL), fontsize=8)
            place.set_ylabel(fill(down, LABEL), fontsize=8)
            if max(len(rows), len(columns)) <= 15:
                for (i, j), value in np.ndenumerate(matrix):
                    if np.isfinite(value):
                        colour = "white" if value > 0.55 else "0.15"
                        place.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=6,
                                   color=colour)  # fmt: skip
        figure.suptitle("linear CKA between layers", x=0.01, ha="left", fontsize=10)
        bar = figure.colorbar(
            image, ax=list(axes[0]), fraction=0.03, pad=0.01, aspect=25, panchor=False
        )
        bar.set_ticks([0, 0.5, 1], labels=["0", "0.5", "1"], fontsize=7)
        bar.outline.set_visible(False)
        save_figure(figure, path)


def _colour_map() -> object:
    """Return the colour map of the confusion matrix, with grey for missing values."""
    import matplotlib

    return matplotlib.colormaps["Blues"].with_extremes(bad="0.85")
