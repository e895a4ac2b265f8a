"""The mesh renderer against slow, obvious ray casting."""

import numpy as np
import pytest
from casting import (
    BOXES,
    SIZE,
    box_mesh,
    cast_boxes,
    cast_triangles,
    joined,
    mesh_points,
    sphere_points,
    write_off,
)
from shared import SHARED, needs_shared

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.off import read_off
from pointssl_datasets.rendering.cameras import cameras
from pointssl_datasets.rendering.clouds import render_mesh, render_mesh_file, render_views
from pointssl_datasets.rendering.meshes import rasterise, triangles

REAL = SHARED / "data" / "psb_meshes"


@pytest.mark.parametrize("seed", range(3))
def test_depth_is_that_of_ray_casting(seed):
    mesh = triangles(*joined(*(box_mesh(*b) for b in BOXES)), frame=False)
    for camera in cameras(2, seed, "sphere"):
        face, depth = rasterise(*mesh, camera, SIZE)
        expected, number = cast_boxes(camera, SIZE, *BOXES)
        hit, truth = np.isfinite(depth), np.isfinite(expected)
        assert (hit == truth).mean() > 0.999
        both = hit & truth
        np.testing.assert_allclose(depth[both], expected[both], rtol=1e-9)
        assert (face[both] // 12 == number[both]).mean() > 0.999  # the nearer box is the one seen


def soup(count, seed):
    """Loose triangles, of which some are degenerate."""
    random = np.random.default_rng(seed)
    vertices = random.uniform(-0.6, 0.6, size=(3 * count, 3))
    vertices[3] = vertices[4]  # no area
    vertices[8] = 0.5 * (vertices[6] + vertices[7])  # a line
    vertices[11] = vertices[9] + 1e-7 * (vertices[10] - vertices[9])[[1, 2, 0]]  # a needle
    return vertices, np.arange(3 * count).reshape(-1, 3)


@pytest.mark.parametrize("seed", range(4))
def test_loose_triangles_are_those_that_rays_meet(seed):
    vertices, faces = soup(40, seed)
    camera, size = cameras(1, seed)[0], SIZE
    face, depth = rasterise(vertices, faces, camera, size)
    expected, number = cast_triangles(camera, size, vertices[faces])
    assert (face == number).mean() >= 0.999
    same = (face == number) & (face >= 0)
    assert same.sum() > 1000
    np.testing.assert_allclose(depth[same], expected[same], rtol=1e-9)


@needs_shared
@pytest.mark.parametrize("name", ["human", "rectangular", "sports_car", "helicopter"])
def test_real_meshes_show_the_faces_that_rays_meet(name):
    path = min((REAL / name).glob("*.off"), key=lambda p: p.stat().st_size)
    vertices, faces = triangles(*read_off(path))
    camera, size = cameras(1, 3)[0], 40
    face, depth = rasterise(vertices, faces, camera, size)
    expected, number = cast_triangles(camera, size, vertices[faces])
    hit, truth = face >= 0, number >= 0
    assert truth.mean() > 0.02
    assert (hit == truth).mean() >= 0.99
    both = hit & truth
    assert np.isclose(depth[both], expected[both], rtol=1e-6).mean() >= 0.99
    # Real meshes hold faces twice, at exactly the same place: there either may be seen.
    assert ((face == number) | np.isclose(depth, expected, rtol=1e-9))[both].mean() >= 0.99


def test_a_wall_inside_does_not_shine_through():
    shell = box_mesh([-0.5] * 3, [0.5] * 3)
    inner = box_mesh([-0.49] * 3, [0.49] * 3)  # one wall closely behind the other
    for mesh in (joined(shell, inner), joined(inner, shell)):
        vertices, faces = triangles(*mesh, frame=False)
        outer = (np.abs(vertices[faces]) == 0.5).any(axis=(1, 2))
        for camera in cameras(3, 0):
            face, _ = rasterise(vertices, faces, camera, SIZE)
            assert outer[face[face >= 0]].all()


def test_winding_and_stray_vertices_change_nothing_and_scale_next_to_nothing():
    vertices, faces = box_mesh([-0.5, -0.2, -0.3], [0.5, 0.2, 0.3])
    how = {"views": 3, "size": 64, "seed": 1}
    image = render_mesh(vertices, faces, **how)
    assert image.shape == (3, 64, 64, 4)
    flipped = np.where(np.arange(len(faces))[:, None] % 2, faces, faces[:, ::-1])
    np.testing.assert_array_equal(image, render_mesh(vertices, flipped, **how))
    stray = np.concatenate([[[1e6, 0, 0]], vertices])
    np.testing.assert_array_equal(image, render_mesh(stray, faces + 1, **how))
    for scale, move in (
        (8, [16, -32, 4]),
        (1e-200, 0),
        (1e300, 0),
        (1e-6, [1, 2, 3]),
        (1.7e308, 0),
    ):
        moved = render_mesh(scale * vertices + move, faces, **how)
        assert (np.abs(moved.astype(int) - image).max(axis=-1) > 2).mean() < 0.002
    assert (image[0, 0, 0] == 0).all()
    flat = image[0][image[0, ..., 3] == 255][:, 0]
    counts = np.unique(flat, return_counts=True)[1]
    assert 2 <= (counts > 20).sum() <= 6  # one shade for each visible face (of two triangles each)


def test_one_triangle_is_lit_on_both_sides():
    images = render_mesh(np.eye(3), [[0, 1, 2]], views=8, size=64, seed=0, cameras="sphere")
    seen = images[..., 3] > 0
    assert (seen.sum(axis=(1, 2)) > 0).all()
    for image, mask in zip(images, seen, strict=True):
        assert image[mask][:, 0].min() > 40
        assert np.ptp(image[mask][:, 0].astype(int)) <= 1  # flat


def test_degenerate_triangles_are_left_out():
    vertices, faces = box_mesh([-0.5, -0.2, -0.3], [0.5, 0.2, 0.3])
    bad = np.array([[0, 0, 1], [2, 2, 2], [5, 4, 5]])
    how = {"views": 2, "size": 48, "seed": 1}
    more = render_mesh(vertices, np.concatenate([bad, faces, bad]), **how)
    np.testing.assert_array_equal(more, render_mesh(vertices, faces, **how))


def test_mesh_and_cloud_of_one_shape_have_the_same_outline():
    mesh = joined(*(box_mesh(*b) for b in BOXES))
    points = mesh_points(*mesh, 4096)
    solid = render_mesh(*mesh, views=2, size=SIZE, seed=0)[..., 3] > 127
    cloud = render_views(points, views=2, size=SIZE, seed=0)[..., 3] > 127
    assert (solid & cloud).sum() / (solid | cloud).sum() > 0.88


@needs_shared
def test_real_meshes_and_their_clouds_look_alike():
    for name in ("human", "rectangular", "sports_car"):
        vertices, faces = read_off(sorted((REAL / name).glob("*.off"))[0])
        cloud = render_views(mesh_points(vertices, faces, 2048), views=3, size=137, seed=0)
        solid = render_mesh(vertices, faces, views=3, size=137, seed=0)
        both = ((cloud[..., 3] > 127) & (solid[..., 3] > 127)).sum()
        assert both / ((cloud[..., 3] > 127) | (solid[..., 3] > 127)).sum() > 0.7


def test_a_file_is_turned_upright(tmp_path):
    vertices, faces = box_mesh([-0.1, -0.2, -0.5], [0.1, 0.2, 0.5])  # tall along z
    path = write_off(tmp_path / "tall.off", vertices, faces)
    how = {"views": 2, "size": 48, "seed": 0}
    upright = vertices[:, [0, 2, 1]] * [1, 1, -1]
    np.testing.assert_array_equal(
        render_mesh_file(path, "z", **how), render_mesh(upright, faces, **how)
    )
    rows, columns = np.nonzero(render_mesh_file(path, "z", **how)[0, ..., 3])
    assert np.ptp(rows) > 1.5 * np.ptp(columns)


def test_a_file_without_a_surface_is_named(tmp_path):
    path = write_off(tmp_path / "line.off", np.zeros((3, 3)), [[0, 1, 2]])
    with pytest.raises(DataError, match=r"line\.off: .*none of the 1 has an area"):
        render_mesh_file(path, "y", views=1, size=8, seed=0)


GOOD = sphere_points(20)


@pytest.mark.parametrize(
    ("vertices", "faces", "words"),
    [
        (GOOD, [[0, 1, 20]], "vertex 20"),
        (GOOD, [[0, 1, -1]], "vertex -1"),
        (GOOD, [[0, 1, 1]], "area"),
        (GOOD, [[0, 1, 2, 3]], "(1, 4)"),
        (GOOD, [[0, 1, 1.5]], "whole numbers"),
        (GOOD, [], "faces"),
        (np.empty((0, 3)), [[0, 1, 2]], "vertices"),
        (np.where(GOOD > 0.9, np.inf, GOOD), [[0, 1, 2]], "infinite"),
    ],
)
def test_bad_input_is_one_clear_line(vertices, faces, words):
    with pytest.raises(DataError) as caught:
        render_mesh(vertices, faces, views=1, size=8, seed=0)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
