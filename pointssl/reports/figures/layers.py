"""Pictures of the inside of an encoder: points coloured by their features, layer by layer, and how
alike the layers of two encoders are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointssl.reports.figures.parts import drawn
from pointssl.reports.figures.style import axes_grid, house_style, save_figure
from pointssl_datasets.base.errors import UsageError

QUANTILE = 0.02  # of the values at each end that a colour does not tell apart
FAR = 0.95  # quantile of the lengths that none exceeds when components are sought
MOST_LAYERS = 12  # columns of a sheet
LABEL = 32  # characters of a line beside a heat map
Colours = NDArray[np.float64]


def component_colours(features: Tensor) -> Colours:
    """Red, green and blue by the first three principal components of all clouds together.

    A feature that is farther from the median than 95% are counts as no farther than those when the
    components are sought, and 2% of the values at each end of a component share its extreme colour:
    a few outliers neither choose the components nor use up the colours. A component along which
    nothing varies is medium everywhere; its sign is that of the sum of its cubes.

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
    # float32 features that are all alike differ by their rounding, which shows nothing.
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
    """A row for each cloud and a column for each layer, points in their colours.

    Args:
        clouds: ``(name, xyz (N, 3) y-up)``.
        layers: name -> a line below it, and colours ``(len(clouds), N, 3)``, 0-1. Of more than 12
            layers as many are shown, evenly spread from the first to the last.
        title: above everything.
        path: the PNG.

    Raises:
        UsageError: no clouds or no layers.
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
            # Shading makes the colours darker. The view is the same in the whole row.
            pictures = [drawn(xyz, 0.2 + 0.8 * layers[layer][1][row]) for layer in names]
            low, high = _framed(pictures[0])
            for place, picture in zip(axes[row], pictures, strict=True):
                place.imshow(picture, interpolation="antialiased")
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


def _framed(picture: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Upper left and lower right, (y, x), of the square around what is not white."""
    seen = np.argwhere((picture < 250).any(axis=-1))
    if not len(seen):
        return np.zeros(2), np.array(picture.shape[:2], dtype=np.float64)
    low, high = seen.min(axis=0) - 0.5, seen.max(axis=0) + 0.5
    middle, half = (low + high) / 2, 0.52 * (high - low).max()
    return middle - half, middle + half


def cka_figure(
    panels: Sequence[tuple[str, str, Sequence[str], Sequence[str], Sequence[Sequence[float]]]],
    path: Path | str,
) -> None:
    """Heat maps of how alike layers are, side by side.

    Args:
        panels: ``(label of the rows, of the columns, names of the rows, of the columns, values)``;
            NaN, where a layer does not vary, stays grey. Up to 15 layers values are written in.
        path: the PNG.

    Raises:
        UsageError: nothing to draw.
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
    """The confusion matrix's blues, grey where there is no value."""
    import matplotlib

    return matplotlib.colormaps["Blues"].with_extremes(bad="0.85")
