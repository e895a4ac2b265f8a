"""Several datasets as one: weights, merged classes, the same on every process."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.serving.mixing import Member, load_mixture, parse


def mixture(tmp_path, text, **more):
    given = {"points": 16, "cache_dir": tmp_path / "cache", **more}
    return load_mixture(f"concat:{text}", tmp_path / "a", "train", **given)


@pytest.fixture
def folders(tmp_path):
    tiny.write_clouds(tmp_path / "a", per_class=4, classes=("bed", "chair"), pictures=False)
    tiny.write_clouds(tmp_path / "b", per_class=5, classes=("chair", "sofa"), pictures=False)
    return f"folder+folder@{tmp_path / 'b'}"


def test_what_can_be_written():
    root = Path("r")
    assert parse("concat:shapes + modelnet40@/data/m40*0.25", root) == [
        Member("shapes", root, 1.0),
        Member("modelnet40", Path("/data/m40"), 0.25),
    ]
    assert parse("concat:my_package.mod:Data*3", None) == [Member("my_package.mod:Data", None, 3.0)]
    for wrong in ("", "a+", "a*", "a*0", "a*-1", "a*nan", "a*1*2", "a@", "concat:a"):
        with pytest.raises(UsageError, match=r"expected concat:NAME\[@FOLDER\]\[\*WEIGHT\]"):
            parse(f"concat:{wrong}")


def test_classes_are_merged_by_name(tmp_path, folders):
    data = mixture(tmp_path, folders)
    assert data.classes == ("bed", "chair", "sofa")
    assert len(data) == 8 + 10
    assert data.labels.tolist() == [0] * 4 + [1] * 4 + [1] * 5 + [2] * 5
    assert [int(data[i]["label"]) for i in range(18)] == data.labels.tolist()
    assert [int(data[i]["index"]) for i in range(18)] == list(range(18))
    assert data.names[0] == "0-folder/bed/m0"
    assert data.names[8] == "1-folder/chair/m0"
    assert torch.equal(data[8]["xyz"], data.members[1][0]["xyz"])


def test_weights_say_how_often_a_cloud_is_seen(tmp_path, folders):
    first, second = folders.split("+")
    data = mixture(tmp_path, f"{first}*2.5+{second}*0.4")
    assert len(data) == 20 + 4
    seen = [name for name in data.names if name.startswith("0-")]
    assert set(np.unique(seen, return_counts=True)[1]) == {2, 3}
    epochs = []
    for epoch in range(4):
        data.set_epoch(epoch)
        assert len(data) == 24
        epochs.append([name for name in data.names if name.startswith("1-")])
        assert len(set(epochs[-1])) == 4
    assert len({tuple(names) for names in epochs}) > 1
    data.set_epoch(0)
    assert [name for name in data.names if name.startswith("1-")] == epochs[0]
    assert len(mixture(tmp_path, f"{first}+{second}*0.001")) == 9  # never nothing of a member


def test_parts_are_served_where_all_have_them(tmp_path, folders):
    shapes = mixture(tmp_path, "shapes*0.01+my_dataset:Bunnies")
    assert shapes.parts[:4] == (
        "airplane/body",
        "airplane/wing",
        "airplane/tail",
        "airplane/engine",
    )
    assert shapes.parts[-2:] == ("ear", "body")
    bunny = shapes[len(shapes) - 1]
    assert set(bunny["part"].unique().tolist()) == {50, 51}
    with_clouds = mixture(tmp_path, "shapes*0.01+folder")
    assert with_clouds.parts == ()
    assert "part" not in with_clouds[0]


def test_another_weight_is_another_dataset(tmp_path, folders):
    facts = [mixture(tmp_path, folders + more).facts() for more in ("", "*2", "")]
    assert facts[0] == facts[2] != facts[1]
    assert facts[0]["dataset"] == "folder+folder"


def test_what_cannot_be_mixed(tmp_path, folders):
    with pytest.raises(UsageError, match="has no use for it; a weight says how much"):
        mixture(tmp_path, folders, size=3)
    tiny.write_clouds(tmp_path / "c", per_class=2)
    with pytest.raises(UsageError, match="folder has images and folder has none"):
        mixture(tmp_path, f"folder+folder@{tmp_path / 'c'}", image_size=16)
    with pytest.raises(DataError, match=r"absent.* does not exist"):
        mixture(tmp_path, f"folder@{tmp_path / 'absent'}+shapes")
    with pytest.raises(UsageError, match="needs one number of points"):
        mixture(tmp_path, "folder+my_dataset:Bunnies", points=None)


def test_where_a_cloud_comes_from(tmp_path, folders):
    data = mixture(tmp_path, folders + "*2")
    for index in range(len(data)):
        member, row = data.origin(index)
        assert data.names[index].partition("/")[2] == member.names[row]
        assert torch.equal(data[index]["xyz"], member[row]["xyz"])
    alone = data.members[0]
    assert alone.origin(3) == (alone, 3)


def test_a_mixture_names_the_content_of_its_members(tmp_path, folders):
    data = mixture(tmp_path, folders)
    assert data.facts()["members"] == [member.fingerprint for member in data.members]
