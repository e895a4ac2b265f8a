"""Small furnished rooms in both layouts of S3DIS: ``(N, 7)`` of x y z, r g b, class; z-up."""

import layouts
import numpy as np

from pointssl_datasets.sets.s3dis import PARTS

NAMES = ("Area_1_office_1", "Area_1_hallway_1", "Area_2_office_1", "Area_2_lounge_1",
         "Area_5_office_1", "Area_5_hallway_1")  # fmt: skip
COLOURS = {
    "ceiling": (200, 200, 195), "floor": (110, 100, 90), "wall": (190, 185, 170),
    "window": (150, 170, 190), "door": (120, 90, 60), "table": (140, 110, 80),
    "chair": (50, 50, 60), "bookcase": (120, 100, 90), "board": (230, 230, 230),
    "clutter": (130, 120, 110),
}  # fmt: skip


def sheet(rng, part, count, low, high):
    """Points of one part, uniform in a box that may be flat."""
    xyz = rng.uniform(low, high, (count, 3))
    rgb = np.clip(np.array(COLOURS[part]) + rng.integers(-20, 21, (count, 3)), 0, 255)
    return np.hstack([xyz, rgb, np.full((count, 1), PARTS.index(part))])


def room(seed, count=3000, size=(2.6, 2.2, 2.8)):
    """A room of about ``count`` points: floor, ceiling, walls, door, window, board and furniture.

    Its corner is not at the origin, as in a scan of a storey.
    """
    rng = np.random.default_rng(seed)
    w, d, h = size
    x, y = rng.uniform(0.2, 0.4, 2) * (w, d)
    t = 0.75  # height of a table
    boxes = [
        ("floor", 5, (0, 0, 0), (w, d, 0)), ("ceiling", 5, (0, 0, h), (w, d, h)),
        ("wall", 4, (0, 0, 0), (0, d, h)), ("wall", 4, (w, 0, 0), (w, d, h)),
        ("wall", 4, (0, 0, 0), (w, 0, h)), ("wall", 4, (0, d, 0), (w, d, h)),
        ("window", 2, (0, d / 3, 1), (0.02, d / 2, 2)), ("door", 2, (w, 0.1, 0), (w, 0.9, 2)),
        ("board", 2, (w / 3, d, 1), (w / 2, d, 1.8)),
        ("table", 3, (x, y, t), (x + 1, y + 0.7, t)),
        ("chair", 2, (x, y + 0.8, 0.4), (x + 0.4, y + 1.2, 0.45)),
        ("bookcase", 2, (0.1, d - 0.3, 0), (0.9, d, 1.8)),
        ("clutter", 1, (x, y, t), (x + 0.2, y + 0.2, t + 0.15)),
    ]  # fmt: skip
    share = count / sum(weight for _, weight, _, _ in boxes)
    table = np.vstack([sheet(rng, p, round(n * share), a, b) for p, n, a, b in boxes])
    table[:, :3] = np.round(table[:, :3] + (-3, 7, 1), 3)
    return table[rng.permutation(len(table))]


def write_rooms(root, *, names=NAMES, **made):
    """Area_1_office_1.npy and so on."""
    root.mkdir(parents=True)
    for seed, name in enumerate(names):
        np.save(root / f"{name}.npy", room(seed, **made))
    return root


def squares(table, size, stride):
    """Rows of each block, one comparison after the other: the slow twin of ``blocks.cut``."""
    xyz = table[:, :3].astype(np.float32)
    xyz = xyz - xyz.min(axis=0)
    counts = [1, 1]
    for axis in (0, 1):
        while (counts[axis] - 1) * stride + size < xyz[:, axis].max() - 1e-4 * stride:
            counts[axis] += 1
    for i in range(counts[0]):
        for j in range(counts[1]):
            rows = []
            for row, (x, y, _) in enumerate(xyz):
                inside = True
                for value, number, count in ((x, i, counts[0]), (y, j, counts[1])):
                    start, end = np.float32(number * stride), np.float32(number * stride + size)
                    inside &= value >= start and (value < end or number == count - 1)
                if inside:
                    rows.append(row)
            if rows:
                yield np.array(rows)


def write_blocks(root, *, names=NAMES, points=256, size=1.0, stride=0.5, **made):
    """indoor3d_sem_seg_hdf5_data: ``points`` of every block of every room, repeated if need be."""
    rng, data, label, listed = np.random.default_rng(0), [], [], []
    for seed, name in enumerate(names):
        table = room(seed, **made)
        xyz = table[:, :3] - table[:, :3].min(axis=0)
        for start in np.ndindex(*np.ceil(xyz[:, :2].max(axis=0) / stride).astype(int)):
            low = np.array(start) * stride
            inside = ((xyz[:, :2] >= low) & (xyz[:, :2] <= low + size)).all(axis=1)
            rows = np.flatnonzero(inside)
            if len(rows) < 30:
                continue
            rows = rng.choice(rows, points, replace=len(rows) < points)
            block = xyz[rows].copy()
            block[:, :2] -= block[:, :2].min(axis=0) + size / 2
            data.append(np.hstack([block, table[rows, 3:6] / 255, xyz[rows] / xyz.max(axis=0)]))
            label.append(table[rows, 6])
            listed.append(name)
    half = len(data) // 2
    for number, part in enumerate((slice(half), slice(half, None))):
        layouts.write_hdf5(
            root / f"ply_data_all_{number}.h5",
            data=np.array(data[part], np.float32),
            label=np.array(label[part], np.uint8),
        )
    (root / "all_files.txt").write_text("".join(f"x/ply_data_all_{i}.h5\n" for i in (0, 1)))
    (root / "room_filelist.txt").write_text("\n".join(listed) + "\n")
    return root
