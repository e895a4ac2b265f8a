"""A user's own folder of clouds, tidy and untidy."""

import shutil

import numpy as np
import pytest
from cloud_files import random_cloud
from PIL import Image
from shared import SHARED, needs_shared

from pointssl_datasets.dataset import load_dataset
from pointssl_datasets.errors import DataError, UsageError
from pointssl_datasets.folder import open_folder


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
    assert open_folder(tmp_path, "test", up_axis="z").up_axis == "z"


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
    assert open_folder(tmp_path / "b", "train").count == 7


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
    assert "1 of 5 clouds without pictures (bed/m0)" in str(caught.value)
    assert "2 pictures without a cloud (chair/m2.jpg, chair/other)" in str(caught.value)
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
    with pytest.raises(DataError, match=r"two clouds are called 'm1': m1.npy and m1.txt"):
        open_folder(root, "train")


def test_exact_duplicates_are_counted(tmp_path):
    root = write_split(tmp_path)  # m0..m2 of bed and of chair are the same
    data = load_dataset("folder", root, "train", points=8, cache_dir=tmp_path / "cache")
    assert data.notes == ["3 of 6 clouds repeat another one exactly"]


def test_empty_and_misplaced(tmp_path):
    with pytest.raises(DataError, match=r"no clouds for the split 'train'\. Expected root/train"):
        open_folder(tmp_path, "train")
    write_cloud(tmp_path / "m1.npy")  # no class folder
    with pytest.raises(DataError, match="Expected root/train/CLASS"):
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
