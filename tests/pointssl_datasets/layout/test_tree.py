"""Listing a folder: clouds, their images, images of no cloud, and everything else."""

import pytest

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.layout.tree import has_clouds, list_clouds, subfolders


@pytest.fixture
def folder(tmp_path):
    for name in ("m1.npy", "m1.jpg", "m1_side_2.png", "m2.ply", "m2/b.png", "m2/a.png", "x/a.png",
                 "y.png", "notes.md", ".hidden.npy", "__MACOSX/m3.npy", "empty/z.txt"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    return tmp_path


def test_a_folder_with_everything(folder):
    listing = list_clouds(folder)
    assert listing.clouds == {"m1": folder / "m1.npy", "m2": folder / "m2.ply"}
    assert listing.images == {
        "m1": [folder / "m1.jpg", folder / "m1_side_2.png"],
        "m2": [folder / "m2" / "a.png", folder / "m2" / "b.png"],
    }
    assert listing.orphans == ["x", "y.png"]
    assert listing.foreign[".md"] == 1
    assert subfolders(folder) == ["empty", "m2", "x"]


def test_textures_of_a_material_are_not_images(folder):
    (folder / "m1.mtl").write_text("newmtl a\nmap_Kd -bm 0.2 m1.jpg\n")
    listing = list_clouds(folder)
    assert listing.images["m1"] == [folder / "m1_side_2.png"]
    assert listing.foreign["texture"] == 1


def test_folders_with_clouds_of_their_own_are_ignored(folder):
    assert list_clouds(folder, below=frozenset({"x"})).orphans == ["y.png"]


def test_what_looks_like_a_cloud(folder):
    assert has_clouds(folder)
    assert not has_clouds(folder / "x")
    assert not has_clouds(folder / "missing")


def test_names_that_cannot_be_listed(folder):
    (folder / "m1.txt").write_text("")
    with pytest.raises(DataError, match="two clouds have the name 'm1'"):
        list_clouds(folder)
    (folder / "m1.txt").unlink()
    (folder / "new\nline.npy").write_text("")
    with pytest.raises(DataError, match="without line breaks"):
        list_clouds(folder)
