"""Draw the figure of the README: what a network is given, what it makes of it, what that is worth.

    pointssl pretrain --size 800 --points 512 --k 16 --embedding 256 --image-encoder none \
        --epochs 8 --batch-size 32 --run-dir runs/overview
    python docs/images/overview.py runs/overview/checkpoints/last.pt SHAPENETPART \
        docs/images/overview.png

The clouds on the left are of ShapeNetPart, in the folder SHAPENETPART. The map in the middle is of
generated test shapes. The bars on the right are the table of `docs/results.md`.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

import pointssl
from pointssl.augment import Draw, crosspoint_view, unit_sphere
from pointssl.reports.figures.style import BLUE, house_style, save_figure
from pointssl_datasets import load_dataset
from pointssl_datasets.rendering.clouds import render_views
from pointssl_datasets.serving.opening import open_source

SHOWN = ("airplane", "chair", "guitar")
GREY = "0.72"
# docs/results.md: random initialisation, and both losses; each with its deviation over seeds.
RESULTS = {
    "ModelNet10,\nposes vary": ((48.2, 1.4), (65.2, 0.1)),
    "Princeton shapes,\n21 classes": ((63.5, 0.6), (65.2, 0.7)),
    "ModelNet10,\n10% of the labels": ((84.4, 1.4), (85.5, 0.8)),
    "ModelNet10,\nall labels": ((91.0, 0.5), (90.7, 0.1)),
}


def main(checkpoint: Path, shapenetpart: Path, out: Path) -> None:
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(10.4, 3.5))
        given, made, worth = (
            figure.add_gridspec(1, 1, left=left, right=right, top=0.86, bottom=bottom)[0]
            for left, right, bottom in ((0, 0.32, 0.06), (0.35, 0.71, 0.06), (0.825, 0.99, 0.14))
        )
        draw_clouds(figure, given, read_clouds(shapenetpart))
        draw_maps(figure, made, checkpoint)
        draw_bars(figure.add_subplot(worth))
        titles = ("what it is given", "what it makes of it, without a label", "what that is worth")
        for number, (x, title) in enumerate(zip((0, 0.36, 0.745), titles, strict=True), 1):
            figure.text(x, 0.95, f"{number}  {title}", fontsize=10.5, weight="bold", color="0.15")
        save_figure(figure, out)


def read_clouds(folder: Path) -> Tensor:
    """One cloud of each category in :data:`SHOWN`, ``(S, N, 3)``, in the unit sphere."""
    source = open_source("shapenetpart", folder, "train")
    clouds = {source.classes[c["label"]]: torch.from_numpy(c["xyz"]) for c in source.clouds()}
    return unit_sphere(torch.stack([clouds[name][:2048] for name in SHOWN]).float())


def draw_clouds(figure: Any, place: Any, clouds: Tensor) -> None:
    """Each cloud, two augmented views of it, and an image of it."""
    draw = Draw(torch.Generator().manual_seed(5), total=2 * len(clouds), rows=slice(None))
    views, _ = crosspoint_view(clouds.repeat(2, 1, 1), None, draw)
    first, second = unit_sphere(views).chunk(2)
    grid = place.subgridspec(len(clouds), 4, wspace=0, hspace=0)
    for row, shown in enumerate(zip(clouds, first, second, strict=True)):
        for column, xyz in enumerate(shown):
            draw_points(figure.add_subplot(grid[row, column]), xyz.numpy())
        axes = figure.add_subplot(grid[row, 3])
        axes.imshow(render_views(clouds[row], views=1, size=160, seed=3)[0])
        axes.set_axis_off()
        if not row:
            for column, title in enumerate(("cloud", "view", "view", "image")):
                figure.axes[column].set_title(title, fontsize=8, color="0.4", pad=2)


def draw_points(axes: Any, xyz: np.ndarray) -> None:
    """A cloud seen from the front, right and above; near points are drawn last."""
    turn, tilt = np.radians(35), np.radians(20)
    x = np.cos(turn) * xyz[:, 0] - np.sin(turn) * xyz[:, 2]
    depth = np.sin(turn) * xyz[:, 0] + np.cos(turn) * xyz[:, 2]
    y = np.cos(tilt) * xyz[:, 1] - np.sin(tilt) * depth
    order = (np.cos(tilt) * depth + np.sin(tilt) * xyz[:, 1]).argsort()
    height = xyz[order, 1]
    axes.scatter(x[order], y[order], c=height, s=1.1, lw=0, cmap="viridis")
    axes.set_xlim(-0.95, 0.95)
    axes.set_ylim(-0.95, 0.95)
    axes.set_aspect("equal")
    axes.set_axis_off()


def draw_maps(figure: Any, place: Any, checkpoint: Path) -> None:
    """Test shapes by their features, a colour for each class: untrained and pretrained."""
    test = load_dataset("shapes", None, "test", size=800, points=512)
    clouds = torch.stack([test[i]["xyz"] for i in range(len(test))])
    encoders = {
        "untrained": pointssl.build_encoder("dgcnn", k=16, embedding=256, seed=0).eval(),
        "pretrained": pointssl.load_encoder(checkpoint),
    }
    grid = place.subgridspec(1, 2, wspace=0.04)
    for cell, (name, encoder) in zip(grid, encoders.items(), strict=True):
        x, y = (
            TSNE(random_state=0, init="pca", perplexity=25)
            .fit_transform(features(encoder, clouds))
            .T
        )
        axes = figure.add_subplot(cell)
        axes.scatter(x, y, c=test.labels, s=9, lw=0, cmap="tab20", alpha=0.85)
        axes.set_title(name, fontsize=8, color="0.4", pad=2)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)


@torch.no_grad()
def features(encoder: nn.Module, clouds: Tensor) -> np.ndarray:
    """Standardised cloud features ``(M, D)``."""
    found = torch.cat([encoder(some).cloud for some in clouds.split(20)])
    return StandardScaler().fit_transform(found.numpy())


def draw_bars(axes: Any) -> None:
    """Accuracy of a linear SVM before and after pretraining."""
    places = np.arange(len(RESULTS))[::-1]
    for shift, which, colour, label in (
        (0.19, 0, GREY, "untrained"), (-0.19, 1, BLUE, "pretrained")
    ):  # fmt: skip
        values = np.array([result[which] for result in RESULTS.values()])
        axes.barh(places + shift, values[:, 0], 0.36, xerr=values[:, 1], color=colour, label=label,
                  error_kw={"ecolor": "0.35", "lw": 0.8})  # fmt: skip
        for y, (value, spread) in zip(places + shift, values, strict=True):
            axes.text(value + spread + 1, y, f"{value:.1f}", va="center", fontsize=7, color="0.3")
    axes.set_yticks(places, list(RESULTS), fontsize=7.5)
    axes.set_xlim(40, 100)
    axes.set_xlabel("accuracy of a linear SVM, %", fontsize=8)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.legend(fontsize=7.5, loc="upper right", borderaxespad=0)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
