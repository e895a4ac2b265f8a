"""`pointssl data check`: a folder with every mistake, what is said of it, and what --fix leaves."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from cloud_files import random_cloud
from PIL import Image
from shared import SHARED, needs_shared

from pointssl.config.data import CheckConfig
from pointssl.recipes.data import check
from pointssl_datasets.base.errors import DataError, UsageError, UserError
from pointssl_datasets.base.skipping import read_skips
from pointssl_datasets.catalogue import Entry
from pointssl_datasets.serving.dataset import load_dataset
from pointssl_datasets.sets.folder import ENTRIES

POINTS = 64


def checked(root, data="folder", **options):
    options = {"points": POINTS, "progress": False, **options}
    return check.run(CheckConfig(data=data, data_root=root, **options))


def kinds_of(report, severity=None):
    """kind -> total count."""
    kinds = {}
    for finding in report.findings:
        if severity in (None, finding.severity):
            kinds[finding.kind] = kinds.get(finding.kind, 0) + finding.count
    return kinds


def save(path, xyz, picture=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, xyz)
    if picture:
        save_picture(path.with_suffix(".png"))


def save_picture(path, side=24):
    seed = sum(str(path).encode())
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    pixels[0, 0] = list(path.name.encode()[-3:])
    Image.fromarray(pixels).save(path)


def write_good(root, picture=True):
    """Three classes, six clouds in train and three in test, each with a picture."""
    seed = 0
    for split, count in (("train", 6), ("test", 3)):
        for name in ("bed", "chair", "night stand"):
            for number in range(count):
                seed += 1
                save(root / split / name / f"m{number}.npy", random_cloud(POINTS, seed), picture)
    return root


def write_messy(root):
    """What a user's first folder looks like; the counts are those that the test below expects."""
    write_good(root)
    train, test = root / "train", root / "test"
    bad = random_cloud(POINTS, 900)
    bad[3] = np.nan
    save(train / "chair" / "nan.npy", bad)
    bad = random_cloud(POINTS, 901)
    bad[5, 1] = np.inf
    save(test / "chair" / "inf.npy", bad)
    save(train / "chair" / "one place.npy", np.ones((POINTS, 3), np.float32))
    (train / "chair" / "void.npy").touch()
    save_picture(train / "chair" / "void.png")
    (train / "chair" / "pickled.npy").write_bytes(pickle.dumps({"xyz": [1, 2, 3]}))
    save_picture(train / "chair" / "pickled.png")
    save(train / "chair" / "objects.npy", np.array([{"a": 1}, None], dtype=object))
    cut = io.BytesIO()
    np.save(cut, random_cloud(POINTS, 902))
    (train / "bed" / "cut.npy").write_bytes(cut.getvalue()[:300])
    save_picture(train / "bed" / "cut.png")
    save(train / "bed" / "turned.npy", random_cloud(POINTS, 903).T)
    # The same cloud in both splits, twice in one class, and in two classes.
    save(train / "bed" / "leaked.npy", np.load(test / "bed" / "m0.npy"))
    save(train / "bed" / "copy of m1.npy", np.load(train / "bed" / "m1.npy"))
    save(train / "night stand" / "or a bed.npy", np.load(train / "bed" / "m2.npy"))
    # Pictures.
    save(train / "bed" / "text.npy", random_cloud(POINTS, 904), picture=False)
    (train / "bed" / "text.png").write_text("<html>404</html>")
    save(train / "bed" / "black.npy", random_cloud(POINTS, 905), picture=False)
    Image.new("RGB", (24, 24)).save(train / "bed" / "black.png")
    save(train / "bed" / "small.npy", random_cloud(POINTS, 906), picture=False)
    save_picture(train / "bed" / "small.png", side=8)
    for number in range(7):
        save(train / "bed" / f"alone{number}.npy", random_cloud(POINTS, 910 + number), False)
        save_picture(train / "chair" / f"stray{number}.png")
    # Names, sizes, classes.
    save(train / "night stand" / "t\u00fcr \u6905\u5b50 #1.npy", random_cloud(POINTS, 920))
    save(test / "night stand" / "few.npy", random_cloud(9, 921))
    save(test / "lamp" / "m0.npy", random_cloud(POINTS, 922))
    # What lies about.
    (root / "slides.pdf").write_bytes(b"%PDF")
    (train / "bed" / "turntable.mp4").write_bytes(b"\0" * 2000)
    (train / "bed" / "Thumbs.db").write_bytes(b"\0")
    (train / "bed" / ".DS_Store").write_bytes(b"\0")
    (root / "setup.exe").write_bytes(b"MZ")
    with zipfile.ZipFile(train / "chair" / "more chairs.zip", "w") as archive:
        archive.writestr("m9.npy", b"")
    (train / "bed" / "gone.npy").symlink_to(root / "moved.npy")
    (test / "sofa").mkdir()
    return root


ERRORS = {
    "unreadable": 4,
    "empty": 1,
    "non-finite": 2,
    "constant": 1,
    "unpaired-cloud": 8,  # one of them is a link that leads nowhere
    "unpaired-picture": 7,
    "picture": 1,
    "leakage": 1,
}
FIXABLE_WARNINGS = {"duplicate": 1, "two-classes": 1}
WARNINGS = {
    "blank-picture": 1,
    "tiny-picture": 1,
    "few-points": 1,
    "class-untrained": 1,
    "archive": 1,
    "broken-link": 1,
}


def load(root, **options):
    return load_dataset("folder", root, "train", points=POINTS, cache_dir=root / "cache", **options)


def snapshot(root):
    return {
        path.relative_to(root): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.is_relative_to(root / "cache")
    }


def test_nothing_is_wrong_with_a_good_folder(tmp_path):
    report = checked(write_good(tmp_path))
    assert report.exit_code == 0
    assert report.as_text() == "27 clouds read in 2 splits: no problems found."


def test_a_messy_folder_is_described_fixed_and_then_loads(tmp_path):
    root = write_messy(tmp_path)
    before = snapshot(root)
    with pytest.raises(DataError):
        load(root, image_size=16)
    report = checked(root)
    assert report.exit_code == 1
    assert kinds_of(report, "error") == ERRORS
    assert kinds_of(report, "warning") == FIXABLE_WARNINGS | WARNINGS
    fixable = sum(ERRORS.values()) + sum(FIXABLE_WARNINGS.values())
    assert report.fixable == fixable
    assert report.as_text().splitlines()[-1].startswith(f"--fix would leave out {fixable} clouds")
    assert snapshot(root) == before  # looking changes nothing

    fixed = checked(root, fix=True)
    assert fixed.exit_code == 1
    assert fixed.skip_list == root.resolve() / "pointssl-skip.tsv"
    assert len(read_skips(fixed.skip_list)) == fixable
    after = snapshot(root)
    del after[fixed.skip_list.relative_to(root.resolve())]
    assert after == before  # and so does fixing, but for the list

    again = checked(root)
    assert again.exit_code == 0, again.as_text()
    assert kinds_of(again, "error") == {}
    assert kinds_of(again, "warning") == WARNINGS
    assert again.fixable == 0
    assert sum(f.count for f in again.findings if f.kind == "skipped") > 0
    served = load(root, image_size=16)
    assert "bed/m0" in served.names
    assert "night stand/t\u00fcr \u6905\u5b50 #1" in served.names
    left_out = {"chair/nan", "bed/leaked", "bed/text", "bed/alone3", "chair/pickled", "bed/cut"}
    assert not left_out & set(served.names)
    assert served[0]["image"].shape == (3, 16, 16)


def test_a_second_fix_keeps_what_the_first_wrote_and_what_the_user_added(tmp_path):
    root = write_messy(tmp_path)
    path = checked(root, fix=True).skip_list
    with path.open("a") as file:
        file.write("folder\ttrain\tbed/m5\tI do not like it\n")
    save(root / "train" / "chair" / "new.npy", np.full((POINTS, 3), np.nan, np.float32))
    before = read_skips(path)
    checked(root, fix=True)
    assert read_skips(path)[: len(before)] == before
    (added,) = read_skips(path)[len(before) :]
    assert added[:3] == ("folder", "train", "chair/new")
    assert "NaN" in added.why


def test_a_skip_list_elsewhere(tmp_path):
    root, path = write_messy(tmp_path / "data"), tmp_path / "mine.tsv"
    report = checked(root, fix=True, skip_list=path)
    assert report.skip_list == path
    assert f"--skip-list {path}" in report.as_text()
    assert not (root / "pointssl-skip.tsv").exists()
    assert checked(root, skip_list=path).exit_code == 0
    assert checked(root).exit_code == 1


def test_one_stray_picture_among_clouds_without_any(tmp_path):
    root = write_good(tmp_path, picture=False)
    save_picture(root / "train" / "bed" / "holiday.png")
    report = checked(root)
    assert kinds_of(report) == {"unpaired-picture": 1}
    assert sum(report.clouds.values()) == 27
    checked(root, fix=True)
    assert checked(root).exit_code == 0
    assert len(load(root)) == 18


def test_text_fits_a_terminal_and_is_sorted(tmp_path):
    lines = checked(write_messy(tmp_path)).as_text().splitlines()
    assert max(map(len, lines)) <= 100
    assert not any(line != line.rstrip() for line in lines)
    heads = [line.split()[0] for line in lines[1:-3] if line[:1].strip()]
    assert heads == sorted(heads, key=["error", "warning", "note"].index)
    assert set(heads) == {"error", "warning", "note"}
    counted = ", ".join(f"{heads.count(s)} {s}s" for s in ("error", "warning", "note"))
    assert lines[-2] == f"44 clouds read in 2 splits: {counted}."


def test_json_is_plain_and_can_be_written(tmp_path):
    root = write_messy(tmp_path / "data")
    report = checked(root, out=tmp_path / "new" / "report.json")
    plain = json.loads((tmp_path / "new" / "report.json").read_text())
    assert plain == report.as_json() == json.loads(json.dumps(report.as_json()))
    assert plain["errors"] == len([f for f in report.findings if f.severity == "error"])
    assert plain["clouds"] == {"test": 12, "train": plain["clouds"]["train"]}
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["report.json"]


@pytest.mark.parametrize("data", ["folder", "modelnet40", "shapenetpart"])
def test_what_cannot_be_opened_is_one_error(tmp_path, data):
    (tmp_path / "photo.jpg").touch()
    report = checked(tmp_path, data)
    assert report.exit_code == 1
    assert kinds_of(report, "error") == {"unopenable": 1}, report.as_text()
    assert "0 clouds read in 0 splits" in report.summary()
    assert checked(tmp_path / "absent", data).exit_code == 1


def test_a_folder_that_has_only_train(tmp_path):
    root = write_good(tmp_path)
    (root / "test").rename(tmp_path / "elsewhere")
    report = checked(root)
    assert report.exit_code == 0
    assert kinds_of(report)["no-split"] == 1


def test_wrong_names_are_refused(tmp_path):
    with pytest.raises(UsageError, match="foldr"):
        checked(write_good(tmp_path), "foldr")
    with pytest.raises(UsageError, match="one by one"):
        checked(tmp_path, "concat:folder+shapes")
    with pytest.raises(DataError, match="no such file"):
        checked(tmp_path, skip_list=tmp_path / "absent.tsv")
    with pytest.raises((UsageError, DataError)):
        checked(tmp_path, split="tset").exit_code  # noqa: B018


def test_official_counts(tmp_path, monkeypatch):
    entry = Entry(title="", layout="", up_axis="y", classes=4, clouds={"train": 18, "test": 5})
    monkeypatch.setitem(ENTRIES, "folder", entry)
    report = checked(write_good(tmp_path))
    examples = [e for f in report.findings if f.kind == "counts" for e in f.examples]
    assert examples == [
        "9 clouds, officially 5",
        "3 classes, officially 4",
        "3 classes, officially 4",
    ]
    assert report.exit_code == 0


def write_shapes(root, signs):
    """Generated shapes, which are y-up, with the signs of their axes changed."""
    from pointssl_datasets.sets.shapes import CLASSES, make_shape

    for index in range(200):
        cloud = make_shape("train", index)
        xyz = cloud["xyz"] * np.array(signs, dtype=np.float32)
        save(root / "train" / CLASSES[cloud["label"]] / f"m{index}.npy", xyz, picture=False)
    return root


def test_wrong_axis(tmp_path):
    root = write_shapes(tmp_path, (1, 1, 1))
    for up_axis, raised in (("auto", False), ("y", False), ("z", True), ("x", True)):
        report = checked(root, up_axis=up_axis)
        findings = [f for f in report.findings if f.kind == "axis"]
        assert bool(findings) == raised
        if raised:
            assert findings[0].todo == "Pass --up-axis y."
            assert f"assumed to be {up_axis}-up" in findings[0].examples[0]
        assert report.exit_code == 0


def test_shapes_on_their_head_cannot_be_helped_by_an_option(tmp_path):
    root = write_shapes(tmp_path, (1, -1, -1))
    (finding,) = (f for f in checked(root).findings if f.kind == "axis")
    assert finding.todo == "The shapes are upside down: negate y and one more axis in the files."


def test_generated_shapes_have_nothing_wrong():
    report = checked(None, "shapes", size=160)
    assert report.as_text() == "320 clouds read in 2 splits: no problems found."


@needs_shared
def test_real_data_raises_no_false_alarm():
    for data, folder, clouds in (
        ("modelnet10", "modelnet10_hdf5_1024", 4899),
        ("shapenet-render", "shapenet_render_cameras", 111),
    ):
        report = checked(SHARED / "data" / folder, data)
        assert kinds_of(report, "error") == {}, report.as_text()
        assert "axis" not in kinds_of(report)
        assert sum(report.clouds.values()) == clouds


@needs_shared
def test_modelnet10_declared_y_up_is_found_out():
    report = checked(SHARED / "data/modelnet10_hdf5_1024", "modelnet10", up_axis="y", split="test")
    (finding,) = (f for f in report.findings if f.kind == "axis")
    assert finding.todo == "Pass --up-axis z."


def test_a_skip_list_that_cannot_be_written(tmp_path):
    root = write_messy(tmp_path / "data")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Choose another file with --skip-list"):
        checked(root, fix=True, skip_list=tmp_path / "file" / "mine.tsv")


def test_clouds_in_folders_within_a_class_are_not_passed_over_in_silence(tmp_path):
    root = write_good(tmp_path)
    (root / "train/bed/more").mkdir()
    np.save(root / "train/bed/more/m.npy", random_cloud(POINTS))
    (found,) = (f for f in checked(root).findings if f.kind == "ignored")
    assert (found.severity, found.split) == ("note", "train")
    assert "1 folder" in found.examples[0]


def test_strict_counts_warnings(tmp_path):
    root = write_good(tmp_path)
    few = {"points": POINTS + 1}
    assert (checked(root, **few).exit_code, checked(root, **few, strict=True).exit_code) == (0, 1)
    assert checked(root, strict=True).exit_code == 0


def test_a_dataset_without_clouds_is_an_error():
    report = check.run(CheckConfig(data="my_dataset:Empty", progress=False))
    assert report.exit_code == 1
    assert "no clouds" in report.as_text()


def test_what_was_found_is_shown_even_if_the_skip_list_cannot_be_written(tmp_path, capsys):
    root = write_messy(tmp_path / "data")
    (tmp_path / "file").touch()
    with pytest.raises(UserError):
        checked(root, fix=True, skip_list=tmp_path / "file" / "mine.tsv")
    assert "non-finite" in capsys.readouterr().out
