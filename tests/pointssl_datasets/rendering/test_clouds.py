"""The cloud renderer against slow, obvious ray casting, and against images of real shapes."""

import numpy as np
import pytest
from casting import (
    BOXES,
    SIZE,
    box_mesh,
    cast_boxes,
    cast_sphere,
    joined,
    mesh_points,
    sphere_points,
)
from scipy import ndimage
from shared import SHARED, needs_shared

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.readers import read_cloud
from pointssl_datasets.rendering.cameras import cameras
from pointssl_datasets.rendering.clouds import render_views, splat
from pointssl_datasets.rendering.surfels import flattest, surfels


@pytest.mark.parametrize("count", [1024, 2048])
def test_cloud_of_a_sphere_has_the_depth_of_ray_casting(count):
    camera = cameras(1, 1)[0]
    rgba, depth = splat(surfels(sphere_points(count, 0.8), frame=False), camera, SIZE)
    expected = cast_sphere(camera, SIZE, 0.8)
    inside = ndimage.binary_erosion(np.isfinite(expected), iterations=3)
    close = np.isclose(depth, expected, rtol=0, atol=0.05)
    assert close[inside].mean() > 0.98
    assert (rgba[..., 3] > 0)[inside].all()  # closed: no hole
    outside = ~ndimage.binary_dilation(np.isfinite(expected), iterations=3)
    assert (rgba[outside] == 0).all()  # transparent, and black beneath


def test_cloud_of_boxes_has_the_depth_of_ray_casting():
    points = mesh_points(*joined(*(box_mesh(*b) for b in BOXES)), 4096)
    camera = cameras(1, 2)[0]
    rgba, depth = splat(surfels(points, frame=False), camera, SIZE)
    expected, _ = cast_boxes(camera, SIZE, *BOXES)
    inside = ndimage.binary_erosion(np.isfinite(expected), iterations=2)
    flat = (
        ndimage.generic_gradient_magnitude(np.nan_to_num(expected, posinf=9), ndimage.sobel) < 0.3
    )
    inside &= ndimage.binary_erosion(flat, iterations=2)  # away from the edges between faces
    assert inside.sum() > 1000
    assert np.isclose(depth, expected, rtol=0, atol=0.05)[inside].mean() > 0.98
    assert (rgba[inside, 3] == 255).mean() > 0.99


def test_the_nearer_surface_hides_the_farther():
    camera = cameras(1, 3)[0]
    towards_viewer = -camera[2, :3]
    near = sphere_points(2000, 0.35, 0.5 * towards_viewer, seed=1)
    far = sphere_points(2000, 0.35, -0.5 * towards_viewer, seed=2)
    colours = np.repeat([[1, 0, 0], [0, 0, 1]], 2000, axis=0)
    for order in (slice(None), slice(None, None, -1)):  # whichever is listed last
        points, paint = np.concatenate([near, far])[order], colours[order]
        rgba, _ = splat(surfels(points, colours=paint, frame=False), camera, SIZE)
        front = cast_sphere(camera, SIZE, 0.3, 0.5 * towards_viewer)
        seen = rgba[np.isfinite(front)]
        assert (seen[:, 0] > 60).all()
        assert (seen[:, 2] == 0).all()  # nothing of the far one shines through


def test_turning_the_shape_is_turning_the_camera():
    points = mesh_points(*box_mesh([-0.5, -0.3, -0.2], [0.4, 0.3, 0.6]), 2000)
    angle = 0.7
    turn = np.array(
        [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    )
    camera = cameras(1, 0)[0]
    moved = camera.copy()
    moved[:, :3] = camera[:, :3] @ turn
    one, _ = splat(surfels(points @ turn.T), camera, SIZE)
    other, _ = splat(surfels(points), moved, SIZE)
    different = np.abs(one.astype(int) - other.astype(int)).max(axis=-1) > 2
    assert different.mean() < 0.002  # rounding decides a few pixels


def test_up_in_the_cloud_is_up_in_the_image():
    tall = np.random.default_rng(0).normal(size=(500, 3)) * [0.02, 0.4, 0.02]
    for image in render_views(tall, views=3, size=48, seed=0):
        rows, columns = np.nonzero(image[..., 3])
        assert np.ptp(rows) > 3 * np.ptp(columns)


def test_same_seed_same_bytes_and_no_global_randomness():
    points = sphere_points(300)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = render_views(points, views=2, size=40, seed=3)
    assert first.shape == (2, 40, 40, 4)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, render_views(points, views=2, size=40, seed=3))
    off_centre = points * [1, 0.3, 0.6]
    one, two = (render_views(off_centre, views=2, size=40, seed=s) for s in (3, 4))
    assert (one != two).any()
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_estimated_normals_shade_like_true_ones():
    points = sphere_points(2048)
    estimated = render_views(points, views=2, size=SIZE, seed=0).astype(int)
    true = render_views(points, points, views=2, size=SIZE, seed=0).astype(int)
    inward = render_views(points, -7 * points, views=2, size=SIZE, seed=0)
    np.testing.assert_array_equal(true, inward)  # neither sign nor length matters
    solid = estimated[..., 3] == 255
    assert np.median(np.abs(estimated - true)[solid, 0]) <= 4
    assert estimated[solid, 0].std() > 10  # shaded, not a silhouette


def test_colours_tint_and_grey_is_grey():
    points = sphere_points(500)
    grey = render_views(points, views=1, size=32, seed=0)[0]
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 0] == grey[..., 2]).all()
    green = render_views(points, views=1, size=32, seed=0, colours=[[0, 1, 0]] * 500)[0]
    assert green[16, 16, 1] > 100
    assert green[..., [0, 2]].max() == 0
    np.testing.assert_array_equal(green[..., 3], grey[..., 3])


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_very_few_points_still_give_an_image(count):
    image = render_views(sphere_points(count), views=1, size=32, seed=0)
    assert 0 < (image[..., 3] > 0).sum() < 32 * 32


def test_padding_with_copies_changes_nothing_visible():
    points = sphere_points(256)
    padded = np.concatenate([points, np.repeat(points[:1], 64, axis=0)])
    shape, other = surfels(points, frame=False), surfels(padded, frame=False)
    np.testing.assert_allclose(other.covariance[:256], shape.covariance, atol=1e-12)


def rotations(count, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(count, 3, 3)))[0]


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_flattest_is_the_eigenvector_of_lapack(scale):
    random = np.random.default_rng(0)
    root = random.normal(size=(500, 3, 3)) * random.uniform(0, 1, size=(500, 1, 3))
    covariance = scale * root @ root.transpose(0, 2, 1)
    values, vectors = np.linalg.eigh(covariance)
    cosine = np.abs((flattest(covariance) * vectors[:, :, 0]).sum(axis=1))
    apart = (values[:, 1] - values[:, 0]) / values[:, 2]
    assert (apart > 1e-3).sum() > 400
    assert cosine[apart > 1e-3].min() > 1 - 1e-9


@pytest.mark.parametrize(
    "values", [(0, 1, 1), (0, 0, 1), (1, 1, 1), (0, 0, 0), (1, 1, 2), (0, 1, 2)]
)
def test_flattest_of_disks_rods_and_balls(values):
    turn = rotations(50)
    covariance = np.einsum("nij,j,nkj->nik", turn, np.array(values, dtype=float), turn)
    found = flattest(covariance)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    along = np.einsum("ni,nij,nj->n", found, covariance, found)
    np.testing.assert_allclose(along, min(values), atol=1e-7)


@pytest.mark.parametrize(("scale", "move"), [(1e-200, 0), (1e300, 0), (1e-3, 50.0)])
def test_any_scale_gives_the_same_image(scale, move):
    points = mesh_points(*joined(*(box_mesh(*b) for b in BOXES)), 1000)
    how = {"views": 2, "size": 48, "seed": 0}
    one, other = render_views(points, **how), render_views(scale * points + move, **how)
    assert (np.abs(one.astype(int) - other).max(axis=-1) > 2).mean() < 0.005


GOOD = sphere_points(20)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"xyz": np.empty((0, 3))}, "N > 0"),
        ({"xyz": np.ones((4, 2))}, "(4, 2)"),
        ({"xyz": [["a"] * 3]}, "numbers"),
        ({"xyz": np.where(GOOD > 0.9, np.nan, GOOD)}, "NaN"),
        ({"normals": GOOD[:7]}, "20"),
        ({"normals": GOOD * np.inf}, "infinite"),
        ({"colours": np.abs(GOOD[:3])}, "colours"),
        ({"colours": 255 * np.abs(GOOD)}, "from 0 to 1"),
    ],
)
def test_bad_input_is_one_clear_line(given, words):
    with pytest.raises(DataError) as caught:
        render_views(**{"xyz": GOOD, **given}, views=1, size=8, seed=0)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_shared
def test_real_clouds_are_closed_and_shaded():
    folder = SHARED / "data" / "shapenet_render_cameras" / "ShapeNet" / "02942699"
    for path in sorted(folder.glob("*.ply"))[:4]:
        images = render_views(read_cloud(path)["xyz"], views=2, size=137, seed=0)
        for image in images:
            shape = image[..., 3] > 127
            assert 0.03 < shape.mean() < 0.7
            assert image[shape][:, 0].std() > 8
            # Points would leave gaps everywhere; a surface keeps its area when gaps are closed.
            closed = ndimage.binary_closing(np.pad(shape, 4), iterations=2)
            assert shape.sum() / closed.sum() > 0.95
