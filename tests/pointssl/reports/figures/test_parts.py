"""Sheets of predicted parts, and bars by category."""

import numpy as np
import pytest
from PIL import Image

from pointssl.reports.figures.parts import category_bars, parts_sheet
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.sets.shapes import PARTS, make_shape


def red(path):
    """Share of pixels that are clearly red."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return ((pixels[..., 0] > pixels[..., 1] + 60) & (pixels[..., 0] > pixels[..., 2] + 60)).mean()


def test_errors_are_red(tmp_path):
    shape = make_shape("test", 11)  # a mug: blue and yellow parts
    right, wrong = shape["part"], 73 - shape["part"]  # 36 and 37 for each other
    for name, said in (("right", right), ("wrong", wrong)):
        parts_sheet([("mug", shape["xyz"], said, right)], PARTS, tmp_path / f"{name}.png")
    assert red(tmp_path / "wrong.png") > red(tmp_path / "right.png") + 0.03


def test_nothing_to_draw(tmp_path):
    with pytest.raises(UsageError, match="no shapes to draw"):
        parts_sheet([], PARTS, tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())


def test_bars_grow_with_their_value(tmp_path):
    def blue(value):
        path = tmp_path / "bars.png"
        category_bars({"": [("mug", value), ("lamp", None)]}, "IoU", path)
        pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
        return (pixels[..., 2] > pixels[..., 0] + 80).sum()

    assert blue(0.9) > 2 * blue(0.3) > 0
