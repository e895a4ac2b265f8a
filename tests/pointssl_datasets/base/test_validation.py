"""Fields that do not fit a cloud's points or the dataset."""

import numpy as np
import pytest
from cloud_files import random_cloud

from pointssl_datasets.base.source import Source
from pointssl_datasets.base.validation import field_errors

GOOD = {
    "xyz": random_cloud(5),
    "label": 1,
    "part": np.array([0, 1, 2, 0, 1]),
    "normals": np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]],
    "place": np.zeros((5, 3), np.float32),
    "colours": np.ones((5, 3), np.float32),
}
SOURCE = Source(
    dataset="x", split="train", classes=("a", "b"), parts=("p", "q", "r"), up_axis="y", key="",
    names=["n"], read=lambda _: {},
)  # fmt: skip


def test_a_good_cloud_has_no_errors():
    assert list(field_errors(GOOD, SOURCE)) == []
    assert list(field_errors({"xyz": GOOD["xyz"], "label": 0}, SOURCE)) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("label", 2, "label 2 is not one of 2 classes"),
        ("label", -1, "label -1 is not one of"),
        ("part", np.array([0, 1, 2, 3, 0]), "values 0 to 3"),
        ("part", np.array([0, 1]), "found shape (2,)"),
        ("part", np.array([], np.int64), "no values"),
        ("normals", np.ones((4, 3)), "normals (4, 3), points (5, 3)"),
        ("normals", np.full((5, 3), np.nan), "NaN or infinite"),
        ("place", np.full((5, 3), np.inf), "places must be (5, 3) finite"),
        ("colours", np.full((5, 3), 1.5), "from 0 to 1"),
        ("colours", np.full((5, 3), np.nan), "from 0 to 1"),
    ],
)
def test_each_field_is_checked(field, value, message):
    ((name, error),) = field_errors({**GOOD, field: value}, SOURCE)
    assert name == field
    assert message in error
