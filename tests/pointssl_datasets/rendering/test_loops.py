"""The compiled loops of the renderer against the same in NumPy."""

import os
import subprocess
import sys

import numpy as np
import numpy_render_loops as slow_loops
import pytest
from casting import BOXES, SIZE, box_mesh, joined, mesh_points, sphere_points
from processes import ENV

from pointssl_datasets.base.compiling import compiled
from pointssl_datasets.rendering import loops
from pointssl_datasets.rendering.cameras import cameras
from pointssl_datasets.rendering.clouds import _project, render_mesh, render_views, splat
from pointssl_datasets.rendering.meshes import triangles
from pointssl_datasets.rendering.surfels import surfels

STYLES = ("shaded", "depth", "normals", "silhouette")


def clouds():
    yield sphere_points(800), None
    yield mesh_points(*joined(*(box_mesh(*b) for b in BOXES)), 2048), None
    random = np.random.default_rng(0)
    scattered = random.normal(size=(300, 3)) * [1, 0.2, 0.02]
    yield scattered, random.random((300, 3))
    yield random.random((3, 3)), None


@pytest.mark.parametrize("size", [1, 7, 97])
def test_splat_is_its_twin(size):
    for points, colours in clouds():
        shape = surfels(points, colours=colours)
        for camera in cameras(2, 1, "sphere"):
            for style in ("shaded", "normals"):
                given = _project(shape, camera, size, style)
                fast, slow = loops.splat(*given, size), slow_loops.splat(*given, size)
                for one, other in zip(fast, slow, strict=True):
                    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_ellipses_beyond_the_border_are_cut_off():
    shape = surfels(sphere_points(400))
    camera = cameras(1, 0)[0].copy()
    for move in ([0.9, 0, -0.8], [-0.5, 0.7, -1.2], [9, 9, 0]):
        camera[:, 3] = [*move[:2], 2.45 + move[2]]
        given = _project(shape, camera, SIZE, "shaded")
        fast, slow = loops.splat(*given, SIZE), slow_loops.splat(*given, SIZE)
        for one, other in zip(fast, slow, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_nothing_to_draw():
    given = np.empty((0, 10)), np.empty((0, 3)), 0.1
    for one, other in zip(loops.splat(*given, 5), slow_loops.splat(*given, 5), strict=True):
        np.testing.assert_array_equal(one, other)
    none = np.empty(0), np.empty(0), np.empty(0), np.empty((0, 3), dtype=np.int64)
    fast, slow = loops.rasterise(*none, 5), slow_loops.rasterise(*none, 5)
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", range(3))
def test_rasterise_is_its_twin(seed):
    random = np.random.default_rng(seed)
    x, y = random.uniform(-30, SIZE + 30, size=(2, 200))
    inverse = random.uniform(0.3, 0.7, 200)
    faces = random.integers(0, 200, size=(300, 3))
    faces[100:150] = faces[:50, ::-1]  # the same places twice: the last one is seen
    fast = loops.rasterise(x, y, inverse, faces, SIZE)
    slow = slow_loops.rasterise(x, y, inverse, faces, SIZE)
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(one, other)


def test_moments_and_smoothed_are_their_twins():
    random = np.random.default_rng(0)
    points = random.normal(size=(300, 3))
    near = random.integers(0, 300, size=(300, 9))
    near[:, 0] = np.arange(300)
    fast, slow = loops.moments(points, near), slow_loops.moments(points, near)
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(slow[0][7], points[near[7]].mean(axis=0))
    np.testing.assert_allclose(slow[1][7], np.cov(points[near[7]].T, bias=True))
    normals = points / np.linalg.norm(points, axis=1, keepdims=True)
    found = loops.smoothed(normals, near)
    np.testing.assert_allclose(found, slow_loops.smoothed(normals, near), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    assert ((found * normals).sum(axis=1) > 0).all()


def test_in_bands_and_chunks_equals_at_once(monkeypatch):
    shape, camera = surfels(sphere_points(800)), cameras(1, 0)[0]
    given = _project(shape, camera, SIZE, "normals")
    mesh = triangles(*joined(*(box_mesh(*b) for b in BOXES)))
    x, y = (mesh[0][:, :2].T + 1) * SIZE / 2
    inverse = 1 / (2 + mesh[0][:, 2])
    whole = slow_loops.splat(*given, SIZE), slow_loops.rasterise(x, y, inverse, mesh[1], SIZE)
    monkeypatch.setattr(slow_loops, "BAND", 17)
    monkeypatch.setattr(slow_loops, "CHUNK", 500)
    parts = slow_loops.splat(*given, SIZE), slow_loops.rasterise(x, y, inverse, mesh[1], SIZE)
    for part, expected in zip(parts, whole, strict=True):
        for one, other in zip(part, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_images_agree_within_one_level(monkeypatch):
    how = {"views": 2, "size": 64, "seed": 0, "cameras": "sphere"}
    mesh = joined(*(box_mesh(*b) for b in BOXES))

    def images():
        drawn = [render_views(p, colours=c, style=s, **how) for p, c in clouds() for s in STYLES]
        return np.stack(drawn + [render_mesh(*mesh, style=style, **how) for style in STYLES])

    fast = images().astype(int)
    for name in ("moments", "rasterise", "smoothed", "splat"):
        monkeypatch.setattr(loops, name, getattr(slow_loops, name))
    assert np.abs(fast - images()).max() <= 1


def test_boxes_lists_every_pixel_once():
    random = np.random.default_rng(0)
    left, top = random.integers(0, 9, size=(2, 30))
    right, bottom = left + random.integers(-2, 4, 30), top + random.integers(-2, 4, 30)
    area, column, row = slow_loops.boxes(left, right, top, bottom)
    found = list(zip(np.repeat(np.arange(30), area), column, row, strict=True))
    expected = [
        (i, x, y)
        for i in range(30)
        for y in range(top[i], bottom[i] + 1)
        for x in range(left[i], right[i] + 1)
    ]
    assert found == expected


PROGRAM = """
import sys
import numpy as np
from pointssl_datasets.rendering.clouds import render_views
points = np.random.default_rng(0).normal(size=(200, 3))
np.save(sys.argv[1], render_views(points, views=1, size=32, seed=0))
"""


def test_without_a_folder_for_the_cache_of_machine_code(tmp_path):
    (tmp_path / "file").write_text("")
    env = {**ENV, "NUMBA_CACHE_DIR": os.fspath(tmp_path / "file" / "cache")}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "image.npy")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    points = np.random.default_rng(0).normal(size=(200, 3))
    expected = render_views(points, views=1, size=32, seed=0)
    np.testing.assert_array_equal(np.load(tmp_path / "image.npy"), expected)


def test_a_full_disk_does_not_stop_it(monkeypatch):
    from numba.core.caching import FunctionCache

    def full(*_):
        raise OSError(28, "No space left on device")

    def double(x):
        return 2 * x

    monkeypatch.setattr(FunctionCache, "save_overload", full)
    assert compiled(double)(21) == 42


def test_depth_of_splat_has_no_surface_where_alpha_is_0():
    rgba, depth = splat(surfels(sphere_points(500)), cameras(1, 0)[0], SIZE)
    np.testing.assert_array_equal(np.isfinite(depth), rgba[..., 3] > 0)
