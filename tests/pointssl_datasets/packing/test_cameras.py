"""The cameras of rendered images: what a sample says of its view is where its points were drawn."""

import pickle

import numpy as np
import pytest
import torch
from casting import box_mesh, joined, mesh_points, write_off
from PIL import Image
from scipy import ndimage
from torch.utils.data import default_collate

from pointssl_datasets.base.errors import UserError
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.files.readers import read_cloud
from pointssl_datasets.files.writers import write_ply
from pointssl_datasets.packing import cameras as module
from pointssl_datasets.packing.images import render_images
from pointssl_datasets.packing.pack import pack, write_packed
from pointssl_datasets.serving.dataset import CloudDataset, load_dataset
from pointssl_datasets.serving.mixing import load_mixture
from pointssl_datasets.serving.opening import open_source

SIZE, VIEWS = 64, 3
# A step: it looks the same from no two sides, and its middle is not that of its corners.
STEP = joined(
    box_mesh([0.0, 0.0, 0.0], [0.9, 0.3, 0.5]), box_mesh([0.0, 0.3, 0.1], [0.3, 1.0, 0.2])
)
FAR = np.array([30.0, -70.0, 4.0])  # of the files' origin
COLOURS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]])


def lands(sample, size=SIZE):
    """Column, row ``(N,)`` and depth of each point, by the camera: the slow, obvious way."""
    found = []
    for point in sample["xyz"].double().numpy():
        across, down, depth = sample["camera"].double().numpy() @ [*point, 1.0]
        found.append((size * across / depth, size * down / depth, depth))
    return np.array(found)


def write_meshes(root):
    (root / "train" / "step").mkdir(parents=True)
    for i in range(2):
        write_off(root / "train" / "step" / f"{i}.off", STEP[0] * (3 + i) + FAR, STEP[1])
    return root


def write_coloured(root):
    """A ball of six coloured caps, one on each axis, not in the middle of its file."""
    (root / "train" / "ball").mkdir(parents=True)
    for i in range(2):
        points = np.random.default_rng(i).normal(size=(3000, 3))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        axis = np.abs(points).argmax(axis=1)
        positive = points[np.arange(len(points)), axis] > 0
        colours = COLOURS[2 * axis + positive].astype(np.float32)
        xyz = (5 * points + [20, 0, -30]).astype(np.float32)
        write_ply(root / "train" / "ball" / f"{i}.ply", Cloud(xyz=xyz, colours=colours))
    return root


def load(root, name="folder", **options):
    given = {"points": 1024, "image_size": SIZE, "views": VIEWS, "cache_dir": root / "cache"}
    return load_dataset(name, root, "train", **{**given, **options})


def samples(dataset, epochs=3):
    for epoch in range(epochs):
        dataset.set_epoch(epoch)
        yield from (dataset[i] for i in range(len(dataset)))


@pytest.mark.parametrize("normalise", ["unit-sphere", "none"])
@pytest.mark.parametrize(("up_axis", "turn"), [("y", "none"), ("z", "up"), ("x", "so3")])
def test_points_of_a_mesh_land_where_it_was_drawn(tmp_path, normalise, up_axis, turn):
    dataset = load(write_meshes(tmp_path), normalise=normalise, up_axis=up_axis, turn=turn)
    assert dataset.has_cameras
    for sample in samples(dataset):
        column, row, depth = lands(sample).T
        drawn = sample["image"].amax(dim=0).numpy() > 0
        # Every point on what was drawn, and what was drawn not farther than 2 px from a point.
        on = np.zeros((SIZE, SIZE), dtype=bool)
        on[row.astype(int), column.astype(int)] = True
        assert not (on & ~ndimage.binary_dilation(drawn)).any()
        assert not (drawn & ~ndimage.binary_dilation(on, iterations=3)).any()
        assert (on & drawn).sum() > 0.97 * on.sum()
        # Depth is in the unit of the points.
        lens, shift = sample["camera"][:, :3].double(), sample["camera"][:, 3].double()
        eye = torch.linalg.solve(lens, -shift)
        away = (sample["xyz"].double() - eye).norm(dim=1).numpy()
        assert (depth <= away + 1e-4 * away.max()).all()
        assert (depth > 0.8 * away).all()


@pytest.mark.parametrize("up_axis", ["y", "z"])
def test_few_points_of_a_mesh_have_another_middle_and_radius(tmp_path, up_axis):
    """So corners of the mesh, in the coordinates of the cloud, tell where the image has its own."""
    how = {"points": 40, "mesh_points": 40, "up_axis": up_axis, "image_size": 256}
    dataset = load(write_meshes(tmp_path), **how)
    for sample in samples(dataset):
        number = int(sample["index"])
        file = tmp_path / "train" / "step" / f"{number}.off"
        drawn = read_cloud(file, mesh_points=40)["xyz"].astype(np.float64)
        corners = STEP[0] * (3 + number) + FAR - drawn.mean(axis=0)
        corners /= np.linalg.norm(drawn - drawn.mean(axis=0), axis=1).max()
        if up_axis == "z":
            corners = corners[:, [0, 2, 1]] * [1, 1, -1]
        column, row, _ = lands({**sample, "xyz": torch.from_numpy(corners)}, 256).T
        rows, columns = np.nonzero(sample["image"].amax(dim=0).numpy())
        for extremes, of_corners in ((rows, row), (columns, column)):
            assert extremes.min() == pytest.approx(of_corners.min(), abs=1)
            assert extremes.max() + 1 == pytest.approx(of_corners.max(), abs=1)


@pytest.mark.parametrize("normalise", ["unit-sphere", "none"])
@pytest.mark.parametrize(("up_axis", "turn"), [("y", "none"), ("z", "up"), ("x", "so3")])
def test_points_of_a_cloud_land_on_their_colour(tmp_path, normalise, up_axis, turn):
    how = {"normalise": normalise, "up_axis": up_axis, "turn": turn, "colours": True}
    dataset = load(write_coloured(tmp_path), points=3000, **how)
    seen = set()
    for sample in samples(dataset):
        column, row, depth = lands(sample).T
        near = depth < np.quantile(depth, 0.3)  # of a ball: seen for sure
        shown = sample["image"].permute(1, 2, 0).numpy()[row.astype(int), column.astype(int)]
        colour = sample["colour"].numpy()
        right = ((shown > 60) == (colour > 0.5)).all(axis=1)
        assert right[near].mean() > 0.9  # the rest lies where two colours meet
        assert right[depth > np.quantile(depth, 0.7)].mean() < 0.3  # behind it are others
        seen.add((int(sample["index"]), int(sample["view"])))
    assert len(seen) > len(dataset)


def test_view_is_the_number_of_the_image(tmp_path):
    dataset = load(write_coloured(tmp_path))
    images = np.load(dataset.images_folder / "images.npy")
    cameras = np.load(dataset.images_folder / "cameras.npy")
    assert (cameras.shape, cameras.dtype) == ((2 * VIEWS, 3, 4), np.float32)
    seen = set()
    for sample in samples(dataset, 20):
        row = VIEWS * int(sample["index"]) + int(sample["view"])
        np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), images[row])
        np.testing.assert_array_equal(sample["camera"], cameras[row])
        seen.add(row)
    assert seen == set(range(2 * VIEWS))
    batch = default_collate(dataset.__getitems__([0, 1]))
    assert batch["view"].dtype == torch.int64
    assert batch["view"].shape == (2,)
    assert batch["camera"].shape == (2, 3, 4)


def test_view_and_camera_stay_with_a_feature_and_in_a_worker(tmp_path):
    dataset, plain = load(write_coloured(tmp_path)), load(tmp_path)
    dataset.replace_images(np.arange(2 * VIEWS, dtype=np.float32)[:, None])
    for sample, other in zip(samples(dataset), samples(plain), strict=True):
        assert int(sample["image_feature"]) == VIEWS * int(sample["index"]) + int(sample["view"])
        assert torch.equal(sample["camera"], other["camera"])
    moved = pickle.loads(pickle.dumps(plain))
    assert torch.equal(moved[1]["camera"], plain[1]["camera"])


@pytest.mark.parametrize("write", [write_meshes, write_coloured])
def test_images_rendered_before_cameras_were_kept_get_theirs(tmp_path, write):
    folder = load(write(tmp_path)).images_folder
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["cameras.npy", "image_offsets.npy", "images.npy"]
    kept = (folder / "cameras.npy").read_bytes()
    before = (folder / "images.npy").stat().st_mtime_ns
    (folder / "cameras.npy").unlink()
    again = load(tmp_path)
    assert again.images_folder == folder  # a hit
    assert (folder / "images.npy").stat().st_mtime_ns == before
    assert (folder / "cameras.npy").read_bytes() == kept
    assert sorted(path.name for path in folder.iterdir()) == names
    assert len(list((tmp_path / "cache" / "images").glob("*/"))) == 1


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    """The images are there, so what worked before works on."""
    folder = load(write_coloured(tmp_path)).images_folder
    (folder / "cameras.npy").unlink()

    def refuse(path):
        raise UserError(f"{path}: can't be written")

    monkeypatch.setattr(module, "whole_file", refuse)
    dataset = load(tmp_path)
    assert not dataset.has_cameras
    assert {"image", "view"} < dataset[0].keys()
    assert "camera" not in dataset[0]


def test_images_of_the_users_own_have_no_camera(tmp_path):
    write_coloured(tmp_path)
    for i in range(2):
        for number in range(3):
            flat = Image.new("RGB", (8, 8), (50 * number, 9, 9))
            flat.save(tmp_path / "train" / "ball" / f"{i}_{number}.png")
    dataset = load(tmp_path)
    assert dataset.has_images
    assert not dataset.has_cameras
    for sample in samples(dataset, 6):
        assert "camera" not in sample
        assert int(sample["image"][0, 0, 0]) == 50 * int(sample["view"])


def test_no_images_no_view(tmp_path):
    sample = load(write_coloured(tmp_path), image_size=None)[0]
    assert not {"image", "view", "camera"} & sample.keys()


def test_points_that_somebody_else_drew_from_the_mesh(tmp_path):
    """Where they lie on the mesh is not known: then no camera of the set is served."""
    mesh = write_off(tmp_path / "step.off", *STEP)
    points = mesh_points(*STEP, 1024).astype(np.float32)
    source = Source(
        dataset="own",
        split="train",
        classes=(),
        up_axis="y",
        key="own",
        names=["mesh", "cloud"],
        read=lambda i: Cloud(xyz=points, mesh=mesh) if i == 0 else Cloud(xyz=points),
    )
    folder = pack(source, cache_dir=tmp_path / "cache", progress=False)
    images = render_images(folder, SIZE, views=VIEWS, cache_dir=tmp_path / "cache")
    known = np.isfinite(np.load(images / "cameras.npy")).all(axis=(1, 2))
    assert known.tolist() == [False] * VIEWS + [True] * VIEWS
    dataset = CloudDataset(folder, points=64, images=images)
    assert not dataset.has_cameras
    assert "camera" not in dataset[1]


def test_a_converted_set_that_is_normalised_another_way(tmp_path):
    """The mesh lies in its own coordinates, the points in those of the converted folder."""
    write_meshes(tmp_path / "files")
    for kept, served in [("unit-sphere", "none"), ("none", "unit-sphere")]:
        root = tmp_path / kept / "train"
        root.mkdir(parents=True)
        write_packed(open_source("folder", tmp_path / "files", "train"), root, kept, False)
        dataset = load(tmp_path / kept, "packed", normalise=served)
        assert dataset.has_cameras
        for sample in samples(dataset):
            column, row, _ = lands(sample).T
            drawn = ndimage.binary_dilation(sample["image"].amax(dim=0).numpy() > 0)
            assert drawn[row.astype(int), column.astype(int)].all()


def test_in_a_mixture_only_if_every_member_has_them(tmp_path):
    write_meshes(tmp_path / "meshes")
    write_coloured(tmp_path / "clouds")
    names = f"concat:folder@{tmp_path / 'meshes'}+folder@{tmp_path / 'clouds'}"
    options = {"points": 256, "image_size": SIZE, "views": VIEWS, "cache_dir": tmp_path / "cache"}
    mixed = load_mixture(names, None, "train", **options)
    assert mixed.has_cameras
    batch = default_collate(mixed.__getitems__(range(4)))
    assert batch["camera"].shape == (4, 3, 4)
    for number in range(2):
        flat = tmp_path / "clouds" / "train" / "ball" / f"{number}.png"
        Image.new("RGB", (8, 8)).save(flat)
    mixed = load_mixture(names, None, "train", **options)
    assert not mixed.has_cameras
    batch = default_collate(mixed.__getitems__(range(4)))
    assert "camera" not in batch
    assert batch["view"].shape == (4,)
