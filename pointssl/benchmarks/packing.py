"""Speed-up by packing datasets: ``python -m pointssl.benchmarks.packing``.

Reads a shuffled epoch cloud by cloud, 1024 of 2048 points each, from the distributed layout and
from the packed arrays, with an empty page cache (cold) and a full one (warm). Every measurement
runs in a fresh process; peak memory excludes Python and its imports. It needs Linux.
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
    """Write ``clouds`` generated shapes in a common layout; return the dataset's name."""
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
    """Drop a folder's files from the page cache, as far as the system allows."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def epoch(kind: str, name: str, folder: Path) -> tuple[float, float]:
    """Measure ``(clouds per second, peak MB)`` of a shuffled epoch over the layout or the packed
    arrays."""
    before = _start_counting()
    order: np.ndarray
    if kind == "layout":
        source = open_source(name, folder, "train")
        order = np.random.default_rng(0).permutation(source.count)
        start = time.perf_counter()
        # HDF5 files are slow at random access: public loaders keep all clouds in memory.
        in_memory = [cloud["xyz"] for cloud in source.clouds()] if name == "modelnet40" else None
        for index in order.tolist():
            xyz = source.read(index)["xyz"] if in_memory is None else in_memory[index]
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
    """Return the MB in use, and reset the kernel's peak counter of this process (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    """Return the peak MB since :func:`_start_counting`. It includes pages of mapped files, which
    the system can drop when memory is short."""
    # Not getrusage: its peak is inherited from the parent process.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def in_a_fresh_process(*arguments: str) -> list[float]:
    """Run this module with ``arguments``, and return the numbers that it prints."""
    command = [sys.executable, "-m", "pointssl.benchmarks.packing", *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(word) for word in output.split()]


def table_rows(layout: str, clouds: int, place: Path) -> list[str]:
    """Measure the rows of one layout: as distributed, then packed."""
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
    """Measure how long packing and opening a set of ``count`` clouds takes."""
    folder = place / "index"
    folder.mkdir()
    packing, peak = in_a_fresh_process("--pack", str(count), str(folder))
    seconds, more = in_a_fresh_process("--open", str(folder))
    return (
        f"index of {count:,} clouds: packed in {packing:.0f} s at a peak of {peak:.0f} MB, "
        f"opened in {seconds:.3f} s with {more:.0f} MB"
    )


def pack_many(count: int, folder: Path) -> tuple[float, float]:
    """Measure ``(seconds, peak MB)`` of packing ``count`` tiny clouds."""
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
    """Measure ``(seconds, peak MB)`` of opening a packed folder and reading its last cloud."""
    before, start = _start_counting(), time.perf_counter()
    data = CloudDataset(folder, points=8)
    data[len(data) - 1]
    return time.perf_counter() - start, _peak() - before


def main(arguments: list[str] | None = None) -> None:
    """Measure all layouts, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clouds", type=int, default=2000, help="clouds per layout")
    parser.add_argument("--index", type=int, default=1_000_000, help="clouds in the index")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--epoch", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--pack", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--open", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.epoch:
        print(*epoch(options.epoch[0], options.epoch[1], Path(options.epoch[2])))
    elif options.pack:
        print(*pack_many(int(options.pack[0]), Path(options.pack[1])))
    elif options.open:
        print(*open_many(Path(options.open)))
    else:
        with tempfile.TemporaryDirectory(dir=options.folder) as place:
            print(
                f"{options.clouds} clouds of 2048 points, {SERVED} of them served; shuffled epoch"
            )
            print(HEAD)
            for layout in LAYOUTS:
                print("\n".join(table_rows(layout, options.clouds, Path(place))), flush=True)
            print(index_row(options.index, Path(place)))


if __name__ == "__main__":
    main()
