"""CrossPoint's layout: clouds beside rendered pictures."""

import numpy as np
import pytest
from cloud_files import ply_bytes, random_cloud
from PIL import Image
from shared import SHARED, needs_shared

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.serving.dataset import load_dataset
from pointssl_datasets.sets.shapenet_render import SYNSETS, open_shapenet_render


def write_layout(root, *, synsets=("03001627", "99999999"), shapes=3, views=2, nested=True):
    for synset in synsets:
        (root / "ShapeNet" / synset).mkdir(parents=True)
        for i in range(shapes):
            data = ply_bytes(random_cloud(seed=i))
            (root / "ShapeNet" / synset / f"id{i}.ply").write_bytes(data)
            folder = root / "ShapeNetRendering" / synset / f"id{i}"
            folder = folder / "rendering" if nested else folder
            folder.mkdir(parents=True)
            (folder / "rendering_metadata.txt").write_text("camera")
            for view in range(views):
                picture = Image.new("RGBA", (12, 9), (40 * i, 100 * view, 200, 255))
                picture.save(folder / f"{view:02d}.png")
    return root


@pytest.mark.parametrize("nested", [True, False])
def test_pairs_clouds_and_pictures(tmp_path, nested):
    root = write_layout(tmp_path / "data", nested=nested)
    source = open_shapenet_render(root, "train")
    clouds = list(source.clouds())
    assert source.classes == ("chair", "99999999")  # an unknown synset keeps its number
    assert (source.count, len(clouds)) == (6, 6)
    assert [c["label"] for c in clouds] == [0, 0, 0, 1, 1, 1]
    assert clouds[4]["name"] == "99999999/id1"
    assert [p.name for p in clouds[4]["images"]] == ["00.png", "01.png"]
    assert "id1" in str(clouds[4]["images"][0])
    assert open_shapenet_render(root.parent, "train").count == 6


def test_served_picture_belongs_to_its_cloud(tmp_path):
    root = write_layout(tmp_path / "data")
    data = load_dataset(
        "shapenet-render", root, "train", points=20, image_size=8, cache_dir=tmp_path / "cache"
    )
    assert data.has_images
    seen = set()
    for epoch in range(12):
        data.set_epoch(epoch)
        for i in range(6):
            red, green, blue = data[i]["image"].reshape(3, -1).float().mean(1).tolist()
            assert red == 40 * (i % 3)
            assert blue == 200
            seen.add((i, green))
    assert len(seen) == 12  # both views of every cloud come up


def test_the_55_synsets():
    assert len(SYNSETS) == len(set(SYNSETS.values())) == 55
    assert SYNSETS["02942699"] == "camera"


def test_there_is_no_test_split(tmp_path):
    with pytest.raises(UsageError, match="Evaluate on --data modelnet40"):
        open_shapenet_render(write_layout(tmp_path), "test")


def unpaired(root):
    for i in (0, 2):
        for png in (root / "ShapeNetRendering/03001627" / f"id{i}/rendering").glob("*.png"):
            png.unlink()
    (root / "ShapeNet/99999999/id1.ply").unlink()
    return root


def test_unpaired_is_an_error_or_skipped_aloud(tmp_path):
    root = unpaired(write_layout(tmp_path))
    with pytest.raises(DataError) as caught:
        open_shapenet_render(root, "train")
    message = str(caught.value)
    assert "clouds without images: 2 of 5 (03001627/id0, 03001627/id2)" in message
    assert "images without a cloud: 1 (99999999/id1)" in message
    assert "--on-unpaired skip" in message
    source = open_shapenet_render(root, "train", on_unpaired="skip")
    names = ["03001627/id1", "99999999/id0", "99999999/id2"]
    assert [c["name"] for c in source.clouds()] == names
    assert source.count == 3
    assert sum("left out" in note for note in source.notes) == 2


def test_only_the_first_five_names_are_listed(tmp_path):
    root = write_layout(tmp_path, synsets=["03001627"], shapes=8, views=0)
    with pytest.raises(DataError, match=r"clouds without images: 8 of 8 .*id4, \.\.\.\)"):
        open_shapenet_render(root, "train")
    with pytest.raises(DataError, match="nothing is left"):
        open_shapenet_render(root, "train", on_unpaired="skip")


def test_missing_folders_and_double_names(tmp_path):
    (tmp_path / "ShapeNet/03001627").mkdir(parents=True)
    with pytest.raises(DataError, match=r"Expected ShapeNet/<synset>.*--data folder"):
        open_shapenet_render(tmp_path, "train")
    (tmp_path / "ShapeNetRendering").mkdir()
    with pytest.raises(DataError, match="no clouds"):
        open_shapenet_render(tmp_path, "train")
    for name in ("a.ply", "a.npy"):
        (tmp_path / "ShapeNet/03001627" / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"two clouds have the name 'a': a.npy and a.ply"):
        open_shapenet_render(tmp_path, "train")


@needs_shared
def test_real_cameras(tmp_path):
    data = load_dataset(
        "shapenet-render", SHARED / "data/shapenet_render_cameras", "train", points=2048,
        image_size=32, cache_dir=tmp_path,
    )  # fmt: skip
    assert (len(data), data.classes, data.notes) == (111, ("camera",), [])
    item = data[5]
    assert item["image"].shape == (3, 32, 32)
    corners = np.mean([data[i]["image"][:, 0, 0].float().mean() for i in range(30)])
    middle = np.mean([data[i]["image"][:, 16, 16].float().mean() for i in range(30)])
    assert middle < 150 < 254 < corners  # grey cameras; the renderings are opaque on white
    assert abs(float(item["xyz"].norm(dim=1).max()) - 1) < 1e-5
    # ShapeNet is y-up: y spans the height of a camera, which is less than its width.
    extent = np.array([np.ptp(data[i]["xyz"].numpy(), axis=0) for i in range(111)])
    assert np.median(extent[:, 1]) < np.median(extent[:, [0, 2]].max(axis=1))
