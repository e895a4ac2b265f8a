"""Statistics of a dataset, against counting by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.source import Source
from pointssl_datasets.checking.statistics import as_text, count, summarise
from pointssl_datasets.viewer.charts import charts, tiles

CLASSES, PARTS = ("box", "ball", "<b>"), ("box/low", "box/high", "ball/all")


def cloud(seed, points, label=None, part=None, images=0):
    made = {"xyz": np.random.default_rng(seed).normal(size=(points, 3)).astype(np.float32)}
    if label is not None:
        made["label"] = label
    if part is not None:
        made["part"] = np.array(part)
    if images:
        made["images"] = [Path(f"{i}.png") for i in range(images)]
    return made


def source(split, clouds, classes=CLASSES, parts=PARTS):
    def read(i):
        if isinstance(clouds[i], Exception):
            raise clouds[i]
        return dict(clouds[i])

    return Source(
        dataset="mine", split=split, classes=classes, parts=parts, up_axis="y", key="k",
        names=[f"c{i}" for i in range(len(clouds))], read=read,
    )  # fmt: skip


@pytest.fixture
def summary():
    train = [
        cloud(0, 4, 0, [0, 0, 0, 1], images=2),
        cloud(1, 6, 0, [1, 1, 1, 1, 1, 1]),
        cloud(2, 3, 1, [2, 2, 2], images=1),
        cloud(2, 3, 1, [2, 2, 2]),  # repeats the one before
        DataError("c4: NaN"),
        cloud(3, 5, 9),  # no such class
    ]
    test = [cloud(0, 4, 0, [0, 0, 0, 1]), cloud(5, 8, 1, [2] * 8)]
    return summarise([count(source("train", train)), count(source("test", test))])


def test_counts(summary):
    train, test = summary["splits"]["train"], summary["splits"]["test"]
    assert (train["clouds"], test["clouds"]) == (6, 2)
    assert train["classes"] == {"box": 2, "ball": 2, "<b>": 0}
    assert train["points"] == {"min": 3, "median": 3.5, "max": 6}
    assert (train["pictures"], train["clouds_with_pictures"]) == (3, 2)
    assert train["fields"] == {"part": 4}
    assert list(train["unreadable"]) == ["c4", "c5"]
    assert "label 9 is not one of 3 classes" in train["unreadable"]["c5"]
    assert json.loads(json.dumps(summary)) == summary


def test_repeats_within_and_between_splits(summary):
    assert summary["splits"]["train"]["repeats"] == 1
    assert summary["splits"]["test"]["repeats"] == 0
    assert summary["repeats_between"] == {"train, test": 1}


def test_shares_of_parts(summary):
    # Boxes: 4 + 6 + 4 points, of which 3 + 0 + 3 are low; low is in two of three.
    assert summary["parts"]["box"] == {
        "box/low": {"points": round(6 / 14, 4), "shapes": round(2 / 3, 4)},
        "box/high": {"points": round(8 / 14, 4), "shapes": 1.0},
    }
    assert summary["parts"]["ball"] == {"ball/all": {"points": 1.0, "shapes": 1.0}}


def test_extents_are_the_longest_sides(summary):
    sides = [np.ptp(cloud(*seed)["xyz"], axis=0).max() for seed in ((0, 4), (1, 6), (2, 3), (2, 3))]
    found = summary["splits"]["train"]["longest_side"]
    assert found["min"] == pytest.approx(min(sides), rel=1e-3)
    assert found["median"] == pytest.approx(np.median(sides), rel=1e-3)
    assert found["max"] == pytest.approx(max(sides), rel=1e-3)


def test_histograms_hold_every_cloud_once(summary):
    points = summary["histograms"]["points"]
    assert sum(points["counts"]) == 6
    assert (points["edges"][0], points["edges"][-1]) == (3, 8)
    assert len(points["counts"]) == 5
    assert sum(summary["histograms"]["longest_side"]["counts"]) == 6


def test_clouds_without_classes_or_part_names():
    only = source("train", [cloud(0, 5, part=[0, 0, 1, 1, 1]), cloud(1, 5)], (), ())
    found = summarise([count(only)])
    assert found["classes"] == []
    assert found["part_names"] == ["part 0", "part 1"]
    assert found["parts"] == {
        "all clouds": {
            "part 0": {"points": 0.4, "shapes": 0.5},
            "part 1": {"points": 0.6, "shapes": 0.5},
        }
    }
    assert found["histograms"]["points"] == {"counts": [2], "edges": [5, 5], "median": 5}
    assert "Clouds per class" not in charts(found)
    assert "The number of points of every cloud is 5." in charts(found)


def test_nothing_readable_is_an_error():
    with pytest.raises(DataError, match="no cloud of 'train' can be read: c0: NaN"):
        count(source("train", [DataError("c0: NaN"), DataError("c1: NaN")]))
    with pytest.raises(DataError, match="the split is empty"):
        count(source("train", []))


def test_the_table_and_the_charts_say_it(summary):
    text = as_text(summary)
    assert "3 .. 3.5 .. 6" in text
    assert "warning: 1 clouds of test are also in train" in text
    cells = [line.split() for line in text.splitlines() if line.startswith("class ")]
    rows = {" ".join(row[:-2]): row[-2:] for row in cells}
    assert rows == {"class box": ["2", "1"], "class ball": ["2", "1"], "class <b>": ["0", "0"]}
    page = tiles(summary) + charts(summary)
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    for words in ("test clouds also in train", "unreadable clouds", "repeated clouds", "2 + 1"):
        assert words in page
