"""A user's own folder of clouds, tidy and untidy."""

import os
import shutil

import numpy as np
import pytest
from cloud_files import off_text, pcd_bytes, random_cloud
from PIL import Image
from shared import SHARED, needs_shared

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.files.readers import SUFFIXES
from pointssl_datasets.serving.dataset import load_dataset
from pointssl_datasets.serving.opening import open_source
from pointssl_datasets.sets.folder import open_folder


def write_cloud(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, random_cloud(30, seed))
    return path


def write_picture(path, colour=(10, 20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)
    return path


def write_split(root, classes=("bed", "chair"), count=3, pictures=False):
    for split in ("train", "test"):
        for name in classes:
            for i in range(count):
                path = write_cloud(root / split / name / f"m{i}.npy", i)
                if pictures:
                    write_picture(path.with_suffix(".jpg"))
    return root


def names(source):
    return [cloud["name"] for cloud in source.clouds()]


def images(source):
    return {c["name"]: [p.name for p in c["images"]] for c in source.clouds()}


def test_train_and_test_folders(tmp_path):
    source = open_folder(write_split(tmp_path), "test")
    assert source.classes == ("bed", "chair")
    assert source.up_axis == "y"
    assert source.notes == []
    assert names(source) == [f"{c}/m{i}" for c in ("bed", "chair") for i in range(3)]
    assert [c["label"] for c in source.clouds()] == [0, 0, 0, 1, 1, 1]
    assert open_source("folder", tmp_path, "test", up_axis="z").up_axis == "z"


def test_labels_agree_between_splits_that_have_other_classes(tmp_path):
    write_cloud(tmp_path / "train/bed/a.npy")
    write_cloud(tmp_path / "train/lamp/a.npy")
    write_cloud(tmp_path / "test/chair/a.npy")
    write_cloud(tmp_path / "test/lamp/b.npy")
    (tmp_path / "test/empty").mkdir()
    for split, labels in (("train", [0, 2]), ("test", [1, 2])):
        source = open_folder(tmp_path, split)
        assert source.classes == ("bed", "chair", "lamp")
        assert [c["label"] for c in source.clouds()] == labels


def test_every_suffix_and_case(tmp_path):
    shutil.copytree(write_split(tmp_path / "a", classes=["bed"]), tmp_path / "b")
    xyz = random_cloud(9)
    np.savetxt(tmp_path / "b/train/bed/t.TXT", xyz)
    np.savetxt(tmp_path / "b/train/bed/x.xyz", xyz)
    np.savetxt(tmp_path / "b/train/bed/p.pts", xyz)
    np.savez(tmp_path / "b/train/bed/z.npz", xyz=xyz)
    (tmp_path / "b/train/bed/mesh.OFF").write_text(off_text())
    fields = dict(zip("xyz", xyz.T, strict=True))
    (tmp_path / "b/train/bed/c.pcd").write_bytes(pcd_bytes(fields, "binary_compressed"))
    (tmp_path / "b/train/bed/stuhl grün 椅子.off").write_text(off_text())
    source = open_folder(tmp_path / "b", "train", mesh_points=9)
    sizes = {name: len(source.read(i)["xyz"]) for i, name in enumerate(source.names)}
    assert sizes == {
        **{f"bed/{name}": 9 for name in ("c", "mesh", "p", "stuhl grün 椅子", "t", "x", "z")},
        **{f"bed/m{i}": 30 for i in range(3)},
    }
    assert open_folder(tmp_path / "b", "train").key != source.key
    assert set(SUFFIXES) == {
        ".ply", ".pcd", ".las", ".laz", ".npy", ".npz", ".txt", ".xyz", ".pts",
        ".off", ".obj", ".stl", ".glb",
    }  # fmt: skip


def test_split_below_the_class_as_in_modelnet(tmp_path):
    for name in ("bed", "train"):  # ShapeNet has a class of that name
        for split, count in (("train", 3), ("test", 2)):
            for i in range(count):
                write_cloud(tmp_path / name / split / f"{split}{i}.npy", i)
    write_cloud(tmp_path / "lamp/test/only.npy")
    write_cloud(tmp_path / "bed/loose.npy")
    write_picture(tmp_path / "bed/test/test0.png")
    train = open_folder(tmp_path, "train")
    assert train.classes == ("bed", "lamp", "train")
    assert list(train.names) == [f"{c}/train{i}" for c in ("bed", "train") for i in range(3)]
    assert train.notes == [f"{tmp_path}: ignored the clouds outside of train and test in bed"]
    test = open_folder(tmp_path, "test", on_unpaired="skip")
    assert list(test.names) == ["bed/test0"]
    with pytest.raises(UsageError, match="not 'val'"):
        open_folder(tmp_path, "val")


def test_a_folder_of_pictures_is_no_split(tmp_path):
    """A cloud may be called train."""
    for stem in ("train", "test"):
        write_cloud(tmp_path / f"words/{stem}.npy")
        write_picture(tmp_path / f"words/{stem}/00.png")
    source = open_folder(tmp_path, "train")
    assert source.classes == ("words",)
    assert source.count == 1


def test_val_where_there_is_one(tmp_path):
    write_split(tmp_path)
    with pytest.raises(UsageError, match="not 'val'"):
        open_folder(tmp_path, "val")
    write_cloud(tmp_path / "val/bed/v.npy")
    assert list(open_folder(tmp_path, "val").names) == ["bed/v"]
    assert open_folder(tmp_path, "train").count == 6


def test_flat_folders_have_no_classes(tmp_path):
    for i in range(3):
        write_cloud(tmp_path / "flat" / f"scan {i}.npy", i)
        write_picture(tmp_path / "flat" / f"scan {i}" / "00.png")
    source = open_folder(tmp_path / "flat", "train")
    assert (source.classes, source.notes) == ((), [])
    assert list(source.names) == ["scan 0", "scan 1", "scan 2"]
    assert "label" not in source.read(0)
    assert source.read(1)["images"] == [tmp_path / "flat/scan 1/00.png"]
    with pytest.raises(UsageError, match="all of it is for pretraining"):
        open_folder(tmp_path / "flat", "test")
    for split in ("train", "test"):
        write_cloud(tmp_path / "split" / split / "m.npy")
    write_cloud(tmp_path / "split/test/n.npy")
    assert list(open_folder(tmp_path / "split", "test").names) == ["m", "n"]
    assert open_folder(tmp_path / "split", "train").classes == ()


def test_clouds_beside_the_classes_are_not_lost_silently(tmp_path):
    write_cloud(tmp_path / "bed/a.npy")
    write_cloud(tmp_path / "loose.npy")
    assert "outside of class folders" in open_folder(tmp_path, "train").notes[0]


def test_textures_are_no_pictures_of_the_cloud(tmp_path):
    bed = tmp_path / "train/bed"
    bed.mkdir(parents=True)
    for stem in ("m1", "m2"):
        (bed / f"{stem}.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
        (bed / f"{stem}.mtl").write_text(
            f"newmtl a\n map_Kd -bm 0.2 {stem} wood.png\nbump {stem}\\rough.png\n"
        )
        write_picture(bed / f"{stem} wood.png")
        write_picture(bed / stem / "rough.png")
    source = open_folder(tmp_path, "train")
    assert images(source) == {"bed/m1": [], "bed/m2": []}
    assert "4 texture" in source.notes[0]
    for stem in ("m1", "m2"):
        write_picture(bed / f"{stem}.png")
        write_picture(bed / stem / "view.png")
    assert images(open_folder(tmp_path, "train"))["bed/m1"] == ["view.png", "m1.png"]


def test_skipped_names_are_not_asked_for_their_pair(tmp_path):
    root = write_split(tmp_path / "pictures", pictures=True)
    (root / "train/bed/m0.jpg").unlink()
    (root / "train/chair/m2.npy").unlink()
    skip = frozenset({"bed/m0", "chair/m2.jpg", "chair/m1"})
    source = open_folder(root, "train", skip=skip)
    assert list(source.names) == ["bed/m1", "bed/m2", "chair/m0", "chair/m1"]
    assert source.notes == []  # the caller leaves out what is left, and says so
    with pytest.raises(DataError, match=r"images without a cloud: 1 \(chair/m2.jpg\)"):
        open_folder(root, "train", skip=frozenset({"bed/m0"}))
    (root / "pointssl-skip.tsv").write_text(
        "".join(f"folder\ttrain\t{name}\twhy\n" for name in sorted(skip))
    )
    left = open_source("folder", root, "train")
    assert list(left.names) == ["bed/m1", "bed/m2", "chair/m0"]


def test_one_bad_cloud_is_known_when_it_is_read(tmp_path):
    root = write_split(tmp_path)
    (root / "train/bed/m1.npy").write_bytes(b"nothing")
    (root / "train/bed/m3.npy").symlink_to("gone.npy")
    (root / "train/bed/loop").symlink_to("loop")
    source = open_folder(root, "train")
    assert source.count == 7
    for index, said in ((1, "not a .npy file"), (3, "no such file")):
        with pytest.raises(DataError, match=said):
            source.read(index)
    assert source.read(2)["label"] == 0


@pytest.mark.parametrize("name", ["a\tb", "a\nb", b"gr\xfcn"])
def test_names_that_no_list_can_hold(tmp_path, name):
    root = write_split(tmp_path)
    try:
        shutil.copy(root / "train/bed/m0.npy", root / "train/bed" / f"{os.fsdecode(name)}.npy")
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(DataError, match="rename it") as caught:
        open_folder(root, "train")
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()


def test_what_archives_leave_behind_is_passed_over(tmp_path):
    root = write_split(tmp_path)
    write_cloud(root / "__MACOSX/train/bed/._m0.npy")
    write_cloud(root / "train/__MACOSX/m0.npy")
    write_cloud(root / "train/.cache/m0.npy")
    write_cloud(root / ".git/m0.npy")
    source = open_folder(root, "train")
    assert (source.classes, source.count) == (("bed", "chair"), 6)


def test_unsplit_is_split_by_a_hash_per_class(tmp_path):
    for name, count in (("bed", 10), ("chair", 25), ("train", 3), ("one", 1)):
        for i in range(count):
            write_cloud(tmp_path / name / f"m{i}.npy", i)
    train, test = open_folder(tmp_path, "train"), open_folder(tmp_path, "test")
    assert train.classes == test.classes == ("bed", "chair", "one", "train")
    assert np.bincount([c["label"] for c in test.clouds()], minlength=4).tolist() == [2, 5, 0, 1]
    assert set(names(train)).isdisjoint(names(test))
    assert len(names(train) + names(test)) == 39
    assert "chosen by a hash of the names" in train.notes[0]
    moved = tmp_path.parent / (tmp_path.name + "-moved")
    shutil.copytree(tmp_path, moved)
    assert names(open_folder(moved, "test")) == names(test)  # on every machine the same


def test_pictures_beside_in_a_folder_and_numbered(tmp_path):
    for stem in ("m1", "m1_2", "m3"):
        write_cloud(tmp_path / "train/bed" / f"{stem}.npy")
    bed = tmp_path / "train/bed"
    for name in ("m1.jpg", "m1_a.png", "m1_a_b.webp", "m1_2.JPEG", "m3/00.png", "m3/01.png"):
        picture = write_picture((bed / name).with_suffix(".png"))
        picture.rename(bed / name)
    assert images(open_folder(tmp_path, "train")) == {
        "bed/m1": ["m1.jpg", "m1_a.png", "m1_a_b.webp"],
        "bed/m1_2": ["m1_2.JPEG"],
        "bed/m3": ["00.png", "01.png"],
    }


def test_unpaired_matters_only_where_there_are_pictures(tmp_path):
    assert open_folder(write_split(tmp_path / "plain"), "train").count == 6
    root = write_split(tmp_path / "pictures", pictures=True)
    (root / "train/bed/m0.jpg").unlink()
    (root / "train/chair/m2.npy").unlink()
    write_picture(root / "train/chair/other/00.png")
    with pytest.raises(DataError) as caught:
        open_folder(root, "train")
    assert "clouds without images: 1 of 5 (bed/m0)" in str(caught.value)
    assert "images without a cloud: 2 (chair/m2.jpg, chair/other)" in str(caught.value)
    source = open_folder(root, "train", on_unpaired="skip")
    assert names(source) == ["bed/m1", "bed/m2", "chair/m0", "chair/m1"]
    assert sum("left out" in note for note in source.notes) == 2
    assert open_folder(root, "test").notes == []
    with pytest.raises(UsageError, match="choose error or skip"):
        open_folder(root, "train", on_unpaired="maybe")


def test_foreign_files_are_counted(tmp_path):
    root = write_split(tmp_path)
    (root / "train/bed/.DS_Store").write_bytes(b"x")
    (root / "train/bed/._m0.npy").write_bytes(b"x")  # what macOS leaves on foreign disks
    (root / "train/bed/notes.md").write_text("x")
    (root / "train/bed/deeper").mkdir()
    (root / "train/README.md").write_text("x")
    source = open_folder(root, "train")
    assert source.count == 6
    assert "ignored 4 other files or folders" in source.notes[0]


def test_two_clouds_of_one_name(tmp_path):
    root = write_split(tmp_path)
    np.savetxt(root / "train/bed/m1.txt", random_cloud())
    with pytest.raises(DataError, match=r"two clouds have the name 'm1': m1.npy and m1.txt"):
        open_folder(root, "train")


def test_exact_duplicates_are_counted(tmp_path):
    root = write_split(tmp_path)  # m0..m2 of bed and of chair are the same
    data = load_dataset("folder", root, "train", points=8, cache_dir=tmp_path / "cache")
    assert data.notes == ["3 of 6 clouds repeat another one exactly"]


def test_empty_and_misplaced(tmp_path):
    with pytest.raises(DataError, match=r"no clouds for the split 'train'\. Expected root/train"):
        open_folder(tmp_path, "train")
    write_cloud(tmp_path / "train/bed/m1.npy")
    with pytest.raises(DataError, match="has no folder 'test'"):
        open_folder(tmp_path, "test")
    with pytest.raises(UsageError, match="not 'val'"):
        open_folder(tmp_path, "val")
    with pytest.raises(DataError, match="does not exist"):
        open_folder(tmp_path / "gone", "train")


def test_the_key_changes_with_what_would_be_read(tmp_path):
    root = write_split(tmp_path)
    key = open_folder(root, "train").key
    write_picture(root / "test/bed/m1.jpg")
    assert open_folder(root, "train").key == key
    np.save(root / "train/bed/m1.npy", random_cloud(31))
    changed = open_folder(root, "train").key
    assert changed != key
    (root / "train/bed/m1.npy").rename(root / "train/bed/m9.npy")
    assert open_folder(root, "train").key not in (key, changed)


def test_symbolic_links_are_followed(tmp_path):
    root = write_split(tmp_path / "real")
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "linked/train").mkdir(parents=True)
    (tmp_path / "linked/train/bed").symlink_to(root / "train/bed")
    assert open_folder(tmp_path / "link", "train").key == open_folder(root, "train").key
    assert open_folder(tmp_path / "linked", "train").count == 3


@needs_shared
def test_real_psb21(tmp_path):
    root = SHARED / "data/psb21"
    train = load_dataset("folder", root, "train", points=64, image_size=24, cache_dir=tmp_path)
    test = load_dataset("folder", root, "test", points=64, cache_dir=tmp_path)
    assert (len(train), len(test)) == (809, 821)
    assert train.classes == test.classes
    assert len(train.classes) == 21
    assert train.has_images
    assert not test.has_images
    assert train[3]["image"].shape == (3, 24, 24)
    name = train.names[100]
    stored = np.load(root / "train" / f"{name}.npy").astype(np.float32)
    centred = stored - stored.mean(axis=0)
    expected = centred / np.sqrt((centred**2).sum(axis=1)).max()
    served = load_dataset(
        "folder", root, "train", points=2048, sampling="first", cache_dir=tmp_path
    )
    np.testing.assert_allclose(served[100]["xyz"], expected, atol=1e-6)


def test_a_folder_beside_the_splits_does_not_make_them_classes(tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        for i in range(count):
            write_cloud(tmp_path / split / f"{split}{i}.npy", i)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/readme.txt.md").write_text("how it was scanned")
    train, test = open_folder(tmp_path, "train"), open_folder(tmp_path, "test")
    assert (train.classes, test.classes) == ((), ())
    assert names(train) == [f"train{i}" for i in range(4)]
    assert names(test) == ["test0", "test1"]
