"""What packing saves: ``python -m pointssl.benchmarks.packing``.

A shuffled epoch is read cloud by cloud, 1024 of 2048 points each, from the layout as it is
distributed and from the packed arrays: with nothing in the page cache (cold) and with everything
(warm). Every figure is of a fresh process; peak memory is above what Python and its imports take.
It needs Linux.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pointssl_datasets.base.lazy import Lazy
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.packing.pack import pack, write_packed
from pointssl_datasets.points import sampling
from pointssl_datasets.serving.dataset import CloudDataset
from pointssl_datasets.serving.opening import open_source
from pointssl_datasets.sets.shapes import make_shape

LAYOUTS = ("npy", "ply", "txt", "hdf5")
SERVED = 1024
HEAD = f"{'layout':<8}{'read':<10}{'clouds/s cold':>15}{'warm':>10}{'gain':>16}{'peak MB':>9}"


def write_layout(layout: str, root: Path, clouds: int) -> str:
    """``clouds`` generated shapes as somebody would distribute them; returns the dataset's name."""
    import h5py

    from pointssl_datasets.files.writers import write_ply

    shapes = (make_shape("train", index) for index in range(clouds))
    if layout == "hdf5":
        with h5py.File(root / "ply_data_train0.h5", "w") as file:
            xyz = np.stack([shape["xyz"] for shape in shapes])
            file.create_dataset("data", data=xyz, compression="gzip", compression_opts=4)
            file["label"] = np.arange(clouds) % 16
        (root / "train_files.txt").write_text("data/ply_data_train0.h5\n")
        (root / "shape_names.txt").write_text("".join(f"class{i}\n" for i in range(16)))
        return "modelnet40"
    for index, shape in enumerate(shapes):
        path = root / "train" / f"class{index % 16:02d}" / f"{index:06d}.{layout}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if layout == "npy":
            np.save(path, shape["xyz"])
        elif layout == "ply":
            write_ply(path, Cloud(xyz=shape["xyz"]))
        else:
            np.savetxt(path, shape["xyz"], fmt="%.6f", delimiter=",")
    return "folder"


def forget(folder: Path) -> None:
    """Drops a folder's files from the page cache, as far as the system lets us."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def epoch(kind: str, name: str, folder: Path) -> tuple[float, float]:
    """``(clouds a second, peak MB)`` of a shuffled epoch over the layout or the packed arrays."""
    before = _start_counting()
    order: np.ndarray
    if kind == "layout":
        source = open_source(name, folder, "train")
        order = np.random.default_rng(0).permutation(source.count)
        start = time.perf_counter()
        # An HDF5 file is no good for reading here and there: public loaders hold all of it.
        held = [cloud["xyz"] for cloud in source.clouds()] if name == "modelnet40" else None
        for index in order.tolist():
            xyz = source.read(index)["xyz"] if held is None else held[index]
            rng = sampling.generator(sampling.POINTS, 0, 0, index)
            xyz[sampling.choose_random(len(xyz), SERVED, rng)].sum()
    else:
        data = CloudDataset(folder, points=SERVED)
        order = np.random.default_rng(0).permutation(len(data))
        start = time.perf_counter()
        for index in order.tolist():
            data[index]["xyz"].sum()
    return len(order) / (time.perf_counter() - start), _peak() - before


def _start_counting() -> float:
    """MB that the process holds now; from here on the kernel counts the peak anew (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    """Peak MB since :func:`_start_counting`; pages of mapped files, which cost nothing when memory
    is short, are counted too."""
    # Not getrusage: its peak begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def in_a_fresh_process(*arguments: str) -> list[float]:
    """What this module prints when it is started with ``arguments``."""
    command = [sys.executable, "-m", "pointssl.benchmarks.packing", *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(word) for word in output.split()]


def table_rows(layout: str, clouds: int, place: Path) -> list[str]:
    """The rows of one layout: as distributed, then packed."""
    root = place / layout
    root.mkdir()
    name = write_layout(layout, root, clouds)
    start = time.perf_counter()
    packed = pack(
        open_source(name, root, "train"), normalise="none", cache_dir=place / "cache",
        progress=False,
    )  # fmt: skip
    packing = clouds / (time.perf_counter() - start)
    rows, reference = [], (0.0, 0.0)
    for kind, folder in (("layout", root), ("packed", packed)):
        forget(folder)
        cold, _ = in_a_fresh_process("--epoch", kind, name, str(folder))
        warm, peak = in_a_fresh_process("--epoch", kind, name, str(folder))
        if kind == "layout":
            reference = (cold, warm)
        gain = f"{cold / reference[0]:.1f}x {warm / reference[1]:.1f}x"
        rows.append(f"{layout:<8}{kind:<10}{cold:>15.0f}{warm:>10.0f}{gain:>16}{peak:>9.0f}")
    return [*rows, f"{'':<8}packed once at {packing:.0f} clouds/s"]


def index_row(count: int, place: Path) -> str:
    """How long a packed set of ``count`` clouds takes to open, and what packing it takes."""
    folder = place / "index"
    folder.mkdir()
    packing, peak = in_a_fresh_process("--pack", str(count), str(folder))
    seconds, more = in_a_fresh_process("--open", str(folder))
    return (
        f"index of {count:,} clouds: packed in {packing:.0f} s at a peak of {peak:.0f} MB, "
        f"opened in {seconds:.3f} s with {more:.0f} MB"
    )


def pack_many(count: int, folder: Path) -> tuple[float, float]:
    """``(seconds, peak MB)`` of packing ``count`` tiny clouds."""
    before, start = _start_counting(), time.perf_counter()
    points = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    source = Source(
        dataset="many",
        split="train",
        classes=(),
        up_axis="y",
        key="",
        names=Lazy(count, "cloud {}".format),
        read=lambda index: Cloud(xyz=points + np.float32(index)),
    )
    write_packed(source, folder, "none", False)
    return time.perf_counter() - start, _peak() - before


def open_many(folder: Path) -> tuple[float, float]:
    """``(seconds, peak MB)`` of opening a packed folder and serving its last cloud."""
    before, start = _start_counting(), time.perf_counter()
    data = CloudDataset(folder, points=8)
    data[len(data) - 1]
    return time.perf_counter() - start, _peak() - before


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clouds", type=int, default=2000, help="clouds in every layout")
    parser.add_argument("--index", type=int, default=1_000_000, help="clouds in the index")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--epoch", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--pack", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--open", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.epoch:
        print(*epoch(given.epoch[0], given.epoch[1], Path(given.epoch[2])))
    elif given.pack:
        print(*pack_many(int(given.pack[0]), Path(given.pack[1])))
    elif given.open:
        print(*open_many(Path(given.open)))
    else:
        with tempfile.TemporaryDirectory(dir=given.folder) as place:
            print(f"{given.clouds} clouds of 2048 points, {SERVED} of them served; shuffled epoch")
            print(HEAD)
            for layout in LAYOUTS:
                print("\n".join(table_rows(layout, given.clouds, Path(place))), flush=True)
            print(index_row(given.index, Path(place)))


if __name__ == "__main__":
    main()
