"""ShapeNet-55: lists of arrays."""

import layouts
import numpy as np
import pytest

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.sets.shapenet55 import open_shapenet55


@pytest.fixture
def root(tmp_path):
    return layouts.write_shapenet55(tmp_path / "ShapeNet55-34")


def test_names_classes_and_points(root):
    source = open_shapenet55(root, "test")
    assert source.names[:3] == ["02691156/test0ab-c", "02691156/test1ab-c", "03001627/test0ab-c"]
    assert len(source.classes) == 55
    labels = [source.classes[source.read(i)["label"]] for i in range(6)]
    assert labels == ["airplane", "airplane", "chair", "chair", "washer", "washer"]
    stored = np.load(root / "shapenet_pc/03001627-test0ab-c.npy")
    np.testing.assert_array_equal(source.read(2)["xyz"], stored)
    assert set(source.read(2)) == {"xyz", "label"}


def test_another_number_than_the_official_one_is_noted(root):
    assert open_shapenet55(root, "train").notes == [
        f"shapenet55: {root / 'ShapeNet-55/train.txt'} lists 6 clouds, the original 41952"
    ]
    assert "the original 10518" in open_shapenet55(root, "test").notes[0]


def test_missing_arrays_are_counted_and_five_named(root):
    for path in (root / "shapenet_pc").glob("*-train*.npy"):
        path.unlink()
    with pytest.raises(DataError, match="6 of the 6 files that it lists are missing") as caught:
        open_shapenet55(root, "train")
    assert "and 1 more" in str(caught.value)
    assert open_shapenet55(root, "test").count == 6


def test_no_list_leads_out_of_the_folder(root):
    np.save(root / "03001627-secret.npy", np.eye(3))
    (root / "ShapeNet-55/train.txt").write_text("../03001627-secret.npy\n")
    with pytest.raises(DataError, match="1 of the 1 files"):
        open_shapenet55(root, "train")


def test_damage_is_said_when_the_cloud_is_read(root):
    folder = root / "shapenet_pc"
    np.save(folder / "02691156-train0ab-c.npy", np.array([{}]), allow_pickle=True)
    np.save(folder / "02691156-train1ab-c.npy", np.full((20, 3), np.nan))
    (folder / "03001627-train0ab-c.npy").write_text("<html>404</html>")
    (folder / "12345678-x.npy").write_bytes((folder / "04554684-train0ab-c.npy").read_bytes())
    listing = root / "ShapeNet-55/train.txt"
    listing.write_text(listing.read_text() + "12345678-x.npy\n")
    source = open_shapenet55(root, "train")
    for index, said in ((0, "pickled"), (1, "20 of 20 points are NaN"), (2, "not a .npy file"),
                        (6, "'12345678' is not one of the 55 synsets")):  # fmt: skip
        with pytest.raises(DataError, match=said):
            source.read(index)
    source.read(5)


def test_a_list_that_repeats_itself(root):
    listing = root / "ShapeNet-55/train.txt"
    listing.write_text(listing.read_text() * 2)
    with pytest.raises(DataError, match="lists 02691156/train0ab-c twice"):
        open_shapenet55(root, "train")
