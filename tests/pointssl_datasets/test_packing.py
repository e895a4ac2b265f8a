"""The cache of packed clouds and pictures: right, atomic, shared by processes."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from cloud_files import random_cloud, random_normals
from PIL import Image, ImageDraw

from pointssl_datasets import cache
from pointssl_datasets.errors import DataError, UsageError
from pointssl_datasets.npy_stream import NpyStream
from pointssl_datasets.packing import TO_Y_UP, pack, read_array, read_meta
from pointssl_datasets.paths import cache_root
from pointssl_datasets.pictures import load_image, pack_images, render_images
from pointssl_datasets.source import Cloud, Source


def make_source(clouds, **options):
    """``clouds``: a list, or a function that gives an iterator."""
    given = {"dataset": "mine", "split": "train", "classes": ("a", "b"), "up_axis": "y"}
    given |= {"key": "k", "count": 3}
    given["clouds"] = clouds if callable(clouds) else lambda: iter(clouds)
    return Source(**(given | options))


def make_clouds(sizes=(20, 30, 25), **more):
    return [
        Cloud(name=f"c{i}", xyz=random_cloud(size, i), label=i % 2, **more)
        for i, size in enumerate(sizes)
    ]


def packed(tmp_path, clouds, normalise="none", **options):
    source = make_source(clouds, **options)
    return pack(source, normalise=normalise, cache_dir=tmp_path, progress=False)


def files_under(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_packs_clouds_of_different_sizes(tmp_path):
    clouds = make_clouds()
    for i, cloud in enumerate(clouds):
        cloud["normals"] = random_normals(len(cloud["xyz"]), i)
        cloud["part"] = np.arange(len(cloud["xyz"])) % (i + 2)
        cloud["images"] = [tmp_path / f"{i}.png"]
    folder = packed(tmp_path, clouds)
    offsets = read_array(folder, "offsets")
    assert offsets.tolist() == [0, 20, 50, 75]
    for i, cloud in enumerate(clouds):
        rows = slice(offsets[i], offsets[i + 1])
        for name in ("xyz", "normals", "part"):
            np.testing.assert_array_equal(read_array(folder, name)[rows], cloud[name])
    assert read_array(folder, "label").tolist() == [0, 1, 0]
    meta = read_meta(folder)
    assert meta["parts"] == ["part 0", "part 1", "part 2", "part 3"]
    assert (meta["names"], meta["classes"]) == (["c0", "c1", "c2"], ["a", "b"])
    assert json.loads((folder / "images.json").read_text())[1] == [str(tmp_path / "1.png")]


def test_streamed_npy_is_what_numpy_saves(tmp_path):
    rows = random_cloud(77)
    for dtype, shape, data in (
        ("<f4", (3,), rows),
        ("<i8", (), np.arange(5)),
        ("u1", (2, 2), None),
    ):
        with NpyStream(tmp_path / "a.npy", dtype, shape) as stream:
            for start in range(0, 0 if data is None else len(data), 10):
                stream.append(data[start : start + 10])
        read = np.load(tmp_path / "a.npy")
        expected = np.empty((0, *shape), dtype) if data is None else data.astype(dtype)
        assert read.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(read, expected)
    with (
        pytest.raises(ValueError, match="rows of shape"),
        NpyStream(tmp_path / "a.npy", "<f4", (3,)) as stream,
    ):
        stream.append(np.ones((4, 2)))


@pytest.mark.parametrize("axis", "xyz")
def test_up_axis_conversion_is_a_rotation_that_puts_up_on_y(axis):
    matrix = TO_Y_UP[axis]
    np.testing.assert_array_equal(matrix @ matrix.T, np.eye(3))
    assert np.linalg.det(matrix) == 1
    np.testing.assert_array_equal(matrix @ np.eye(3)["xyz".index(axis)], [0, 1, 0])


def test_packing_turns_points_and_normals_alike(tmp_path):
    """An offset along its normal lies on the same side before and after the turn."""
    clouds = make_clouds(normals=random_normals(20), sizes=(20,))
    turned = packed(tmp_path, clouds, up_axis="z")
    xyz, normals = read_array(turned, "xyz"), read_array(turned, "normals")
    np.testing.assert_array_equal(xyz[:, 1], clouds[0]["xyz"][:, 2])
    before = np.einsum("nc,mc->nm", clouds[0]["xyz"], clouds[0]["normals"])
    np.testing.assert_allclose(np.einsum("nc,mc->nm", xyz, normals), before, atol=1e-6)


def test_unit_sphere_is_the_obvious_loop(tmp_path):
    clouds = make_clouds()
    clouds[1]["xyz"] = clouds[1]["xyz"] * 300 + 5000
    folder = packed(tmp_path, clouds, "unit-sphere")
    offsets, xyz = read_array(folder, "offsets"), read_array(folder, "xyz")
    for i, cloud in enumerate(clouds):
        points = cloud["xyz"].astype(float).tolist()
        mean = [sum(p[axis] for p in points) / len(points) for axis in range(3)]
        centred = [[p[axis] - mean[axis] for axis in range(3)] for p in points]
        radius = max(sum(x * x for x in p) ** 0.5 for p in centred)
        expected = [[x / radius for x in p] for p in centred]
        np.testing.assert_allclose(xyz[offsets[i] : offsets[i + 1]], expected, atol=1e-6)


def test_fingerprint_is_the_content_not_the_place(tmp_path):
    def fingerprint(cache, clouds, **options):
        return read_meta(packed(tmp_path / cache, clouds, **options))["fingerprint"]

    same = fingerprint("a", make_clouds())
    assert fingerprint("b", make_clouds(), key="another place") == same
    moved = make_clouds()
    moved[2]["xyz"][3, 1] += 1e-6
    relabelled = make_clouds()
    relabelled[0]["label"] = 1
    for i, clouds in enumerate([moved, relabelled, make_clouds()[::-1], make_clouds()[:2]]):
        assert fingerprint(f"c{i}", clouds) != same
    assert fingerprint("d", make_clouds(), up_axis="z") != same
    assert fingerprint("e", make_clouds(), normalise="unit-sphere") != same


def test_packed_once_and_again_when_the_key_changes(tmp_path):
    calls = []

    def clouds():
        calls.append(1)
        return iter(make_clouds())

    folders = [packed(tmp_path, clouds, key=key) for key in "aab"]
    assert folders[0] == folders[1] != folders[2]
    assert len(calls) == 2
    packed(tmp_path, clouds, "unit-sphere", key="a")
    packed(tmp_path, clouds, key="a", up_axis="z")
    assert len(calls) == 4


BAD = {
    "empty": ([], {}, "the split 'train' is empty"),
    "nan": ([Cloud(name="n", xyz=np.full((5, 3), np.nan), label=0)], {}, "mine: n: 5 of 5 points"),
    "label": (make_clouds(), {"classes": ("a",)}, "c1: label 1 is not one of 1 classes"),
    "unlabelled": ([Cloud(name="n", xyz=random_cloud())], {}, "label -1"),
    "names": (make_clouds() + make_clouds(), {}, "have the same name"),
    "normals": (make_clouds(normals=random_normals(20)), {}, r"c1: normals \(20, 3\), points"),
    "part": (make_clouds(sizes=(20,), part=np.arange(20)), {"parts": ("p",)}, "0 to 0.* 0 to 19"),
    "part shape": (make_clouds(part=np.arange(20)), {}, r"c1: part must be 30 numbers"),
    "mixed": (
        [*make_clouds((20,), part=np.arange(20)), Cloud(name="n", xyz=random_cloud(), label=0)],
        {},
        "n has xyz, but c0 has xyz, part",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_clouds_leave_nothing_behind(tmp_path, case):
    clouds, options, said = BAD[case]
    with pytest.raises(DataError, match=said):
        packed(tmp_path, clouds, **options)
    assert not [name for name in files_under(tmp_path) if not name.endswith(".lock")]
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_options_are_checked(tmp_path):
    with pytest.raises(UsageError, match="--normalise 'box': choose"):
        packed(tmp_path, make_clouds(), "box")
    with pytest.raises(UsageError, match="--up-axis 'w': choose"):
        packed(tmp_path, make_clouds(), up_axis="w")


def test_a_source_that_cannot_be_read_is_not_blamed_on_the_cache(tmp_path):
    def clouds():
        yield make_clouds()[0]
        Path(tmp_path / "gone.npy").read_bytes()

    with pytest.raises(DataError, match=r"mine: cannot read .*gone\.npy: No such file"):
        packed(tmp_path, clouds)


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DataError, match=r"cannot write the cache .*file/cache/clouds: Not a dir"
    ) as e:
        packed(tmp_path / "file/cache", make_clouds())
    assert "--cache-dir or $POINTSSL_CACHE" in str(e.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a full device")
def test_a_full_disk(tmp_path):
    def write(folder):
        (folder / "data").symlink_to("/dev/full")
        with (folder / "data").open("wb") as file:
            file.write(bytes(100_000))

    with pytest.raises(DataError, match=r"No space left on device\. Name a folder with space"):
        cache.built_folder(tmp_path / "a", write)
    assert files_under(tmp_path) == ["a.lock"]


def test_a_damaged_cache_says_so(tmp_path):
    folder = packed(tmp_path, make_clouds())
    (folder / "xyz.npy").write_bytes((folder / "xyz.npy").read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged cache; delete this folder"):
        read_array(folder, "xyz")
    (folder / "meta.json").unlink()
    with pytest.raises(DataError, match="damaged cache; delete this folder"):
        read_meta(folder)


def test_cache_root(tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSSL_CACHE", str(tmp_path / "env"))
    assert cache_root(tmp_path / "given") == tmp_path / "given"
    assert cache_root(None) == tmp_path / "env"
    monkeypatch.delenv("POINTSSL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root(None) == tmp_path / ".cache/pointssl"


SLOW_PACKER = """
import sys, time
from pathlib import Path
import numpy as np
from pointssl_datasets.packing import pack, read_array, read_meta
from pointssl_datasets.source import Cloud, Source

cache, log, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])

def clouds():
    with log.open("a") as file:
        file.write("read\\n")
    for i in range(10):
        time.sleep(pause)
        yield Cloud(name=f"c{i}", xyz=np.eye(3, dtype=np.float32) * (i + 1), label=0)

source = Source(dataset="slow", split="train", classes=("a",), up_axis="y", key="k", count=10,
                clouds=clouds)
folder = pack(source, normalise="none", cache_dir=cache, progress=False)
assert len(read_array(folder, "xyz")) == 30
print(read_meta(folder)["fingerprint"])
"""


def start_packer(cache, log, pause):
    arguments = [sys.executable, "-c", SLOW_PACKER, str(cache), str(log), str(pause)]
    sources = str(Path(__file__).resolve().parents[2] / "datasets")
    known = os.environ.get("PYTHONPATH", "")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [sources, known]))}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def test_processes_that_start_together_do_the_work_once(tmp_path):
    place, log = tmp_path / "cache", tmp_path / "log"
    running = [start_packer(place, log, 0.1) for _ in range(3)]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(set(said)) == 1
    assert log.read_text() == "read\n"
    assert not list(place.rglob("*.tmp-*"))


def test_what_a_killed_packer_left_is_removed_but_not_what_a_living_one_writes(tmp_path):
    place, log = tmp_path / "cache", tmp_path / "log"
    killed = start_packer(place, log, 30)
    wait_for(lambda: list(place.rglob("*.tmp-*/*.npy")) or list(place.rglob("*.tmp-*")))
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    assert len(list(place.rglob("*.tmp-*"))) == 1

    left = list(place.rglob("*.tmp-*"))
    living = start_packer(place, log, 30)  # takes the dead one's place, and stays at work
    wait_for(lambda: list(place.rglob("*.tmp-*")) not in ([], left))
    try:
        packed(place, make_clouds())  # another dataset: sweeps, but must spare the living
        assert len(list(place.rglob("*.tmp-*"))) == 1
    finally:
        living.kill()
        living.communicate(timeout=30)

    packed(place, make_clouds(), key="another")  # the living is dead now
    assert not list(place.rglob("*.tmp-*"))
    finished = start_packer(place, log, 0)
    assert finished.wait(timeout=30) == 0
    finished.communicate()


def test_without_locks_the_folder_of_the_faster_process_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "fcntl", None)  # as on Windows

    def write(folder):
        (folder / "data").write_text("mine")
        (tmp_path / "a").mkdir()  # meanwhile, another process finishes
        (tmp_path / "a/data").write_text("theirs")

    assert (cache.built_folder(tmp_path / "a", write) / "data").read_text() == "theirs"
    assert files_under(tmp_path) == ["a.lock", "a/data"]


def save_pictures(tmp_path):
    """A gradient with an alpha channel, a palette picture, and a large JPEG."""
    ramp = np.linspace(0, 255, 40).astype(np.uint8)
    rgba = np.zeros((30, 40, 4), np.uint8)
    rgba[..., 0], rgba[..., 1], rgba[..., 3] = 200, ramp, 255
    rgba[:15, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    Image.new("P", (7, 9), 3).save(tmp_path / "palette.png")
    large = Image.new("RGB", (640, 480), (255, 255, 255))
    ImageDraw.Draw(large).rectangle((0, 0, 319, 479), fill=(0, 0, 255))
    large.save(tmp_path / "large.jpg", quality=95)
    return [tmp_path / name for name in ("alpha.png", "palette.png", "large.jpg")]


def picture_pack(tmp_path, paths, per_cloud=1):
    clouds = make_clouds()
    for i, cloud in enumerate(clouds):
        cloud["images"] = paths[i * per_cloud : (i + 1) * per_cloud]
    return packed(tmp_path / "cache", clouds)


def test_pictures_are_resized_without_cropping_on_black(tmp_path):
    folder = pack_images(picture_pack(tmp_path, save_pictures(tmp_path)), 20)
    pictures = read_array(folder, "images")
    assert (pictures.shape, pictures.dtype) == ((3, 20, 20, 3), np.uint8)
    assert read_array(folder, "image_offsets").tolist() == [0, 1, 2, 3]
    assert pictures[0, :9].max() == 0  # transparent: black, whatever colour lies beneath
    assert pictures[0, 12:, :, 0].min() == 200
    assert (np.diff(pictures[0, 15, :, 1].astype(int)) > 0).all()  # the whole ramp is in it
    assert pictures[2, :, :9, :2].max() < 10
    assert pictures[2, :, 11:].min() > 245


def test_resizing_averages_over_the_pixels_that_a_new_one_covers(tmp_path):
    """Antialiased: a fine checkerboard becomes grey, and does not alias."""
    board = np.indices((128, 128)).sum(axis=0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "a.png")
    small = load_image(tmp_path / "a.png", 8)
    assert np.abs(small.astype(int) - 127.5).max() < 2


def test_sixteen_bit_grey_is_not_clipped(tmp_path):
    Image.fromarray(np.full((6, 6), 0x4000, np.uint16)).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png", 6).tolist() == [[[64] * 3] * 6] * 6


def broken_png(path):
    noise = np.random.default_rng(0).integers(255, size=(40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:900])


def png_that_claims(side):
    """A tiny file whose header announces ``side * side`` pixels."""

    def write(path):
        Image.new("RGB", (1, 1)).save(path)
        data = bytearray(path.read_bytes())
        data[16:24] = struct.pack(">II", side, side)  # the IHDR chunk, and then its checksum
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        path.write_bytes(data)

    return write


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("write", "said"),
    [
        (broken_png, "does not decode"),
        (lambda path: path.write_text("<html>"), "not a JPEG, PNG or WebP"),
        (lambda path: path.write_bytes(b""), "not a JPEG, PNG or WebP"),
        (png_that_claims(30_000), "far too many pixels; at most 64 MPx"),
        (png_that_claims(9_000), "9000 x 9000 pixels; at most 64 MPx"),
    ],
)
def test_a_picture_that_does_not_decode_is_named(tmp_path, write, said):
    paths = save_pictures(tmp_path)
    write(paths[1])
    folder = picture_pack(tmp_path, paths)
    with pytest.raises(DataError, match=rf"palette.png: .*{said}"):
        pack_images(folder, 16)
    assert not list((tmp_path / "cache").rglob("*.tmp-*"))
    paths[1].unlink()
    with pytest.raises(DataError, match=r"palette.png: No such file"):
        pack_images(folder, 16)


def test_pictures_are_packed_anew_when_a_file_or_the_size_changes(tmp_path):
    paths = save_pictures(tmp_path)
    folder = picture_pack(tmp_path, paths)
    first = pack_images(folder, 16)
    assert pack_images(folder, 16) == first
    assert pack_images(folder, 17) != first
    Image.new("RGB", (50, 50), (9, 9, 9)).save(paths[1])
    second = pack_images(folder, 16)
    assert second != first
    assert (read_array(second, "images")[1] == 9).all()


def test_some_clouds_without_pictures(tmp_path):
    folder = picture_pack(tmp_path, save_pictures(tmp_path)[:2])
    with pytest.raises(DataError, match="1 of 3 clouds have no pictures: c2"):
        pack_images(folder, 16)
    assert pack_images(packed(tmp_path, make_clouds(), key="none"), 16) is None


def test_pictures_that_would_not_fit_on_the_disk(tmp_path):
    folder = picture_pack(tmp_path, save_pictures(tmp_path))
    with pytest.raises(DataError, match=r"GB of pictures, .* GB free \(a smaller --image-size"):
        pack_images(folder, 10_000_000)


def test_rendered_views(tmp_path):
    folder = packed(tmp_path, make_clouds(sizes=(300, 200)), "unit-sphere")
    images = render_images(folder, 24, views=3)
    pictures = read_array(images, "images")
    assert pictures.shape == (6, 24, 24, 3)
    assert read_array(images, "image_offsets").tolist() == [0, 3, 6]
    flat = [picture.tobytes() for picture in pictures]
    assert len(set(flat)) == 6  # six different views
    assert pictures.any(axis=(1, 2, 3)).all()  # and something is to be seen in each
    assert not pictures[:, 0, 0].any()  # on black
    assert render_images(folder, 24, views=3) == images
    again = render_images(
        packed(tmp_path / "b", make_clouds(sizes=(300, 200)), "unit-sphere"), 24, views=3
    )
    np.testing.assert_array_equal(read_array(again, "images"), pictures)
    assert render_images(folder, 24, views=3, seed=1) != images
