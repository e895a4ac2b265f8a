"""`pointssl data show`: its files show the dataset, and bad clouds do not stop it."""

import json

import numpy as np
import pytest
from browser import browsers, needs_browser, opened
from PIL import Image
from shared import SHARED, needs_shared
from tiny import write_clouds

from pointssl.config.data import ShowConfig
from pointssl.recipes.data import show
from pointssl.reports.figures.contact_sheet import contact_sheet
from pointssl.reports.figures.statistics import statistics_figure
from pointssl_datasets.base.errors import DataError, UsageError, UserError
from pointssl_datasets.base.source import Source
from pointssl_datasets.checking.statistics import count, summarise

NAMES = ["show.png", "show.html", "statistics.png", "statistics.json"]


def config(out, **options):
    return ShowConfig(**{"progress": False, "points": 256, "out": out, **options})


def shapes(out, **options):
    return config(out, **{"data": "shapes", "size": 32, "limit": 32, **options})


def test_four_files_and_a_table(tmp_path, capsys):
    paths = show.run(shapes(tmp_path / "a" / "out"))
    assert [path.name for path in paths] == NAMES
    assert sorted(p.name for p in (tmp_path / "a" / "out").iterdir()) == sorted(NAMES)
    printed = capsys.readouterr().out
    assert "class airplane" in printed
    statistics = json.loads(paths[3].read_text())
    assert statistics["splits"]["train"]["clouds"] == 32
    assert statistics["splits"]["test"]["classes"]["table"] == 2
    assert set(statistics["parts"]["mug"]) == {"mug/handle", "mug/cup"}
    with Image.open(paths[0]) as sheet:
        values = np.asarray(sheet.convert("RGB")).astype(int)
    assert (values[0] == 255).all()
    colourful = np.ptp(values, axis=-1) > 60
    assert 0.03 < colourful.mean() < 0.5


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first, second = (show.run(shapes(tmp_path / name, limit=8)) for name in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    other = show.run(shapes(tmp_path / "c", limit=8, seed=1))
    assert other[1].read_bytes() != first[1].read_bytes()


@needs_browser
def test_the_page_shows_the_clouds(tmp_path):
    page_file = show.run(shapes(tmp_path))[1]
    with browsers() as launch, opened(launch(), page_file, reduced_motion="reduce") as page:
        assert page.title() == "shapes · train"
        assert page.locator(".card").count() == 32
        assert page.locator("#filter option").count() == 17
        page.select_option("#filter", label="mug (2)")
        page.locator(".card:visible").first.click()
        assert page.locator("#legend button").all_inner_texts()[0].startswith("handle")
        assert "256 points" in page.locator("#facts").inner_text()
        page.keyboard.press("Escape")
        assert page.locator(".chart").count() >= 18  # classes, sides, points, 16 categories
        bars = page.locator(".chart").first.locator("rect.fill-0")
        assert bars.nth(3).evaluate("r => r.getBoundingClientRect().width") > 20


def test_pictures_stand_beside_their_clouds_and_one_damaged_cloud_is_left_out(tmp_path, capsys):
    root = write_clouds(tmp_path / "data", per_class=3, classes=("bed", "<i>chair", "lamp"))
    np.save(root / "train" / "bed" / "m1.npy", np.full((64, 3), np.nan, dtype=np.float32))
    (root / "train" / "lamp" / "m0.png").write_bytes(b"no picture")
    paths = show.run(config(tmp_path / "out", data="folder", data_root=root))
    statistics = json.loads(paths[3].read_text())
    assert list(statistics["splits"]["train"]["unreadable"]) == ["bed/m1"]
    assert statistics["splits"]["train"]["pictures"] == 8
    assert "`pointssl data check` shows the errors" in capsys.readouterr().out
    page = paths[1].read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 7
    assert "<i>" not in page
    assert "<title>data · train</title>" in page
    assert "8 of 9 clouds, 3 of 3 classes" in page
    with Image.open(paths[0]) as sheet:
        assert sheet.width > 900


def test_a_dataset_that_is_missing_or_a_split_that_is_unknown(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        show.run(config(tmp_path / "out", data="modelnet40", data_root=tmp_path / "none"))
    with pytest.raises(UsageError, match="unknown split 'dev'"):
        show.run(shapes(tmp_path / "out", split="dev"))
    assert not (tmp_path / "out").exists()


def test_out_is_a_file(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="out"):
        show.run(shapes(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "mine"


def test_clouds_are_chosen_evenly():
    labels = np.array([0] * 50 + [1] * 2 + [2] * 30)
    everything = np.ones(82, dtype=bool)
    chosen = show.choose(labels, everything, 12)
    assert np.bincount(labels[chosen]).tolist() == [5, 2, 5]
    assert chosen.tolist()[:5] == [0, 10, 20, 30, 40]
    assert len(show.choose(labels, everything, 1000)) == 82
    assert labels[show.choose(labels, everything, 2)].tolist() == [0, 1]
    readable = labels != 0
    assert set(labels[show.choose(labels, readable, 10)]) == {1, 2}
    no_classes = np.full(100, -1)
    assert show.choose(no_classes, np.ones(100, dtype=bool), 4).tolist() == [0, 25, 50, 75]


def cell(group, colour=(200, 30, 30), image=None, parts=()):
    picture = np.zeros((60, 60, 4), dtype=np.uint8)
    picture[20:40, 20:40] = (*colour, 255)
    return {
        "group": group, "name": "a name that is far too long for its place " * 3,
        "picture": picture, "image": image, "parts": list(parts),
    }  # fmt: skip


@pytest.mark.parametrize("classes", [0, 1, 16, 55])
def test_the_sheet_shows_every_cloud_and_picture(tmp_path, classes):
    groups = [f"class {i}" for i in range(classes)] or [""]
    blue = np.full((20, 40, 3), (20, 20, 220), dtype=np.uint8)
    cells = [cell(group, image=blue) for group in groups for _ in range(2)]
    contact_sheet(cells, tmp_path / "s.png", title="t" * 30, subtitle="s")
    with Image.open(tmp_path / "s.png") as sheet:
        values = np.asarray(sheet).astype(int)
    assert max(values.shape[:2]) < 6000
    edge = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    assert (edge == 255).all()
    red = (np.abs(values - (200, 30, 30)).max(axis=-1) < 30).sum()
    drawn = (np.abs(values - (20, 20, 220)).max(axis=-1) < 3).sum()
    assert red == pytest.approx(len(cells) * 86 * 86, rel=0.1)  # 20 of 60 pixels, enlarged
    assert drawn == pytest.approx(len(cells) * 156 * 78, rel=0.1)


def test_a_legend_for_each_class_or_one_for_all(tmp_path):
    colours = np.array([[0, 160, 0], [160, 0, 160], [0, 150, 150]], dtype=np.uint8)

    def dots(cells):
        contact_sheet(
            cells, tmp_path / "s.png", title="t", subtitle="s", parts=["a/x", "a/y", "b/x"],
            colours=colours,
        )  # fmt: skip
        with Image.open(tmp_path / "s.png") as sheet:
            values = np.asarray(sheet).astype(int)
        rows = [np.nonzero((values == c).all(axis=-1))[0] for c in colours]
        return [r.min() if len(r) else None for r in rows]

    separate = dots([cell("a", parts=[0, 1]), cell("b", parts=[2])])
    shared = dots([cell("a", parts=[0, 1, 2]), cell("b", parts=[0, 2])])
    assert separate[0] == separate[1] == separate[2]
    assert shared[0] == shared[1] == shared[2] < separate[0]
    assert dots([cell("a")]) == [None] * 3


@pytest.mark.parametrize("classes", [0, 1, 20, 55])
def test_the_figure_of_statistics(tmp_path, classes):
    rng = np.random.default_rng(0)

    def made(split):
        def read(i):
            points = rng.normal(size=(50 + i, 3))
            return {"xyz": points, "label": i % classes} if classes else {"xyz": points}

        return Source(
            dataset="cost $5 and $6", split=split, classes=tuple(f"${i}$" for i in range(classes)),
            up_axis="y", key="k", names=[str(i) for i in range(60)], read=read,
        )  # fmt: skip

    path = tmp_path / "figure.png"
    statistics_figure(summarise([count(made("train")), count(made("test"))]), path)
    with Image.open(path) as picture:
        values = np.asarray(picture.convert("RGB")).astype(int)
    assert max(values.shape) < 2600
    blue = (np.abs(values - (0, 114, 178)).max(axis=-1) < 3).sum()
    orange = (np.abs(values - (230, 159, 0)).max(axis=-1) < 3).sum()
    assert blue > 10_000
    assert (orange > 1000) == bool(classes)


@needs_shared
def test_real_shapes_with_pictures(tmp_path):
    options = {"data": "folder", "data_root": SHARED / "data" / "psb21", "limit": 12}
    paths = show.run(config(tmp_path, **options))
    statistics = json.loads(paths[3].read_text())
    assert {k: s["clouds"] for k, s in statistics["splits"].items()} == {"train": 809, "test": 821}
    assert paths[1].read_text(encoding="utf-8").count("data:image/jpeg") == 12
