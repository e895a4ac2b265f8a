"""The images of a packed dataset: decoded or rendered, once."""

import struct
import zlib

import numpy as np
import pytest
from packing_sources import make_clouds, packed
from PIL import Image, ImageDraw

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.packing.arrays import read_array
from pointssl_datasets.packing.images import load_image, pack_images, render_images


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSSL_CACHE", str(tmp_path / "cache"))


def save_images(tmp_path):
    """A gradient with an alpha channel, a palette image, and a large JPEG."""
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


def image_pack(tmp_path, paths, per_cloud=1):
    clouds = make_clouds()
    for i, cloud in enumerate(clouds):
        cloud["images"] = paths[i * per_cloud : (i + 1) * per_cloud]
    return packed(tmp_path / "cache", clouds)


def test_images_are_resized_without_cropping_on_black(tmp_path):
    folder = pack_images(image_pack(tmp_path, save_images(tmp_path)), 20)
    images = read_array(folder, "images")
    assert (images.shape, images.dtype) == ((3, 20, 20, 3), np.uint8)
    assert read_array(folder, "image_offsets").tolist() == [0, 1, 2, 3]
    assert images[0, :9].max() == 0  # transparent: black, whatever colour lies beneath
    assert images[0, 12:, :, 0].min() == 200
    assert (np.diff(images[0, 15, :, 1].astype(int)) > 0).all()  # the whole ramp is in it
    assert images[2, :, :9, :2].max() < 10
    assert images[2, :, 11:].min() > 245


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
        (broken_png, "can't be decoded"),
        (lambda path: path.write_text("<html>"), "not a JPEG, PNG or WebP"),
        (lambda path: path.write_bytes(b""), "not a JPEG, PNG or WebP"),
        (png_that_claims(30_000), "far too many pixels; at most 64 MPx"),
        (png_that_claims(9_000), "9000 x 9000 pixels; at most 64 MPx"),
    ],
)
def test_an_image_that_cannot_be_decoded_is_named(tmp_path, write, said):
    paths = save_images(tmp_path)
    write(paths[1])
    folder = image_pack(tmp_path, paths)
    with pytest.raises(DataError, match=rf"palette.png: .*{said}"):
        pack_images(folder, 16)
    assert not list((tmp_path / "cache").rglob("*.tmp-*"))
    paths[1].unlink()
    with pytest.raises(DataError, match=r"palette.png: No such file"):
        pack_images(folder, 16)


def test_images_are_packed_anew_when_a_file_or_the_size_changes(tmp_path):
    paths = save_images(tmp_path)
    folder = image_pack(tmp_path, paths)
    first = pack_images(folder, 16)
    assert pack_images(folder, 16) == first
    assert pack_images(folder, 17) != first
    Image.new("RGB", (50, 50), (9, 9, 9)).save(paths[1])
    second = pack_images(folder, 16)
    assert second != first
    assert (read_array(second, "images")[1] == 9).all()


def test_some_clouds_without_images(tmp_path):
    folder = image_pack(tmp_path, save_images(tmp_path)[:2])
    with pytest.raises(DataError, match="1 of 3 clouds have no images: c2"):
        pack_images(folder, 16)
    assert pack_images(packed(tmp_path, make_clouds(), key="none"), 16) is None


def test_images_that_would_not_fit_on_the_disk(tmp_path):
    folder = image_pack(tmp_path, save_images(tmp_path))
    with pytest.raises(DataError, match=r"GB of images, .* GB free \(a smaller --image-size"):
        pack_images(folder, 10_000_000)


def test_rendered_views(tmp_path):
    folder = packed(tmp_path, make_clouds(sizes=(300, 200)), "unit-sphere")
    written = render_images(folder, 24, views=3)
    images = read_array(written, "images")
    assert images.shape == (6, 24, 24, 3)
    assert read_array(written, "image_offsets").tolist() == [0, 3, 6]
    flat = [image.tobytes() for image in images]
    assert len(set(flat)) == 6  # six different views
    assert images.any(axis=(1, 2, 3)).all()  # and something is to be seen in each
    assert not images[:, 0, 0].any()  # on black
    assert render_images(folder, 24, views=3) == written
    again = render_images(
        packed(tmp_path / "b", make_clouds(sizes=(300, 200)), "unit-sphere"), 24, views=3
    )
    np.testing.assert_array_equal(read_array(again, "images"), images)
    assert render_images(folder, 24, views=3, seed=1) != written
