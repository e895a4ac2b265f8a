"""Projected points against the renderer: what is projected lands where it was drawn."""

import numpy as np
import pytest
import torch
from casting import BOXES, box_mesh, joined, mesh_points, sphere_points
from shared import SHARED, needs_shared

from pointssl.images.projection import Pose, pose, project, spacing, token_of, visible
from pointssl_datasets.files.meshes import draw, read_mesh
from pointssl_datasets.rendering.cameras import (
    DISTANCE,
    FOCAL,
    cameras,
    framed_cloud,
    placement,
    projections,
)
from pointssl_datasets.rendering.clouds import render_views
from pointssl_datasets.rendering.meshes import mesh_placement, rasterise, render_mesh, triangles

SIZE, VIEWS = 96, 4
MESH = joined(*(box_mesh(*bounds) for bounds in BOXES))


def seen_by_hand(xyz, camera):
    """Pixels ``(B, N, 2)`` and depth ``(B, N)`` point by point, in float64."""
    pixels, depth = np.empty((*xyz.shape[:2], 2)), np.empty(xyz.shape[:2])
    for b in range(xyz.shape[0]):
        for n in range(xyz.shape[1]):
            across, down, depth[b, n] = camera[b] @ np.append(xyz[b, n], 1.0)
            pixels[b, n] = across / depth[b, n], down / depth[b, n]
    return pixels, depth


def cloud_scene(kind, scale=1.0, shift=(0.0, 0.0, 0.0)):
    """Points on a ball, in coordinates of their own, and the cameras of its images."""
    points = sphere_points(3000)
    points = np.concatenate([points, -points]) * scale + shift
    placed = placement(points, framed_cloud(points))[:2]
    return points, projections(cameras(VIEWS, 3, kind), *placed)


def mesh_scene(kind, count=4096):
    """Points on two boxes that reach into each other, and the cameras of their images."""
    matrices = projections(cameras(VIEWS, 3, kind), *mesh_placement(*MESH))
    return mesh_points(*MESH, count), matrices


def steepness(points, normals, camera):
    """How directly the camera looks at the surface at each point, ``(B, N)``: 1 head-on, 0 along
    it."""
    towards = torch.nn.functional.normalize(pose(camera).position[:, None] - points, dim=-1)
    return (towards * normals).sum(dim=-1).abs()


def batched(points, matrices):
    xyz = torch.from_numpy(points).float().expand(len(matrices), -1, -1)
    return xyz, torch.from_numpy(matrices).float()


def shown_at(images, pixels):
    """What the images ``(B, H, W, ...)`` show at each point ``(B, N, 2)``."""
    column, row = (SIZE * pixels).long().clamp(0, SIZE - 1).unbind(-1)
    images = torch.from_numpy(images)
    return images[torch.arange(len(images))[:, None], row, column]


def test_projection_by_hand():
    points, matrices = cloud_scene("sphere", 3.0, (5.0, -2.0, 1.0))
    points = points[:50]
    expected = seen_by_hand(np.broadcast_to(points, (VIEWS, 50, 3)), matrices)
    for found, truth in zip(project(*batched(points, matrices)), expected, strict=True):
        np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-4)
    exact = project(torch.from_numpy(points)[None], torch.from_numpy(matrices[:1]))
    for found, truth in zip(exact, expected, strict=True):
        np.testing.assert_allclose(found[0], truth[0], rtol=1e-10)


def test_reduced_precision_does_not_round_places():
    xyz, camera = batched(*cloud_scene("ring"))
    exact = project(xyz, camera)
    with torch.autocast("cpu", torch.bfloat16):
        rough = project(xyz, camera)
    for one, other in zip(rough, exact, strict=True):
        assert torch.equal(one, other)


def test_behind_the_camera_and_beside_the_image():
    camera = torch.from_numpy(projections(cameras(1, 0))).float()
    eye = pose(camera).position[0]
    away = pose(camera).rotation[0, 2]
    points = torch.stack([eye - away, eye + away, eye + away + 0.9 * pose(camera).rotation[0, 0]])
    pixels, depth = project(points[None], camera)
    torch.testing.assert_close(depth[0], torch.tensor([-1.0, 1.0, 1.0]))
    assert torch.isinf(pixels[0, 0]).all()
    torch.testing.assert_close(pixels[0, 1], torch.tensor([0.5, 0.5]))
    assert pixels[0, 2, 0] > 1
    assert token_of(pixels, (4, 4)).tolist() == [[-1, 10, -1]]
    assert visible(points[None], camera).tolist() == [[False, True, False]]


def test_gradients_flow_to_points_in_front():
    xyz, camera = batched(*cloud_scene("ring"))
    xyz = xyz[:, :9].clone().requires_grad_()
    torch.autograd.gradcheck(
        lambda points: project(points, camera.double()), xyz.detach().double().requires_grad_()
    )
    behind = torch.tensor([[[0.0, 0.0, 0.0], [50.0, 50.0, 50.0]]], requires_grad=True)
    pixels, _ = project(behind, camera[:1])
    pixels[torch.isfinite(pixels)].sum().backward()
    assert torch.isfinite(behind.grad).all()


@pytest.mark.parametrize("kind", ["ring", "sphere"])
def test_pose_takes_the_camera_apart(kind):
    poses = cameras(5, 2, kind)
    scale, shift = 0.4, np.array([1.0, 2.0, 3.0])
    found = pose(torch.from_numpy(projections(poses, scale, shift)))
    assert isinstance(found, Pose)
    np.testing.assert_allclose(found.rotation, poses[:, :, :3], atol=1e-12)
    np.testing.assert_allclose(found.focal, FOCAL)
    eyes = -np.einsum("vij,vi->vj", poses[:, :, :3], poses[:, :, 3])
    np.testing.assert_allclose(found.position, (eyes - shift) / scale, atol=1e-12)


@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (1, 1)])
def test_tokens_are_counted_row_by_row(grid):
    rows, columns = grid
    places = torch.rand(2, 300, 2, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    found = token_of(places, grid)
    for place, token in zip(places.flatten(0, 1).tolist(), found.flatten().tolist(), strict=True):
        x, y = place
        if not (0 <= x < 1 and 0 <= y < 1):
            assert token == -1
            continue
        assert token // columns / rows <= y < (token // columns + 1) / rows
        assert token % columns / columns <= x < (token % columns + 1) / columns
    edges = torch.tensor([[[0.0, 0.0], [0.99999994, 0.99999994], [1.0, 0.5], [-1e-9, 0.5]]])
    assert token_of(edges, grid).tolist() == [[0, rows * columns - 1, -1, -1]]


@pytest.mark.parametrize("kind", ["ring", "sphere"])
@pytest.mark.parametrize("shape", ["cloud", "mesh"])
def test_depth_that_was_drawn_is_the_depth_of_the_points_that_are_seen(kind, shape):
    how = {"views": VIEWS, "size": SIZE, "seed": 3, "style": "depth", "cameras": kind}
    if shape == "cloud":
        points, matrices = cloud_scene(kind)
        images, scale = render_views(points, **how), placement(points, framed_cloud(points))[0]
    else:
        points, matrices = mesh_scene(kind)
        images, scale = render_mesh(*MESH, **how), mesh_placement(*MESH)[0]
    xyz, camera = batched(points, matrices)
    pixels, depth = project(xyz, camera)
    shown = shown_at(images, pixels).float()
    drawn = DISTANCE - 1 + 2 * (255 - shown[..., 0]) / (255 - 40)  # of the framed shape
    error = drawn - scale * depth
    whole = shown[..., 3] == 255  # not the soft outline
    seen, hidden = visible(xyz, camera) & whole, ~visible(xyz, camera) & whole
    assert error[seen].abs().median() < 0.02
    assert (error[seen].abs() < 0.06).float().mean() > 0.93
    assert (error[hidden] < -0.06).float().mean() > 0.75  # something is drawn before them


@pytest.mark.parametrize("kind", ["ring", "sphere"])
def test_normals_and_silhouette_are_drawn_where_the_points_are(kind):
    how = {"views": VIEWS, "size": SIZE, "seed": 3, "cameras": kind}
    points, matrices = cloud_scene(kind, 0.5, (3.0, 4.0, 5.0))
    xyz, camera = batched(points, matrices)
    pixels, _ = project(xyz, camera)
    seen = visible(xyz, camera)
    outline = shown_at(render_views(points, style="silhouette", **how), pixels)
    assert (outline[..., 3] > 0).float().mean() > 0.99
    normals = shown_at(render_views(points, style="normals", **how), pixels)[..., :3] / 127.5 - 1
    direction = (xyz - torch.tensor([3.0, 4.0, 5.0])) / 0.5
    expected = direction @ pose(camera).rotation.mT * torch.tensor([1, -1, -1])
    cosine = (normals * expected).sum(-1)
    assert cosine[seen].median() > 0.98
    assert cosine[~seen].median() < 0.5


def test_coloured_patches_are_found_again():
    """Cells of a grid hold the colours of the points that token_of sends there."""
    points, matrices = cloud_scene("ring")
    octant = ((points > 0) * [1, 2, 4]).sum(axis=1)
    colours = np.stack([octant % 2, octant // 2 % 2, octant // 4], axis=1).astype(float)
    colours = 0.2 + 0.8 * colours
    how = {"views": VIEWS, "size": SIZE, "seed": 3}
    images = render_views(points, colours=colours, **how)
    xyz, camera = batched(points, matrices)
    pixels, _ = project(xyz, camera)
    seen = visible(xyz, camera)
    shown = shown_at(images, pixels).float()[..., :3]
    bright = shown > 0.5 * shown.amax(dim=-1, keepdim=True)
    dark_everywhere = torch.from_numpy(octant == 0)
    right = (bright == torch.from_numpy(colours > 0.5)).all(dim=-1) | dark_everywhere
    assert right[seen].float().mean() > 0.9
    assert right[~seen].float().mean() < 0.5

    rows, columns = 8, 12
    token = token_of(pixels, (rows, columns))
    cells = images.reshape(VIEWS, rows, SIZE // rows, columns, SIZE // columns, 4)
    cells = cells[..., :3].mean(axis=(2, 4)).reshape(VIEWS, rows * columns, 3)
    cosines = []
    for view in range(VIEWS):
        for cell in range(rows * columns):
            inside = (seen[view] & (token[view] == cell)).numpy()
            if inside.sum() >= 15:
                drawn, expected = cells[view, cell], colours[inside].mean(axis=0)
                lengths = np.linalg.norm(drawn) * np.linalg.norm(expected)
                cosines.append(drawn @ expected / lengths)
    assert len(cosines) > 50
    assert np.quantile(cosines, 0.1) > 0.97


@pytest.mark.parametrize("kind", ["ring", "sphere"])
@pytest.mark.parametrize(("count", "least"), [(1024, 0.88), (4096, 0.93)])
def test_hidden_points_are_those_behind_the_z_buffer_of_the_mesh(kind, count, least):
    """Apart from surfaces that are seen at a flat angle, as the docstring says."""
    scale, shift = mesh_placement(*MESH)
    vertices, faces = triangles(*MESH)
    placed, normals = draw(vertices, faces, count, np.random.default_rng(0))
    eyes = cameras(VIEWS, 3, kind)
    xyz, camera = batched((placed - shift) / scale, projections(eyes, scale, shift))
    pixels, depth = project(xyz, camera)
    found = visible(xyz, camera)
    normals = torch.from_numpy(normals).float()
    clear = steepness(xyz, normals, camera) > np.sin(np.radians(25))
    fine = 8 * SIZE
    for view, eye in enumerate(eyes):
        _, buffer = rasterise(vertices, faces, eye, fine)
        column, row = (fine * pixels[view]).long().clamp(0, fine - 1).unbind(-1)
        truth = scale * depth[view] <= torch.from_numpy(buffer)[row, column] + 0.02
        assert 0.2 < truth.float().mean() < 0.8
        judged = clear[view]
        assert judged.float().mean() > 0.4
        assert (truth == found[view])[judged].float().mean() > least


def test_a_wider_tolerance_hides_less():
    xyz, camera = batched(*mesh_scene("ring", 1024))
    counts = [int(visible(xyz, camera, tolerance=t).sum()) for t in (0.0, 0.02, 0.1, 9.0)]
    assert counts[0] < counts[1] < counts[2] < counts[3] == xyz[..., 0].numel()


def test_visibility_does_not_depend_on_the_unit():
    points, matrices = mesh_scene("sphere", 1024)
    expected = visible(*batched(points, matrices))
    larger = matrices.copy()
    larger[:, :, 3] *= 64  # exact in floating point
    assert torch.equal(visible(*batched(64 * points, larger)), expected)


def test_spacing_of_a_plane():
    """A disk of one square unit to a point."""
    plane = torch.rand(3, 4096, 3, generator=torch.Generator().manual_seed(0))
    plane[..., 1] = 0
    sizes = torch.tensor([1.0, 2.0, 5.0])
    found = spacing(plane * sizes[:, None, None])
    torch.testing.assert_close(found, sizes / 64, rtol=0.2, atol=0)
    assert torch.isfinite(spacing(plane[:, :3])).all()
    assert spacing(torch.zeros(1, 1, 3)).item() == 0


@pytest.mark.parametrize("count", [1, 2, 9])
def test_few_points_hide_nothing_and_copies_do_not_hide_each_other(count):
    camera = torch.from_numpy(projections(cameras(1, 0))).float()
    points = torch.linspace(-0.9, 0.9, count)[None, :, None] * pose(camera).rotation[:, :1]
    assert visible(points, camera).all()
    copies = points.repeat(1, 50, 1)
    assert visible(copies, camera).all()


def test_a_cloud_of_a_batch_does_not_change_with_the_others():
    xyz, camera = batched(*mesh_scene("sphere", 512))
    together = visible(xyz, camera)
    for view in range(VIEWS):
        assert torch.equal(
            visible(xyz[view : view + 1], camera[view : view + 1])[0], together[view]
        )
    order = torch.randperm(512, generator=torch.Generator().manual_seed(0))
    moved = visible(xyz[:, order], camera)  # the spacing is measured at other points
    assert (moved == together[:, order]).float().mean() > 0.95


@needs_shared
def test_agreement_with_ray_casting_on_real_meshes():
    """What the docstring of ``visible`` says of 21 meshes, on four of them."""
    agree = []
    for name in ("face/m290", "human/m123", "rectangular/m878", "potted_plant/m992"):
        mesh = read_mesh(SHARED / "data" / "psb_meshes" / f"{name}.off")
        vertices, faces = triangles(mesh.vertices, mesh.faces)
        points = mesh_points(vertices, faces, 1024)
        eyes = cameras(2, 0)
        xyz, camera = batched(points, projections(eyes))
        for eye, found in zip(eyes, visible(xyz, camera), strict=True):
            truth = ray_cast(points, vertices, faces, -eye[:, :3].T @ eye[:, 3])
            agree.append((found.numpy() == truth).mean())
    assert np.mean(agree) > 0.75


def ray_cast(points, vertices, faces, eye):
    """Whether no triangle lies between a point and the eye (Moeller and Trumbore, 1997)."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    seen = np.ones(len(points), dtype=bool)
    for i, point in enumerate(points):
        across = np.cross(eye - point, c - a)
        volume = (across * (b - a)).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = (across * (point - a)).sum(axis=1) / volume
            over = np.cross(point - a, b - a)
            v = over @ (eye - point) / volume
            t = (over * (c - a)).sum(axis=1) / volume
            between = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0.02 / DISTANCE) & (t < 1)
        seen[i] = not between.any()
    return seen
