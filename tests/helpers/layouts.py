"""Tiny sets in the layouts in which the public datasets are distributed, one writer each.

A writer makes the folder ``root`` and returns it. Same arguments, same bytes.
"""

import json

import h5py
import numpy as np
from cloud_files import ply_bytes
from PIL import Image

from pointssl_datasets.sets.scanobjectnn import PARTS as SCAN_PARTS
from pointssl_datasets.sets.shapenetpart import SYNSETS as PART_SYNSETS
from pointssl_datasets.sets.shapes import CATEGORIES

KINDS = ("bed", "chair", "night_stand")
SPLITS = ("train", "test")
CATEGORY = list(CATEGORIES.values())


def points(rng, *shape):
    """``(..., 3)``, taller than wide, so that axes can't be swapped unnoticed."""
    return (rng.normal(size=(*shape, 3)) * (1, 3, 2)).astype(np.float32)


def directions(rng, *shape):
    """``(..., 3)`` unit vectors."""
    vectors = rng.normal(size=(*shape, 3))
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def write_hdf5(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
    return path


def write_modelnet_hdf5(root, *, files=2, clouds=3, count=16):
    """modelnet40_ply_hdf5_2048."""
    for split in SPLITS:
        listed = []
        for number in range(files):
            rng = np.random.default_rng([number, split == "test"])
            name = f"ply_data_{split}{number}.h5"
            label = np.arange(clouds, dtype=np.uint8)[:, None] % len(KINDS)
            normal = directions(rng, clouds, count).astype(np.float32)
            write_hdf5(root / name, data=points(rng, clouds, count), normal=normal, label=label)
            listed.append(f"data/modelnet40_ply_hdf5_2048/{name}\n")
        (root / f"{split}_files.txt").write_text("".join(listed))
    (root / "shape_names.txt").write_text("\n".join(KINDS) + "\n")
    return root


def write_modelnet_normal(root, *, per_class=1, count=10_000):
    """modelnet40_normal_resampled; 1 MB a shape, as its number of points is fixed."""
    rng, listed = np.random.default_rng(0), {split: [] for split in SPLITS}
    for kind in KINDS:
        (root / kind).mkdir(parents=True)
        for number in range(1, 2 * per_class + 1):
            name = f"{kind}_{number:04d}"
            table = np.hstack([points(rng, count), directions(rng, count)])
            line = ",".join(["%.6f"] * 6) + "\n"  # as numpy.savetxt, in a third of its time
            (root / kind / f"{name}.txt").write_text(line * count % tuple(table.reshape(-1)))
            listed["train" if number <= per_class else "test"].append(name)
    for split, names in listed.items():
        for prefix in ("modelnet40", "modelnet10"):
            (root / f"{prefix}_{split}.txt").write_text("\n".join(names) + "\n")
    (root / "modelnet40_shape_names.txt").write_text("\n".join(KINDS) + "\n")
    (root / "filelist.txt").write_text("bed/bed_0001.txt\n")
    return root


def write_modelnet_off(root, *, per_class=2):
    """ModelNet10.zip: a folder per class and split, meshes that are boxes."""
    number = 0
    corners = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)], dtype=float)
    faces = [(0, 2, 3), (0, 3, 1), (4, 5, 7), (4, 7, 6), (0, 1, 5), (0, 5, 4), (2, 6, 7),
             (2, 7, 3), (0, 4, 6), (0, 6, 2), (1, 3, 7), (1, 7, 5)]  # fmt: skip
    for kind in KINDS:
        for split in SPLITS:
            folder = root / kind / split
            folder.mkdir(parents=True)
            for _ in range(per_class):
                number += 1
                lines = [f"{x} {y * number} {z}" for x, y, z in corners]
                lines += [f"3 {a} {b} {c}" for a, b, c in faces]
                text = "OFF\n8 12 0\n" + "\n".join(lines) + "\n"
                (folder / f"{kind}_{number:04d}.off").write_text(text)
    return root


def write_scanobjectnn(root, variant="obj_bg", *, count=8, mask=True, splits=SPLITS):
    """ScanObjectNN's h5_files: the official number of clouds, of few points."""
    folder = "main_split_nobg" if variant == "obj_only" else "main_split"
    hard = variant == "pb_t50_rs"
    for split in splits:
        clouds = {(False, "train"): 2309, (False, "test"): 581}.get((hard, split))
        clouds = clouds or {"train": 11416, "test": 2882}[split]
        rng = np.random.default_rng([hard, split == "test"])
        arrays = {"data": points(rng, clouds, count), "label": np.arange(clouds) % 15}
        if mask:  # the number of the object in its scene, or -1
            arrays["mask"] = rng.integers(-1, len(SCAN_PARTS), (clouds, count)).astype(np.int32)
        name = "training" if split == "train" else split
        ending = "_augmentedrot_scale75" if hard else ""
        write_hdf5(root / "h5_files" / folder / f"{name}_objectdataset{ending}.h5", **arrays)
    return root


def shapenetpart_shapes(count=24, seed=0):
    """Of each category: ``(synset, label, xyz (N, 3), normals (N, 3), part (N,) from 0 to 49)``."""
    for label, (synset, category) in enumerate(zip(PART_SYNSETS, CATEGORY, strict=True)):
        rng = np.random.default_rng([seed, label])
        part = category.first + rng.integers(0, len(category.parts), count)
        yield synset, label, points(rng, count), directions(rng, count), part


def write_shapenetpart_hdf5(root, *, splits=("train", "val", "test"), lists=True):
    """shapenet_part_seg_hdf5_data: two files to train, one for each other split."""
    for split in splits:
        names = [f"ply_data_{split}{i}.h5" for i in range(2 if split == "train" else 1)]
        for number, name in enumerate(names):
            shapes = list(shapenetpart_shapes(seed=["train", "val", "test"].index(split)))
            _, label, xyz, _, part = zip(*shapes[number :: len(names)], strict=True)
            arrays = {"data": np.stack(xyz), "label": np.array(label, np.uint8)[:, None]}
            write_hdf5(root / name, **arrays, pid=np.array(part, np.uint8))
        if lists:
            (root / f"{split}_hdf5_file_list.txt").write_text("\n".join(names) + "\n")
    return root


def write_shapenetpart_text(root, *, normal=False, lists=True, seeds=(0, 1, 2)):
    """shapenetcore_partanno_segmentation_benchmark_v0, or ..._v0_normal."""
    for split, seed in zip(("train", "val", "test"), seeds, strict=True):
        listed = []
        for synset, label, xyz, normals, part in shapenetpart_shapes(seed=seed):
            name = f"{split}{seed}"
            listed.append(f"shape_data/{synset}/{name}")
            if normal:
                (root / synset).mkdir(parents=True, exist_ok=True)
                table = np.hstack([xyz, normals, part[:, None]])
                np.savetxt(root / synset / f"{name}.txt", table, fmt="%.6f")
                continue
            local = part - CATEGORY[label].first + 1
            for folder, suffix, values, form in (
                ("points", "pts", xyz, "%.5f"),
                ("points_label", "seg", local, "%d"),
            ):
                (root / synset / folder).mkdir(parents=True, exist_ok=True)
                np.savetxt(root / synset / folder / f"{name}.{suffix}", values, fmt=form)
        if lists:
            file = root / "train_test_split" / f"shuffled_{split}_file_list.json"
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps(listed[::-1]))
    names = [f"{name.capitalize()}\t{s}" for name, s in zip(CATEGORIES, PART_SYNSETS, strict=True)]
    (root / "synsetoffset2category.txt").write_text("\n".join(names) + "\n")
    return root


def write_shapenet55(root, *, synsets=("02691156", "03001627", "04554684"), per_class=2, count=20):
    """Point-BERT's ShapeNet55-34."""
    rng = np.random.default_rng(0)
    (root / "shapenet_pc").mkdir(parents=True)
    for folder, wanted in (("ShapeNet-55", synsets), ("ShapeNet-34", synsets[:1])):
        (root / folder).mkdir()
        for split in SPLITS:
            files = [f"{s}-{split}{n}ab-c.npy" for s in wanted for n in range(per_class)]
            (root / folder / f"{split}.txt").write_text("\n".join(files) + "\n")
            for file in files:
                np.save(root / "shapenet_pc" / file, points(rng, count))
    return root


def write_shapenet_render(root, *, synsets=("03001627", "02942699"), shapes=2, views=2):
    """CrossPoint's ShapeNet and ShapeNetRendering."""
    rng = np.random.default_rng(0)
    for synset in synsets:
        (root / "ShapeNet" / synset).mkdir(parents=True)
        for number in range(shapes):
            data = ply_bytes(points(rng, 20))
            (root / "ShapeNet" / synset / f"id{number}.ply").write_bytes(data)
            folder = root / "ShapeNetRendering" / synset / f"id{number}" / "rendering"
            folder.mkdir(parents=True)
            for view in range(views):
                picture = Image.new("RGBA", (12, 9), (40 * number, 100 * view, 200, 255))
                picture.save(folder / f"{view:02d}.png")
    return root


S3DIS_ROOMS = ("Area_1_office_1", "Area_1_conferenceRoom_2", "Area_2_WC_1", "Area_5_hallway_1",
               "Area_6_openspace_1")  # fmt: skip


def write_s3dis_blocks(root, *, per_room=3, files=2, count=24):
    """indoor3d_sem_seg_hdf5_data: blocks of all rooms, spread over files."""
    rng = np.random.default_rng(0)
    rooms = [room for room in S3DIS_ROOMS for _ in range(per_room)]
    data = np.concatenate(
        [points(rng, len(rooms), count), rng.random((len(rooms), count, 6))], axis=2
    ).astype(np.float32)
    label = rng.integers(0, 13, (len(rooms), count)).astype(np.uint8)
    listed = []
    for number, rows in enumerate(np.array_split(np.arange(len(rooms)), files)):
        name = f"ply_data_all_{number}.h5"
        write_hdf5(root / name, data=data[rows], label=label[rows])
        listed.append(f"indoor3d_sem_seg_hdf5_data/{name}\n")
    (root / "all_files.txt").write_text("".join(listed))
    (root / "room_filelist.txt").write_text("\n".join(rooms) + "\n")
    return root


def write_s3dis_rooms(root, *, count=50):
    """stanford_indoor3d: one array per room."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    for room in S3DIS_ROOMS:
        colours, classes = rng.integers(0, 256, (count, 3)), rng.integers(0, 13, (count, 1))
        np.save(root / f"{room}.npy", np.hstack([points(rng, count), colours, classes]))
    return root


def write_folder(root, *, per_class=2, count=20):
    """The user's own: root/train/CLASS/name.npy."""
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for kind in KINDS:
            (root / split / kind).mkdir(parents=True)
            for number in range(per_class):
                np.save(root / split / kind / f"m{number}.npy", points(rng, count))
    return root
