"""What is served: the right points, reproducibly, with everything that belongs to them."""

import pickle

import numpy as np
import pytest
import torch
from cloud_files import random_cloud, random_normals
from PIL import Image
from torch.utils.data import DataLoader

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.points import sampling
from pointssl_datasets.serving.dataset import load_dataset


def write_folder(root, *, count=6, points=100, normals=False, part=False, views=0):
    """``root/{train,test}/{bed,chair}``; images tell their cloud and view by colour."""
    for split in ("train", "test"):
        for c, name in enumerate(("bed", "chair")):
            for i in range(count):
                sizes = points if isinstance(points, int) else points[i]
                arrays = {"xyz": random_cloud(sizes, [i, c, split == "test"])}
                if normals:
                    arrays["normals"] = random_normals(sizes, [i, c])
                if part:
                    arrays["part"] = np.arange(sizes) % 4
                folder = root / split / name / f"m{i}"
                (folder if views else folder.parent).mkdir(parents=True, exist_ok=True)
                np.savez(folder.with_suffix(".npz"), **arrays)
                for view in range(views):
                    colour = (c * 100 + i, view, 0)
                    Image.new("RGB", (4, 4), colour).save(folder / f"{view}.png")
    return root


@pytest.fixture
def load(tmp_path):
    """``load(points=..., ...)`` of a folder that ``written`` describes."""

    def load(split="train", written=None, **options):
        written = written or {}
        root = tmp_path / ("data" + str(sorted(written.items())).replace("/", ""))
        if not root.exists():
            write_folder(root, **written)
        options = {"points": 40, "cache_dir": tmp_path / "cache", "normalise": "none"} | options
        return load_dataset("folder", root, split, **options)

    return load


def rows(sample):
    return sample["xyz"].numpy()


def indices_in(stored, served):
    """Which stored rows are served, found by comparing every pair."""
    return [int(np.flatnonzero((stored == row).all(axis=1))[0]) for row in served]


def test_a_sample_has_the_promised_types_and_shapes(load):
    data = load(written={"normals": True, "part": True, "views": 2}, normals=True, image_size=4)
    sample = data[7]
    assert {key: (tuple(value.shape), value.dtype) for key, value in sample.items()} == {
        "xyz": ((40, 3), torch.float32),
        "feats": ((40, 3), torch.float32),
        "part": ((40,), torch.int64),
        "image": ((3, 4, 4), torch.uint8),
        "index": ((), torch.int64),
        "label": ((), torch.int64),
        "view": ((), torch.int64),
    }
    assert (int(sample["index"]), int(sample["label"])) == (7, 1)
    assert (data.name, data.split, data.classes) == ("folder", "train", ("bed", "chair"))
    assert data.parts == ("part 0", "part 1", "part 2", "part 3")
    assert data.labels.tolist() == [0] * 6 + [1] * 6
    assert data.names[7] == "chair/m1"
    assert len(data) == 12
    assert len(data.fingerprint) == 64


def test_everything_of_a_point_stays_together(load, tmp_path):
    data = load(written={"normals": True, "part": True}, normals=True)
    with np.load(next(tmp_path.glob("data*")) / "train/bed/m2.npz") as stored:
        sample = data[2]
        which = indices_in(stored["xyz"], rows(sample))
        np.testing.assert_allclose(sample["feats"], stored["normals"][which], atol=1e-6)
        np.testing.assert_array_equal(sample["part"], stored["part"][which])


def test_random_points_are_distinct_and_uniform(load):
    data, everything = load(), rows(load(points=None, sampling="first")[0])
    hits = np.zeros(100)
    for epoch in range(300):
        data.set_epoch(epoch)
        which = indices_in(everything, rows(data[0]))
        assert len(set(which)) == 40
        hits[which] += 1
    # Binomial(300, 0.4): mean 120, standard deviation 8.5; five of them for 100 points at once.
    assert abs(hits - 120).max() < 5 * 8.5


def test_the_choice_depends_on_seed_epoch_and_index_alone(load):
    one, two = load(seed=3), load(seed=3)
    order = [5, 0, 5, 2]
    for epoch in (0, 1):
        one.set_epoch(epoch)
        two.set_epoch(epoch)
        first = {i: rows(one[i]).tobytes() for i in order}
        second = {i: rows(two[i]).tobytes() for i in reversed(order)}
        assert first == second
    two.set_epoch(0)
    assert rows(one[5]).tobytes() != rows(two[5]).tobytes()
    other = load(seed=4)
    other.set_epoch(1)
    assert rows(one[5]).tobytes() != rows(other[5]).tobytes()
    same_cloud = indices_in(rows(load(points=None, sampling="first")[0]), rows(load()[0]))
    next_cloud = indices_in(rows(load(points=None, sampling="first")[1]), rows(load()[1]))
    assert same_cloud != next_cloud


def test_workers_serve_what_one_process_serves(load):
    data = load(written={"views": 2}, image_size=4)
    serial = list(DataLoader(data, batch_size=5))
    for method, count in (("fork", 2), ("spawn", 1)):
        workers = DataLoader(data, batch_size=5, num_workers=count, multiprocessing_context=method)
        for a, b in zip(serial, workers, strict=True):
            for key in a:
                torch.testing.assert_close(a[key], b[key], rtol=0, atol=0)


def test_pickling_carries_no_arrays(load):
    data = load(written={"points": 5000}, points=10)
    copy = pickle.loads(pickle.dumps(data))
    assert len(pickle.dumps(data)) < 5000
    assert rows(copy[3]).tobytes() == rows(data[3]).tobytes()


def test_getitems_is_getitem_for_each(load):
    data = load()
    for a, b in zip(data.__getitems__([4, 1, 11]), [data[4], data[1], data[11]], strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert rows(data[-1]).tobytes() == rows(data[11]).tobytes()
    assert int(data[-1]["index"]) == 11
    with pytest.raises(IndexError):
        data[12]


def test_first_and_all_points(load):
    everything = rows(load(points=None, sampling="first")[2])
    assert everything.shape == (100, 3)
    np.testing.assert_array_equal(rows(load(sampling="first")[2]), everything[:40])
    shuffled = rows(load(points=None)[2])
    assert sorted(indices_in(everything, shuffled)) == list(range(100))


def test_farthest_points_are_those_of_the_obvious_loop(load):
    everything = rows(load(points=None, sampling="first")[2]).astype(float)
    chosen = [0]
    while len(chosen) < 40:
        nearest = [min(((p - everything[c]) ** 2).sum() for c in chosen) for p in everything]
        chosen.append(int(np.argmax(nearest)))
    data = load(sampling="fps")
    for _ in range(2):  # the second time from the cache
        assert indices_in(everything.astype(np.float32), rows(data[2])) == chosen


@pytest.mark.parametrize("how", ["first", "random", "fps"])
def test_too_few_points_are_repeated_and_that_is_said(load, how):
    data = load(written={"points": (30, 40, 50, 60, 70, 80)}, points=45, sampling=how)
    said = "4 of 12 clouds have fewer than 45 points (the smallest 30): their points are repeated"
    assert data.notes == [said]
    counts = np.unique(rows(data[0]), axis=0, return_counts=True)[1]
    assert (len(counts), counts.sum()) == (30, 45)  # every point occurs, some again
    assert len(np.unique(rows(data[2]), axis=0)) == 45


def test_all_points_need_clouds_of_one_size(load):
    written = {"points": (30, 40, 50, 60, 70, 80)}
    with pytest.raises(DataError, match="clouds have 30 to 80 points; say how many with --points"):
        load(written=written, points=None)


def test_options_that_do_not_fit(load):
    with pytest.raises(UsageError, match="--normals: folder has no normals"):
        load(normals=True)
    with pytest.raises(UsageError, match="--sampling 'best': choose"):
        load(sampling="best")
    with pytest.raises(UsageError, match="turn 'x': choose"):
        load(turn="x")
    with pytest.raises(UsageError, match="--points 0"):
        load(points=0)
    with pytest.raises(UsageError, match="unknown dataset 'foldr', did you mean 'folder'"):
        load_dataset("foldr", None, "train", points=1)


def test_turned_clouds_are_the_same_clouds_turned(load):
    plain = load(sampling="first", written={"normals": True}, normals=True)
    for turn in ("up", "so3"):
        turned = load(sampling="first", turn=turn, written={"normals": True}, normals=True)
        angles = []
        for i in range(12):
            before, after = rows(plain[i]).astype(float), rows(turned[i]).astype(float)
            matrix = np.linalg.lstsq(before, after, rcond=None)[0].T
            np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-5)
            assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-5)
            feats = plain[i]["feats"].numpy() @ matrix.T
            np.testing.assert_allclose(turned[i]["feats"], feats, atol=1e-5)
            height_kept = np.allclose(after[:, 1], before[:, 1], atol=1e-6)
            assert height_kept == (turn == "up")
            angles.append(matrix[0, 0])
        assert len(np.unique(np.round(angles, 4))) == 12
        once = rows(turned[3])
        turned.set_epoch(9)
        assert rows(turned[3]).tobytes() == once.tobytes()  # fixed: no epoch, no order
        other = load(sampling="first", turn=turn, written={"normals": True}, seed=1)
        assert rows(other[3]).tobytes() != once.tobytes()


def test_so3_is_uniform():
    """The image of a fixed vector has mean 0 and covariance 1/3; the angle has Haar's mean."""
    rotations = np.array(
        [sampling.rotation("so3", np.random.default_rng(i)) for i in range(4000)], dtype=float
    )
    for column in range(3):
        vectors = rotations[:, :, column]
        assert abs(vectors.mean(axis=0)).max() < 5 * (1 / 3 / 4000) ** 0.5
        assert abs(np.cov(vectors.T) - np.eye(3) / 3).max() < 0.03
    angle = np.arccos(np.clip((np.trace(rotations, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert angle.mean() == pytest.approx(np.pi / 2 + 2 / np.pi, abs=0.06)


def test_views_are_the_clouds_own_and_all_come_up(load):
    data = load(written={"views": 3}, image_size=4)
    seen = set()
    for epoch in range(30):
        data.set_epoch(epoch)
        for i in range(12):
            red, green, _ = data[i]["image"][:, 0, 0].tolist()
            assert red == (i // 6) * 100 + i % 6
            seen.add((i, green))
    assert len(seen) == 36
    assert not load(written={"views": 3}).has_images
    assert "image" not in load(written={"views": 3})[0]


def test_views_are_rendered_only_where_there_are_no_images(load):
    rendered = load(image_size=16, views=2, normalise="unit-sphere")
    assert rendered.has_images
    assert rendered[0]["image"].shape == (3, 16, 16)
    assert not load(image_size=16).has_images
    own = load(written={"views": 1}, image_size=4, views=2)
    assert own[1]["image"][:, 0, 0].tolist() == [1, 0, 0]


def test_facts_identify_what_is_served(load):
    base = load().facts()
    assert base == load().facts()
    assert base["fingerprint"] == load().fingerprint
    changed = [{"points": 41}, {"sampling": "fps"}, {"seed": 1}, {"turn": "up"}, {"up_axis": "z"}]
    changed += [{"split": "test"}, {"normalise": "unit-sphere"}]
    for options in changed:
        assert load(**options).facts() != base


def test_own_openers_go_the_same_way(tmp_path, monkeypatch):
    (tmp_path / "my_clouds.py").write_text(
        "import numpy as np\n"
        "from pointssl_datasets.base.source import Cloud, Source\n"
        "def open_mine(root, split, *, size, seed):\n"
        "    points = np.random.default_rng(seed).normal(size=(size, 9, 3))\n"
        "    return Source(dataset='mine', split=split, classes=(), up_axis='z', key=str(seed),\n"
        "                  names=list(map(str, range(size))), notes=['made up'],\n"
        "                  read=lambda i: Cloud(xyz=points[i]))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    options = {"points": 5, "size": 4, "cache_dir": tmp_path / "cache"}
    data = load_dataset("my_clouds:open_mine", None, "train", **options)
    assert (len(data), data.labels.tolist(), data.notes) == (4, [-1] * 4, ["made up"])
    with pytest.raises(DataError, match="mine: the split 'train' is empty"):
        load_dataset(
            "my_clouds:open_mine", None, "train", **(options | {"size": 0, "data_seed": 1})
        )
