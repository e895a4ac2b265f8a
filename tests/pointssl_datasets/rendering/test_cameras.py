"""Where the cameras stand, and what the styles show."""

import numpy as np
import pytest
from casting import SIZE, box_mesh, cast_sphere, pixel_rays, sphere_points
from scipy import ndimage

from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.rendering.cameras import (
    DISTANCE,
    FOCAL,
    cameras,
    framed_cloud,
    placement,
    projections,
)
from pointssl_datasets.rendering.clouds import render_mesh, render_views, splat
from pointssl_datasets.rendering.meshes import mesh_placement, triangles
from pointssl_datasets.rendering.surfels import surfels

BALL = sphere_points(1500)
BALL = np.concatenate([BALL, -BALL])  # its middle is exactly the origin
BOX = box_mesh([-0.5, -0.2, -0.3], [0.5, 0.2, 0.3])


def test_cameras_stand_evenly_and_look_at_the_origin():
    poses = cameras(6, 9)
    assert poses.shape == (6, 3, 4)
    for pose in poses:
        np.testing.assert_allclose(pose[:, :3] @ pose[:, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(pose[:, :3]) == pytest.approx(1)
        assert pose[1, :3] @ [0, 1, 0] < 0  # up in the world is up in the image
        np.testing.assert_allclose(pose[:, 3], [0, 0, DISTANCE])
    eyes = -np.einsum("vij,vi->vj", poses[:, :, :3], poses[:, :, 3])
    elevation = np.degrees(np.arcsin(eyes[:, 1] / DISTANCE))
    assert elevation.min() > 10
    assert elevation.max() < 45
    azimuth = np.degrees(np.arctan2(eyes[:, 0], eyes[:, 2]))
    np.testing.assert_allclose(np.diff(azimuth) % 360, 60)
    assert not np.allclose(poses, cameras(6, 10))


def directions(poses):
    """From the origin to the cameras, unit length ``(V, 3)``."""
    return -poses[:, 2, :3]


@pytest.mark.parametrize("views", [1, 2, 6, 40])
def test_cameras_on_a_sphere_are_spread_and_upright(views):
    poses = cameras(views, 5, "sphere")
    for pose in poses:
        np.testing.assert_allclose(pose[:, :3] @ pose[:, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(pose[:, :3]) == pytest.approx(1)
        assert pose[1, :3] @ [0, 1, 0] <= 1e-12
    seen = directions(poses)
    if views > 1:
        cosine = seen @ seen.T - 2 * np.eye(views)
        nearest = np.degrees(np.arccos(cosine.max(axis=1))).min()
        # Caps of that radius on the sphere: a perfect packing of many covers about 90% of it.
        assert nearest > 0.6 * np.degrees(np.sqrt(4 * np.pi / views))
        assert np.linalg.norm(seen.mean(axis=0)) < 0.6 / views + 0.1
    assert not np.allclose(poses, cameras(views, 6, "sphere"))
    np.testing.assert_array_equal(poses, cameras(views, 5, "sphere"))


def test_cameras_on_a_sphere_have_no_favourite_side():
    seen = np.concatenate([directions(cameras(3, seed, "sphere")) for seed in range(400)])
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(seen.T @ seen / len(seen), np.eye(3) / 3, atol=0.04)


@pytest.mark.parametrize("pole", [1.0, -1.0])
def test_a_camera_right_above_or_below(monkeypatch, pole):
    monkeypatch.setattr(
        "pointssl_datasets.rendering.cameras._sphere",
        lambda views, random: np.array([[0, pole, 0]]),
    )
    pose = cameras(1, 0, "sphere")[0]
    np.testing.assert_allclose(pose[:, :3] @ pose[:, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pose[:, :3]) == pytest.approx(1)
    np.testing.assert_allclose(pose[2, :3], [0, -pole, 0])
    # The limit of a camera that climbs there on the side of +z.
    np.testing.assert_allclose(pose[0, :3], [1, 0, 0], atol=1e-12)


def test_projections_are_what_the_renderer_does_with_a_point():
    poses = cameras(3, 4, "sphere")
    points = np.random.default_rng(0).normal(size=(20, 3))
    scale, shift = 0.3, np.array([0.1, -0.2, 0.05])
    for pose, matrix in zip(poses, projections(poses, scale, shift), strict=True):
        for point in points:
            x, y, z = pose[:, :3] @ (scale * point + shift) + pose[:, 3]
            column, row = (FOCAL * SIZE * value / z + SIZE / 2 for value in (x, y))
            across, down, depth = matrix @ [*point, 1]
            np.testing.assert_allclose([SIZE * across / depth, SIZE * down / depth], [column, row])
            assert depth == pytest.approx(z / scale)
        assert np.linalg.norm(matrix[2, :3]) == pytest.approx(1)


def test_placement_finds_scale_and_shift():
    points = np.random.default_rng(0).normal(size=(20, 3)) + 7
    scale, shift, error = placement(points, 0.25 * points - [1, 2, 3])
    assert scale == pytest.approx(0.25)
    np.testing.assert_allclose(shift, [-1, -2, -3])
    assert error < 1e-12
    assert placement(points, points[::-1])[2] > 0.5
    scale, shift, error = placement(points, framed_cloud(points))
    assert error < 1e-12
    assert np.linalg.norm(scale * points + shift, axis=1).max() == pytest.approx(1)
    scale, shift = mesh_placement(BOX[0] * 3 + 1, BOX[1])
    np.testing.assert_allclose(scale * (BOX[0] * 3 + 1) + shift, triangles(*BOX)[0], atol=1e-12)


def draw(kind, style):
    """Two images of a shape, and their cameras."""
    how = {"views": 2, "size": SIZE, "seed": 0, "style": style, "cameras": "sphere"}
    return render_views(BALL, **how) if kind == "cloud" else render_mesh(*BOX, **how)


every_kind = pytest.mark.parametrize("kind", ["cloud", "mesh"])


@every_kind
def test_silhouette_is_white_where_there_is_something(kind):
    shaded, silhouette = draw(kind, "shaded"), draw(kind, "silhouette")
    np.testing.assert_array_equal(silhouette[..., 3], shaded[..., 3])
    assert (silhouette[..., :3] == 255 * (silhouette[..., 3:] > 0)).all()


@every_kind
def test_every_style_has_the_same_outline(kind):
    alphas = [draw(kind, style)[..., 3] for style in ("shaded", "depth", "normals", "silhouette")]
    for alpha in alphas[1:]:
        np.testing.assert_array_equal(alpha, alphas[0])


def test_depth_of_a_ball_is_that_of_ray_casting():
    for image, camera in zip(draw("cloud", "depth"), cameras(2, 0, "sphere"), strict=True):
        truth = cast_sphere(camera, SIZE, 1.0)
        inside = ndimage.binary_erosion(np.isfinite(truth), iterations=3)
        levels = 255 - (255 - 40) * (truth - (DISTANCE - 1)) / 2
        assert np.abs(image[..., 0] - levels)[inside].mean() < 5  # ellipses cut a corner
        assert image[SIZE // 2, SIZE // 2, 0] > 250  # the front of the sphere around the shape
        assert (image[..., 0] == image[..., 1]).all()
        assert (image[..., 0] == image[..., 2]).all()
        assert (image[image[..., 3] == 0] == 0).all()


def test_normals_of_a_ball_point_away_from_its_middle():
    for image, camera in zip(draw("cloud", "normals"), cameras(2, 0, "sphere"), strict=True):
        origin, rays = pixel_rays(camera, SIZE)
        truth = cast_sphere(camera, SIZE, 1.0)
        inside = ndimage.binary_erosion(np.isfinite(truth), iterations=4)
        normal = (origin + truth[inside][:, None] * rays[inside]) @ camera[:, :3].T
        found = image[inside][:, :3] / 127.5 - 1
        cosine = (found * normal * [1, -1, -1]).sum(axis=1)
        assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 6
        assert (found[:, 2] > 0.1).mean() > 0.99  # towards the viewer


def test_normals_of_a_box_are_its_six_directions():
    for image, camera in zip(draw("mesh", "normals"), cameras(2, 0, "sphere"), strict=True):
        found = image[image[..., 3] == 255][:, :3] / 127.5 - 1
        world = found * [1, -1, -1] @ camera[:, :3]
        on_axis = np.abs(world).max(axis=1) > 0.98
        assert on_axis.mean() > 0.85  # the rest straddles an edge
        assert (np.abs(world[on_axis]).argmax(axis=1) == 1).any()


def test_depth_of_a_nearer_shape_is_brighter():
    camera = cameras(1, 0)[0]
    towards = -camera[2, :3]
    levels = [
        splat(surfels(0.2 * BALL + away * towards, frame=False), camera, 32, "depth")[0][16, 16, 0]
        for away in (0.7, 0.0, -0.7)
    ]
    assert levels[0] > levels[1] + 40 > levels[2] + 80


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"size": 0}, "size=0"),
        ({"views": 0}, "views=0"),
        ({"style": "sepia"}, "style='sepia': choose shaded, depth, normals, silhouette"),
        ({"cameras": "line"}, "cameras='line': choose ring or sphere"),
    ],
)
def test_wrong_options(option, words):
    given = {"views": 1, "size": 8, "seed": 0, **option}
    for call in (lambda: render_views(BALL, **given), lambda: render_mesh(*BOX, **given)):
        with pytest.raises(UsageError) as caught:
            call()
        assert words in str(caught.value)
