"""The rendered images of a packed dataset: from meshes where there are such, else from clouds."""

import numpy as np
import pytest
from casting import box_mesh, sphere_points, write_off

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.packing.arrays import read_array
from pointssl_datasets.packing.images import pack_images, render_images
from pointssl_datasets.packing.pack import pack
from pointssl_datasets.rendering.clouds import render_mesh

VERTICES, FACES = box_mesh([-0.2, -0.3, -0.5], [0.2, 0.3, 0.5])  # tall along z
POINTS = sphere_points(80).astype(np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSSL_CACHE", str(tmp_path / "cache"))


def packed(tmp_path, meshes, up_axis="y", **fields):
    """One cloud for each of ``meshes``, a path or None."""

    def read(i):
        mesh = {} if meshes[i] is None else {"mesh": meshes[i]}
        return Cloud(xyz=POINTS + i, **mesh, **fields)

    source = Source(
        dataset="own",
        split="train",
        classes=(),
        up_axis=up_axis,
        key=f"{meshes}{sorted(fields)}",
        names=[f"c{i}" for i in range(len(meshes))],
        read=read,
    )
    return pack(source, cache_dir=tmp_path / "cache", progress=False)


def rendered(folder, **how):
    return np.array(read_array(render_images(folder, 32, views=2, **how), "images"))


def shapes(images):
    """Height over width of what each image shows."""
    extents = []
    for image in images:
        rows, columns = np.nonzero(image[..., 0])
        extents.append((np.ptp(rows) + 1) / (np.ptp(columns) + 1))
    return np.array(extents)


def test_meshes_and_clouds_in_one_set(tmp_path):
    mesh = write_off(tmp_path / "tall.off", VERTICES, FACES)
    folder = packed(tmp_path, [None, mesh, None], up_axis="z")
    assert pack_images(folder, 32) is None
    images = rendered(folder)
    assert (images.shape, images.dtype) == ((6, 32, 32, 3), np.uint8)
    tall = shapes(images)
    assert tall[2:4].min() > 1.5  # upright, though it lies in the file
    assert np.abs(np.delete(tall, [2, 3]) - 1).max() < 0.15  # balls
    np.testing.assert_array_equal(images, rendered(folder))
    assert (images != rendered(folder, seed=1)).any()


def test_a_mesh_is_drawn_as_render_mesh_draws_it(tmp_path):
    folder = packed(tmp_path, [write_off(tmp_path / "tall.off", VERTICES, FACES)])
    seed = int(np.random.SeedSequence([7, 0]).generate_state(1)[0])
    expected = render_mesh(VERTICES, FACES, views=2, size=32, seed=seed).astype(int)
    on_black = expected[..., :3] * expected[..., 3:] / 255
    assert np.abs(rendered(folder, seed=7) - on_black).max() <= 1


def test_another_mesh_in_the_file_gives_other_images(tmp_path):
    mesh = write_off(tmp_path / "tall.off", VERTICES, FACES)
    folder = packed(tmp_path, [mesh])
    before = rendered(folder)
    write_off(mesh, VERTICES * [1, 1, 0.1], FACES)
    assert (rendered(folder) != before).any()


def test_meshes_that_are_gone(tmp_path):
    meshes = [write_off(tmp_path / f"{i}.off", VERTICES, FACES) for i in range(2)]
    folder = packed(tmp_path, meshes)
    meshes[0].unlink()
    with pytest.raises(DataError, match=r"0\.off: "):
        rendered(folder)
    meshes[1].unlink()  # all: the packed folder was taken to another machine
    np.testing.assert_array_equal(rendered(folder), rendered(packed(tmp_path, [None, None])))


def test_a_damaged_mesh_leaves_nothing(tmp_path):
    mesh = write_off(tmp_path / "tall.off", VERTICES, FACES)
    folder = packed(tmp_path, [None, mesh])
    mesh.write_text("OFF\n3 1 0\n0 0 0\n")
    with pytest.raises(DataError, match=r"tall\.off") as caught:
        rendered(folder)
    assert "\n" not in str(caught.value)
    left = [path for path in (tmp_path / "cache" / "images").iterdir() if path.is_dir()]
    assert left == []


def test_coloured_clouds_give_coloured_images(tmp_path):
    blue = np.repeat([[0, 0, 1]], len(POINTS), axis=0).astype(np.float32)
    images = rendered(packed(tmp_path, [None], colours=blue))
    assert images[..., 2].max() > 100
    assert images[..., :2].max() == 0
