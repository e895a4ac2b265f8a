"""Figures of features: a t-SNE map coloured by class, and a confusion matrix."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pointssl.reports.figures.style import axes_grid, house_style, save_figure
from pointssl_datasets.base.errors import DataError

MOST_POINTS = 1500  # more take minutes and overlap
# Ten colours that are distinct with every common kind of colour blindness: Okabe and Ito (2008),
# with three of Paul Tol's. Beyond ten classes the marker changes too, so that all classes differ.
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7",
    "#56B4E9", "#222222", "#999933", "#882255", "#AAAAAA",
)  # fmt: skip
MARKERS = "o^sDvP*X<>"


def tsne_figure(
    panels: Mapping[str, ArrayLike],
    labels: ArrayLike,
    classes: Sequence[str],
    path: Path | str,
    seed: int = 0,
) -> None:
    """Draw t-SNE maps (van der Maaten and Hinton, JMLR 2008) of features, coloured by class.

    PCA first reduces the features to 50 dimensions. Every panel shows the same shapes, a random
    sample of at most 1500.

    Args:
        panels: title -> features ``(M, D)``, e.g. pretrained and randomly initialised.
        labels: ``(M,)`` class of each row.
        classes: names of the classes, indexed by the labels.
        path: the PNG.
        seed: seed of the sample and of t-SNE.

    Raises:
        DataError: fewer than 3 shapes, wrong sizes, labels without a name, or features that are
            not finite.
        UserError: matplotlib is missing, or ``path`` can't be written.
    """
    label = np.asarray(labels)
    features = {title: _checked(values, title, len(label)) for title, values in panels.items()}
    if not features:
        raise DataError("t-SNE: no features to draw")
    if label.size and (label.min() < 0 or label.max() >= len(classes)):
        wrong = label.min() if label.min() < 0 else label.max()
        raise DataError(f"t-SNE: label {wrong} has no name among the {len(classes)} classes")
    chosen = np.arange(len(label))
    if len(label) > MOST_POINTS:
        picked = np.random.default_rng(seed).choice(len(label), MOST_POINTS, replace=False)
        chosen = np.sort(picked)
    label = label[chosen]
    present = [index for index in range(len(classes)) if (label == index).any()]

    positions = [_tsne(values[chosen], seed) for values in features.values()]
    with house_style():
        columns = math.ceil(len(present) / 20)
        width = 4.0 * len(features) + 1.2 * columns
        figure, axes = axes_grid(width, 4.1, 1, len(features))
        for place, title, spot in zip(axes[0], features, positions, strict=True):
            for index in present:
                colour, marker = _look(index)
                mine = spot[label == index]
                place.scatter(
                    mine[:, 0], mine[:, 1], s=13, c=colour, marker=marker, linewidths=0.25,
                    edgecolors="white", label=classes[index],
                )  # fmt: skip
            place.set_title(title, loc="left")
            place.set_xticks([])
            place.set_yticks([])
            place.spines[:].set(visible=True, color="0.85")
            place.set_box_aspect(1)
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside right center", ncols=columns, fontsize=8,
            markerscale=1.5, handletextpad=0.2, columnspacing=0.8, labelspacing=0.45, borderpad=0,
        )  # fmt: skip
        save_figure(figure, path)


def confusion_figure(
    matrix: ArrayLike, classes: Sequence[str], title: str, path: Path | str
) -> None:
    """Draw a confusion matrix as a heat map, normalised over each true class.

    Args:
        matrix: ``(K, K)`` counts; rows are the true classes, columns the predicted ones. A class
            without shapes gives an empty row. Percentages are printed for up to 25 classes.
        classes: K names.
        title: title of the figure.
        path: the PNG.

    Raises:
        DataError: the matrix is not square, has negative counts, or doesn't match the classes.
        UserError: matplotlib is missing, or ``path`` can't be written.
    """
    counts = np.asarray(matrix, dtype=np.float64)
    size = len(classes)
    if counts.shape != (size, size) or size == 0:
        raise DataError(
            f"confusion matrix: expected {size} x {size} counts, one row and column for each "
            f"class, got shape {counts.shape}"
        )
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise DataError("confusion matrix: expected counts, found negative or missing values")
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)

    with house_style():
        cell = 0.36 if size <= 25 else 0.21
        side = max(3.2, cell * size + 1.6)
        figure, axes = axes_grid(side + 0.7, side, 1, 1)
        place = axes[0, 0]
        image = place.imshow(share, cmap="Blues", vmin=0, vmax=1)
        small = 8 if size <= 25 else 7
        place.set_xticks(range(size), classes, rotation=90, fontsize=small)
        place.set_yticks(range(size), classes, fontsize=small)
        place.tick_params(length=0)
        place.spines[:].set_visible(False)
        place.set_xticks(np.arange(size - 1) + 0.5, minor=True)
        place.set_yticks(np.arange(size - 1) + 0.5, minor=True)
        place.grid(visible=True, which="minor", color="white", linewidth=0.8)
        place.tick_params(which="minor", length=0)
        place.set_xlabel("predicted")
        place.set_ylabel("true")
        place.set_title(title, loc="left")
        if size <= 25:
            for row, column in np.argwhere(np.rint(100 * share) > 0):
                value = share[row, column]
                colour = "white" if value > 0.55 else "0.15"
                place.text(
                    column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7,
                    color=colour,
                )  # fmt: skip
        bar = figure.colorbar(image, ax=place, fraction=0.04, pad=0.02, aspect=30)
        bar.set_ticks([0, 0.5, 1], labels=["0%", "50%", "100%"])
        bar.set_label("share of the true class", fontsize=8)
        bar.outline.set_visible(False)
        save_figure(figure, path)


def _look(index: int) -> tuple[str, str]:
    """Return the colour and marker of a class; the first hundred are all different."""
    return COLOURS[index % len(COLOURS)], MARKERS[index // len(COLOURS) % len(MARKERS)]


def _checked(values: ArrayLike, title: str, count: int) -> NDArray[np.float64]:
    features = np.asarray(values, dtype=np.float64)
    if features.ndim != 2 or len(features) != count or count < 3:
        raise DataError(
            f"t-SNE {title!r}: expected features (M, D) for {count} labels, M at least 3, "
            f"got shape {features.shape}"
        )
    if not np.isfinite(features).all():
        raise DataError(f"t-SNE {title!r}: features are NaN or infinite; did the training diverge?")
    return features


def _tsne(features: NDArray[np.float64], seed: int) -> NDArray[Any]:
    """Compute t-SNE positions ``(M, 2)``."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    size = np.abs(features).max()
    features = features - features.mean(axis=0)
    scale = features.std()
    if scale <= 1e-12 * size:  # a collapsed encoder; on equal rows scikit-learn's t-SNE crashes
        return np.zeros((len(features), 2))
    features = features / scale
    dimensions = min(50, *features.shape)
    reduced = PCA(dimensions, svd_solver="full", random_state=seed).fit_transform(features)
    perplexity = min(30.0, (len(features) - 1) / 3)
    start = "pca" if dimensions >= 2 else "random"
    map_ = TSNE(2, perplexity=perplexity, init=start, random_state=seed, n_jobs=1)
    return np.asarray(map_.fit_transform(reduced))
