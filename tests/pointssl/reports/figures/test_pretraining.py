"""The figures are valid PNG files that show their input."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from pointssl.reports.figures import features as feature_figures
from pointssl.reports.figures.pretraining import (
    confusion_figure,
    contact_sheet,
    loss_curves,
    tsne_figure,
)
from pointssl_datasets.base.errors import DataError, UsageError, UserError


def opened(path):
    """``(H, W, 3)`` of a PNG that opens, is of sensible size and is not blank."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        values = np.asarray(image.convert("RGB"))
    height, width = values.shape[:2]
    assert 150 < height < 4000
    assert 150 < width < 4000
    assert (values[0] == 255).all()  # a white margin: nothing is cut off
    assert (values[-1] == 255).all()
    assert (values[:, 0] == 255).all()
    assert (values[:, -1] == 255).all()
    assert 0.005 < (values < 250).any(axis=-1).mean() < 0.9
    return values


def has(values, colour, least=20):
    """Whether at least that many pixels have this colour, such as ``#0072B2``."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(values.astype(int) - wanted).max(axis=-1) <= 2).sum() >= least


def run_of(epochs, cross=True):
    rows = []
    for epoch in range(epochs):
        row = {
            "epoch": epoch,
            "step": 10 * epoch,
            "loss": 5 - 0.2 * epoch,
            "loss_within": 3 * math.exp(-epoch / 4),
            "retrieval_within": 1 - math.exp(-epoch / 5),
            "embedding_std": 0.03,
            "lr": 1e-3,
        }
        if cross:
            row |= {"loss_cross": 4 * math.exp(-epoch / 9), "retrieval_cross": epoch / 20}
        rows.append(row)
    return rows


BLUE, RED = "#0072B2", "#D55E00"


def test_contact_sheet_shows_every_shape_and_image(tmp_path):
    random = np.random.default_rng(0)
    paints = [(200, 30, 30), (30, 160, 30), (30, 30, 220)]
    rows = []
    for number, paint in enumerate(paints):
        image = np.full((40, 40, 3), paint, dtype=np.uint8)
        clear = np.zeros((40, 40, 4), dtype=np.uint8)  # transparent: white on the sheet
        clear[10:30, 10:30] = (*paint, 255)
        rows.append((f"shape {number}", random.normal(size=(200, 3)), [image, clear][: number + 1]))
    path = tmp_path / "new folder" / "sheet.png"
    contact_sheet(rows, path)
    values = opened(path)
    for number, paint in enumerate(paints):
        mask = (np.abs(values.astype(int) - paint).max(axis=-1) <= 2) & (values.min(-1) < 100)
        blobs, count = ndimage.label(mask)
        areas = np.sort(np.bincount(blobs.ravel())[1:])[::-1]
        big = areas[areas > 500]
        assert count >= 1
        assert len(big) == min(number + 1, 2)
        if len(big) == 2:
            assert big[1] / big[0] == pytest.approx(0.25, abs=0.05)
    grey = (
        (np.ptp(values.astype(int), axis=-1) < 3) & (values[..., 0] > 50) & (values[..., 0] < 180)
    )
    assert grey.mean() > 0.02  # the clouds
    assert [p.name for p in path.parent.iterdir()] == ["sheet.png"]


def test_loss_curves_have_separate_panels(tmp_path):
    loss_curves(run_of(30), tmp_path / "both.png")
    both = opened(tmp_path / "both.png")
    assert has(both, BLUE)
    assert has(both, RED)
    columns = {}
    for colour in (BLUE, RED):
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        top = both[: both.shape[0] // 2].astype(int)  # the losses are in the upper row
        _, x = np.nonzero(np.abs(top - wanted).max(axis=-1) <= 2)
        columns[colour] = x.min(), x.max()
    assert columns[BLUE][1] < columns[RED][0]


def test_loss_curves_of_a_run_on_points_alone(tmp_path):
    loss_curves(run_of(8, cross=False), tmp_path / "points.png")
    alone = opened(tmp_path / "points.png")
    assert has(alone, BLUE)
    assert not has(alone, RED)


@pytest.mark.parametrize(
    "rows",
    [
        [{"epoch": 0, "loss": 3.0}],
        [{"loss": 3.0}, {"loss": 2.0}],
        [{"epoch": 0, "loss": math.nan}, {"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}],
        [{"epoch": 0, "loss": None, "note": "x"}, {"epoch": 1, "loss": 2.0, "lr": 0.0}],
        [json.loads('{"epoch": 1, "loss": Infinity, "embedding_std": 0.0}')],
    ],
)
def test_loss_curves_of_odd_runs(rows, tmp_path):
    loss_curves(rows, tmp_path / "odd.png")
    opened(tmp_path / "odd.png")


def clusters(classes, each, seed=0):
    random = np.random.default_rng(seed)
    label = np.repeat(np.arange(classes), each)
    centre = 8 * random.normal(size=(classes, 64))
    return centre[label] + random.normal(size=(len(label), 64)), label


def test_tsne_shows_every_class_in_its_colour(tmp_path):
    features, label = clusters(10, 12)
    names = [f"class {i}" for i in range(10)]
    panels = {"pretrained": features, "random": features[:, :3]}
    tsne_figure(panels, label, names, tmp_path / "two.png")
    two = opened(tmp_path / "two.png")
    for colour in feature_figures.COLOURS:
        assert has(two, colour, least=100)
    tsne_figure({"pretrained": features}, label, names, tmp_path / "one.png")
    one = opened(tmp_path / "one.png")
    assert two.shape[1] - one.shape[1] > 400  # a panel more
    tsne_figure({"pretrained": features}, label, names, tmp_path / "again.png")
    np.testing.assert_array_equal(one, opened(tmp_path / "again.png"))


def test_tsne_of_forty_classes_keeps_the_legend_inside(tmp_path):
    features, label = clusters(40, 3)
    tsne_figure({"a": features}, label, [f"a long class name {i}" for i in range(40)],
                 tmp_path / "forty.png")  # fmt: skip
    opened(tmp_path / "forty.png")


def test_no_two_classes_look_alike():
    looks = [feature_figures._look(index) for index in range(100)]
    assert len(set(looks)) == 100


def test_tsne_positions_keep_clusters_apart():
    features, label = clusters(4, 20)
    spot = feature_figures._tsne(features, 0)
    assert spot.shape == (80, 2)
    apart = np.linalg.norm(spot[:, None] - spot[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    assert (label[apart.argmin(axis=1)] == label).mean() > 0.95


def test_tsne_takes_the_same_shapes_in_every_panel(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_figures, "MOST_POINTS", 40)
    seen = []
    monkeypatch.setattr(
        feature_figures, "_tsne", lambda values, seed: seen.append(values) or values[:, :2]
    )
    features, label = clusters(5, 30)
    tsne_figure({"a": features, "b": 2 * features}, label, list("vwxyz"), tmp_path / "p.png")
    assert len(seen[0]) == 40
    np.testing.assert_array_equal(seen[1], 2 * seen[0])


@pytest.mark.parametrize(
    "features",
    [
        np.zeros((5, 4)),  # a collapsed encoder
        np.tile([0.1, 0.7, -3.3], (30, 1)),
        np.ones((3, 1)),
        np.repeat(np.eye(4), 9, axis=0),  # few distinct rows
        np.eye(4),
        1e-30 * np.eye(4),
        1e30 * np.eye(4),
    ],
)
def test_tsne_of_degenerate_features(features, tmp_path):
    label = np.zeros(len(features), dtype=int)
    tsne_figure({"flat": features}, label, ["only"], tmp_path / "flat.png")
    opened(tmp_path / "flat.png")


def test_confusion_matrix_is_dark_where_the_share_is_high(tmp_path):
    matrix = np.array([[90, 10, 0], [0, 5, 5], [0, 0, 0]])  # the last class has no shapes
    confusion_figure(matrix, ["cup", "lamp", "sofa"], "ModelNet", tmp_path / "c.png")
    values = opened(tmp_path / "c.png").astype(int)
    from matplotlib import colormaps

    for share in (0.9, 0.1, 0.5, 0.0):
        colour = np.rint(255 * np.array(colormaps["Blues"](share)[:3])).astype(int)
        assert (np.abs(values - colour).max(axis=-1) <= 2).sum() > 300
    wrong = np.rint(255 * np.array(colormaps["Blues"](0.3)[:3])).astype(int)
    assert (np.abs(values - wrong).max(axis=-1) <= 2).sum() < 300  # only within the colour bar


def test_confusion_numbers_up_to_25_classes(tmp_path):
    for size in (25, 26):
        matrix, names = np.eye(size), [f"class {i}" for i in range(size)]
        confusion_figure(matrix, names, "", tmp_path / f"{size}.png")
    white_on_dark = []
    for size in (25, 26):
        values = opened(tmp_path / f"{size}.png").astype(int)
        dark = np.abs(values - [8, 48, 107]).max(axis=-1) <= 2
        blobs, _ = ndimage.label(ndimage.binary_fill_holes(dark))
        inside = ndimage.binary_fill_holes(dark) & ~dark
        white_on_dark.append(len(np.unique(blobs[inside])))
    assert white_on_dark[0] == 25  # "100" in every cell of the diagonal: closed loops of the zeros
    assert white_on_dark[1] == 0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p: contact_sheet([], p), UsageError, "no shapes"),
        (lambda p: contact_sheet([("a", np.empty((0, 3)), [])], p), DataError, "N > 0"),
        (lambda p: contact_sheet([("a", np.ones((9, 3)), [np.ones((4, 4))])], p), UsageError, "(4"),
        (lambda p: loss_curves([], p), UsageError, "0 rows"),
        (lambda p: loss_curves([{"epoch": 1}], p), UsageError, "no losses"),
        (lambda p: tsne_figure({}, [0, 0, 0], ["a"], p), DataError, "no features"),
        (lambda p: tsne_figure({"x": np.eye(4)}, [0] * 5, ["a"], p), DataError, "5 labels"),
        (lambda p: tsne_figure({"x": np.eye(2)}, [0] * 2, ["a"], p), DataError, "at least 3"),
        (lambda p: tsne_figure({"x": np.eye(4)}, [0, 1, 2, 3], ["a"], p), DataError, "label 3"),
        (
            lambda p: tsne_figure({"x": np.full((4, 4), np.nan)}, [0] * 4, ["a"], p),
            DataError,
            "diverge",
        ),
        (lambda p: confusion_figure(np.eye(3), ["a"], "", p), DataError, "1 x 1"),
        (lambda p: confusion_figure(-np.eye(1), ["a"], "", p), DataError, "negative"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_no_file(call, error, words, tmp_path):
    with pytest.raises(error) as caught:
        call(tmp_path / "bad.png")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_figure_that_cannot_be_written_leaves_no_file(tmp_path):
    (tmp_path / "taken.png").mkdir()
    (tmp_path / "taken.png" / "file").touch()
    with pytest.raises(UserError, match="could not write"):
        loss_curves(run_of(3), tmp_path / "taken.png")
    (tmp_path / "plain").touch()
    with pytest.raises(UserError, match="could not write"):
        loss_curves(run_of(3), tmp_path / "plain" / "curves.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plain", "taken.png"]


def test_drawing_leaves_the_users_settings_alone(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    loss_curves(run_of(3), tmp_path / "c.png")
    assert dict(matplotlib.rcParams) == before


def test_import_is_light_and_missing_matplotlib_is_one_clear_line(tmp_path):
    code = f"""
import sys
from pointssl.reports.figures.pretraining import loss_curves
assert not {{"matplotlib", "sklearn", "torch"}} & set(sys.modules), "imported too early"
sys.modules["matplotlib"] = None  # what Python itself does for a module that can't be imported
from pointssl_datasets.base.errors import UserError
try:
    loss_curves([{{"epoch": 0, "loss": 1.0}}], {str(tmp_path / "c.png")!r})
except UserError as error:
    assert "pip install matplotlib" in str(error), error
else:
    raise SystemExit("no error")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
