"""Solid shapes, and what a camera must see of them: slow, obvious ray casting."""

import numpy as np

from pointssl_datasets.rendering.cameras import FOCAL

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


def cast_triangles(camera, size, corners):
    """Nearest hit with triangles ``(F, 3, 3)`` (Moeller and Trumbore, 1997): depth and index."""
    origin, rays = pixel_rays(camera, size)
    depth, number = np.full((size, size), np.inf), np.full((size, size), -1)
    for index, (a, b, c) in enumerate(corners):
        across = np.cross(rays, c - a)
        volume = across @ (b - a)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = across @ (origin - a) / volume
            over = np.cross(origin - a, b - a)
            v = rays @ over / volume
            t = (c - a) @ over / volume
            hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0) & (t < depth)
        depth[hit], number[hit] = t[hit], index
    return depth, number


def write_off(path, vertices, faces):
    """The mesh as an .off file; returns ``path``."""
    rows = [" ".join(map(repr, map(float, v))) for v in vertices]
    rows += ["3 " + " ".join(map(str, f)) for f in faces]
    path.write_text(f"OFF\n{len(vertices)} {len(faces)} 0\n" + "\n".join(rows) + "\n")
    return path
