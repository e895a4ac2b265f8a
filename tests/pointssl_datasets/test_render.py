"""The renderer against slow, obvious ray casting, and against pictures of real shapes."""

import numpy as np
import pytest
from scipy import ndimage
from shared import SHARED, needs_shared

from pointssl_datasets.errors import DataError, UsageError
from pointssl_datasets.render import render_mesh, render_views, splat, surfels
from pointssl_datasets.render_cameras import DISTANCE, FOCAL, boxes, cameras
from pointssl_datasets.render_mesh import rasterise, triangles

SIZE = 96


def sphere_points(count, radius=1.0, centre=(0.0, 0.0, 0.0), seed=0):
    direction = np.random.default_rng(seed).normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return radius * direction + centre


def box_mesh(low, high):
    """The twelve triangles of an axis-aligned box."""
    vertices = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    vertices = np.asarray(low) + vertices * (np.asarray(high) - low)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return vertices, np.array([f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))])


def joined(*meshes):
    vertices, faces, start = [], [], 0
    for points, index in meshes:
        vertices.append(points)
        faces.append(index + start)
        start += len(points)
    return np.concatenate(vertices), np.concatenate(faces)


def mesh_points(vertices, faces, count, seed=0):
    """Uniform samples of a mesh's surface."""
    random = np.random.default_rng(seed)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    face = random.choice(len(faces), count, p=area / area.sum())
    u, v = random.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return a[face] + u * (b - a)[face] + v * (c - a)[face]


def pixel_rays(camera, size):
    """Origin (3,) and directions (size, size, 3) whose parameter is the depth along the axis."""
    origin = -camera[:, :3].T @ camera[:, 3]
    rays = np.empty((size, size, 3))
    for row in range(size):
        for column in range(size):
            across = (column + 0.5 - size / 2) / (FOCAL * size)
            down = (row + 0.5 - size / 2) / (FOCAL * size)
            rays[row, column] = camera[:, :3].T @ [across, down, 1.0]
    return origin, rays


def cast_sphere(camera, size, radius, centre=(0.0, 0.0, 0.0)):
    origin, rays = pixel_rays(camera, size)
    a = (rays**2).sum(-1)
    b = rays @ (origin - centre)
    c = ((origin - centre) ** 2).sum() - radius**2
    root = b * b - a * c
    depth = (-b - np.sqrt(np.maximum(root, 0))) / a
    return np.where(root > 0, depth, np.inf)


def cast_boxes(camera, size, *bounds):
    """Nearest hit with axis-aligned boxes by the slab method: depth and index of the box."""
    origin, rays = pixel_rays(camera, size)
    depth, number = np.full((size, size), np.inf), np.full((size, size), -1)
    for index, (low, high) in enumerate(bounds):
        first, second = (low - origin) / rays, (high - origin) / rays
        enter = np.minimum(first, second).max(-1)
        leave = np.maximum(first, second).min(-1)
        hit = (enter <= leave) & (enter < depth)
        depth[hit], number[hit] = enter[hit], index
    return depth, number


BOXES = (
    (np.array([-0.6, -0.5, -0.1]), np.array([0.1, 0.3, 0.5])),
    (np.array([-0.2, -0.2, -0.6]), np.array([0.7, 0.6, 0.0])),
)


@pytest.mark.parametrize("seed", range(3))
def test_mesh_depth_is_that_of_ray_casting(seed):
    corners = triangles(*joined(*(box_mesh(*b) for b in BOXES)), frame=False)
    for camera in cameras(2, seed):
        face, depth = rasterise(corners, camera, SIZE)
        expected, number = cast_boxes(camera, SIZE, *BOXES)
        hit, truth = np.isfinite(depth), np.isfinite(expected)
        assert (hit == truth).mean() > 0.999
        both = hit & truth
        np.testing.assert_allclose(depth[both], expected[both], rtol=1e-9)
        assert (face[both] // 12 == number[both]).mean() > 0.999  # the nearer box is the one seen


def test_mesh_equals_a_loop_over_pixels_and_triangles():
    random = np.random.default_rng(4)
    corners = random.uniform(-0.6, 0.6, size=(25, 3, 3))
    camera, size = cameras(1, 5)[0], 24
    face, depth = rasterise(corners, camera, size)
    origin, rays = pixel_rays(camera, size)
    for row in range(size):
        for column in range(size):
            best, owner = np.inf, -1
            for index, (a, b, c) in enumerate(corners):
                system = np.stack([rays[row, column], a - b, a - c], axis=1)
                t, u, v = np.linalg.solve(system, a - origin)
                if u >= 0 and v >= 0 and u + v <= 1 and t < best:
                    best, owner = t, index
            assert face[row, column] == owner
            if owner >= 0:
                assert depth[row, column] == pytest.approx(best, rel=1e-9)


def test_mesh_in_chunks_equals_mesh_at_once(monkeypatch):
    corners = triangles(*joined(*(box_mesh(*b) for b in BOXES)))
    camera = cameras(1, 0)[0]
    whole = rasterise(corners, camera, SIZE)
    monkeypatch.setattr("pointssl_datasets.render_mesh.CHUNK", 500)
    for part, expected in zip(rasterise(corners, camera, SIZE), whole, strict=True):
        np.testing.assert_array_equal(part, expected)


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
    colours = np.repeat([[255, 0, 0], [0, 0, 255]], 2000, axis=0)
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


def test_cameras_stand_evenly_and_look_at_the_origin():
    poses = cameras(6, 9)
    assert poses.shape == (6, 3, 4)
    for pose in poses:
        np.testing.assert_allclose(pose[:, :3] @ pose[:, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(pose[:, :3]) == pytest.approx(1)
        assert pose[1, :3] @ [0, 1, 0] < 0  # up in the world is up in the picture
        np.testing.assert_allclose(pose[:, 3], [0, 0, DISTANCE])
    eyes = -np.einsum("vij,vi->vj", poses[:, :, :3], poses[:, :, 3])
    elevation = np.degrees(np.arcsin(eyes[:, 1] / DISTANCE))
    assert elevation.min() > 10
    assert elevation.max() < 45
    azimuth = np.degrees(np.arctan2(eyes[:, 0], eyes[:, 2]))
    np.testing.assert_allclose(np.diff(azimuth) % 360, 60)
    assert not np.allclose(poses, cameras(6, 10))


def test_up_in_the_cloud_is_up_in_the_picture():
    tall = np.random.default_rng(0).normal(size=(500, 3)) * [0.02, 0.4, 0.02]
    for picture in render_views(tall, views=3, size=48, seed=0):
        rows, columns = np.nonzero(picture[..., 3])
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


def test_bands_join_without_a_seam(monkeypatch):
    shape, camera = surfels(sphere_points(800)), cameras(1, 0)[0]
    whole, _ = splat(shape, camera, SIZE)
    monkeypatch.setattr("pointssl_datasets.render.BAND", 17)
    np.testing.assert_array_equal(splat(shape, camera, SIZE)[0], whole)


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
    green = render_views(points, views=1, size=32, seed=0, colours=[[0, 255, 0]] * 500)[0]
    assert green[16, 16, 1] > 100
    assert green[..., [0, 2]].max() == 0
    np.testing.assert_array_equal(green[..., 3], grey[..., 3])


def test_mesh_picture_is_two_sided_and_ignores_scale():
    vertices, faces = box_mesh([-0.5, -0.2, -0.3], [0.5, 0.2, 0.3])
    picture = render_mesh(vertices, faces, views=3, size=64, seed=1)
    assert picture.shape == (3, 64, 64, 4)
    np.testing.assert_array_equal(
        picture, render_mesh(vertices, faces[:, ::-1], views=3, size=64, seed=1)
    )
    moved = render_mesh(8 * vertices + [16, -32, 4], faces, views=3, size=64, seed=1)
    assert (np.abs(moved.astype(int) - picture).max(axis=-1) > 2).mean() < 0.002
    assert (picture[0, 0, 0] == 0).all()
    flat = picture[0][picture[0, ..., 3] == 255][:, 0]
    counts = np.unique(flat, return_counts=True)[1]
    assert 2 <= (counts > 20).sum() <= 6  # one shade for each visible face (of two triangles each)


def test_mesh_and_cloud_of_one_shape_have_the_same_outline():
    mesh = joined(*(box_mesh(*b) for b in BOXES))
    points = mesh_points(*mesh, 4096)
    solid = render_mesh(*mesh, views=2, size=SIZE, seed=0)[..., 3] > 127
    cloud = render_views(points, views=2, size=SIZE, seed=0)[..., 3] > 127
    assert (solid & cloud).sum() / (solid | cloud).sum() > 0.88


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_very_few_points_still_give_a_picture(count):
    picture = render_views(sphere_points(count), views=1, size=32, seed=0)
    assert 0 < (picture[..., 3] > 0).sum() < 32 * 32


def test_padding_with_copies_changes_nothing_visible():
    points = sphere_points(256)
    padded = np.concatenate([points, np.repeat(points[:1], 64, axis=0)])
    shape, other = surfels(points, frame=False), surfels(padded, frame=False)
    np.testing.assert_allclose(other.covariance[:256], shape.covariance, atol=1e-12)


def test_boxes_lists_every_pixel_once():
    random = np.random.default_rng(0)
    left, top = random.integers(0, 9, size=(2, 30))
    right, bottom = left + random.integers(-2, 4, 30), top + random.integers(-2, 4, 30)
    area, column, row = boxes(left, right, top, bottom)
    found = list(zip(np.repeat(np.arange(30), area), column, row, strict=True))
    expected = [
        (i, x, y)
        for i in range(30)
        for y in range(top[i], bottom[i] + 1)
        for x in range(left[i], right[i] + 1)
    ]
    assert found == expected


GOOD = sphere_points(20)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: render_views(np.empty((0, 3)), views=1, size=8, seed=0), DataError, "N > 0"),
        (lambda: render_views(np.ones((4, 2)), views=1, size=8, seed=0), DataError, "(4, 2)"),
        (lambda: render_views([["a"] * 3], views=1, size=8, seed=0), DataError, "numbers"),
        (
            lambda: render_views(np.where(GOOD > 0.9, np.nan, GOOD), views=1, size=8, seed=0),
            DataError,
            "NaN",
        ),
        (lambda: render_views(GOOD, GOOD[:7], views=1, size=8, seed=0), DataError, "20"),
        (lambda: render_views(GOOD, GOOD * np.inf, views=1, size=8, seed=0), DataError, "infinite"),
        (
            lambda: render_views(GOOD, views=1, size=8, seed=0, colours=GOOD[:3]),
            DataError,
            "colours",
        ),
        (lambda: render_views(GOOD, views=1, size=0, seed=0), UsageError, "size=0"),
        (lambda: render_views(GOOD, views=0, size=8, seed=0), UsageError, "views=0"),
        (lambda: render_mesh(GOOD, [[0, 1, 20]], views=1, size=8, seed=0), DataError, "vertex 20"),
        (lambda: render_mesh(GOOD, [[0, 1, -1]], views=1, size=8, seed=0), DataError, "vertex -1"),
        (lambda: render_mesh(GOOD, [[0, 1, 1]], views=1, size=8, seed=0), DataError, "area"),
        (lambda: render_mesh(GOOD, [], views=1, size=8, seed=0), DataError, "faces"),
        (lambda: render_mesh(GOOD, [[0, 1, 2]], views=1, size=-1, seed=0), UsageError, "size=-1"),
    ],
)
def test_bad_input_is_one_clear_line(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_shared
def test_real_meshes_and_their_clouds_look_alike():
    trimesh = pytest.importorskip("trimesh")
    for name in ("human", "rectangular", "sports_car"):
        path = sorted((SHARED / "data" / "psb_meshes" / name).glob("*.off"))[0]
        mesh = trimesh.load(path, process=False)
        vertices, faces = np.asarray(mesh.vertices)[:, [1, 2, 0]], np.asarray(mesh.faces)
        cloud = render_views(mesh_points(vertices, faces, 2048), views=3, size=137, seed=0)
        solid = render_mesh(vertices, faces, views=3, size=137, seed=0)
        both = ((cloud[..., 3] > 127) & (solid[..., 3] > 127)).sum()
        assert both / ((cloud[..., 3] > 127) | (solid[..., 3] > 127)).sum() > 0.7


@needs_shared
def test_real_clouds_are_closed_and_shaded():
    trimesh = pytest.importorskip("trimesh")
    folder = SHARED / "data" / "shapenet_render_cameras" / "ShapeNet" / "02942699"
    for path in sorted(folder.glob("*.ply"))[:4]:
        points = np.asarray(trimesh.load(path).vertices)
        pictures = render_views(points, views=2, size=137, seed=0)
        for picture in pictures:
            shape = picture[..., 3] > 127
            assert 0.03 < shape.mean() < 0.7
            assert picture[shape][:, 0].std() > 8
            # Points would leave gaps everywhere; a surface keeps its area when gaps are closed.
            closed = ndimage.binary_closing(np.pad(shape, 4), iterations=2)
            assert shape.sum() / closed.sum() > 0.95
