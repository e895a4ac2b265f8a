"""Mesh files of every kind against trimesh, and points drawn from them against their areas."""

import base64
import json
import shutil

import numpy as np
import pytest
import trimesh
from cloud_files import CUBE, QUADS, damaged, off_text, said_of
from scipy import stats
from shared import SHARED, needs_shared

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.meshes import MESH_SUFFIXES, read_mesh, sample_mesh
from pointssl_datasets.files.readers import read_cloud

SHAPE = trimesh.creation.torus(2, 0.5, 12, 8)


def area(mesh):
    corners = mesh.vertices[mesh.faces]
    return trimesh.triangles.area(corners).sum()


def volume(mesh):
    """Positive if the faces are seen counter-clockwise from outside."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return (a * np.cross(b, c)).sum() / 6


def wrote(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


# ------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("kind", ["off", "obj", "stl", "stl_ascii", "glb", "ply"])
def test_every_kind_agrees_with_trimesh(tmp_path, kind):
    path = tmp_path / f"a.{kind[:3].upper()}"
    SHAPE.export(path, file_type=kind)
    mesh = read_mesh(path)
    oracle = trimesh.load(path, process=False, force="mesh")
    np.testing.assert_allclose(mesh.vertices, oracle.vertices, rtol=1e-12)
    np.testing.assert_array_equal(mesh.faces, oracle.faces)
    assert mesh.vertices.dtype == np.float64
    assert mesh.faces.dtype == np.int64
    assert volume(mesh) == pytest.approx(SHAPE.volume, rel=1e-5)


HEADS = ["OFF\n{} {} 0\n", "OFF{} {} 0\n", "OFF {} {} 0\n", "off\n{} {}\n", "{} {} 0\n"]
HEADS += ["# by hand\n\nOFF # 1 2\n# more\n{} {} 12 # counts\n\n", "\ufeffOFF\r\n{} {} 0\r\n"]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("tail", ["", " 0.5 0.5 0.5", " 255 0 0 255", "\t3"])
def test_off_with_all_its_liberties(tmp_path, head, tail):
    mesh = read_mesh(wrote(tmp_path / "a.off", off_text(head=head, tail=tail)))
    np.testing.assert_array_equal(mesh.vertices, CUBE)
    assert mesh.faces.shape == (12, 3)
    assert area(mesh) == 6
    assert volume(mesh) == pytest.approx(1)


@pytest.mark.parametrize("word", ["COFF", "NOFF", "CNOFF", "STOFF", "STCNOFF"])
def test_off_with_more_than_coordinates(tmp_path, word):
    more = np.random.default_rng(0).uniform(size=(8, 5))
    text = off_text(np.hstack([CUBE, more]), head=word + "\n{} {} 0\n")
    np.testing.assert_array_equal(read_mesh(wrote(tmp_path / "a.off", text)).vertices, CUBE)


def test_polygons_of_many_sizes(tmp_path):
    turn = np.linspace(0, 2 * np.pi, 7)[:-1]
    vertices = np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    faces = [(0, 1, 2), (0, 2, 3, 4), (0, 4, 5), (0, 1), (2,), ()]
    triangles = read_mesh(wrote(tmp_path / "a.off", off_text(vertices, faces)))
    hexagon = read_mesh(wrote(tmp_path / "b.off", off_text(vertices, [range(6)], tail=" 9 9 9")))
    assert sorted(map(tuple, triangles.faces)) == sorted(map(tuple, hexagon.faces))
    assert area(hexagon) == pytest.approx(1.5 * 3**0.5)


OBJ = """# two triangles, an object each, with everything else around them
mtllib ../../secret.mtl
o first
v 0 0 0 1.0 0.5 0.5
v 1 0 0\t
v\t0 1 0
vn 0 0 1
vt 0.5 0.5
usemtl none
f -3/1/1 -2/1/1 -1/1/1
g second
v 0 0 5
v 2 0 5
v 0 \\
2 5
l 1 2
f -3//1 -2//1 -1//1
f 1 2 3 # as the first
f 4/1 5/1 6/1 3/1
"""


def test_obj_with_relative_indices_where_trimesh_goes_astray(tmp_path):
    mesh = read_mesh(wrote(tmp_path / "a.obj", OBJ))
    assert mesh.vertices[3:].tolist() == [[0, 0, 5], [2, 0, 5], [0, 2, 5]]
    expected = [[0, 1, 2], [0, 1, 2], [3, 4, 5], [3, 4, 5], [3, 5, 2]]
    assert sorted(mesh.faces.tolist()) == sorted(expected)


def scene():
    """Three cubes: moved, made larger in a group that is moved too, and mirrored."""
    made = trimesh.Scene()
    cube = trimesh.creation.box()
    made.add_geometry(cube, transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    made.graph.update("group", matrix=trimesh.transformations.translation_matrix([0, 7, 0]))
    made.add_geometry(cube, parent_node_name="group", transform=np.diag([3.0, 3, 3, 1]))
    made.add_geometry(cube, transform=np.diag([-1.0, 1, 1, 1]))
    return made


def test_glb_joins_all_nodes_where_they_are(tmp_path):
    path = tmp_path / "a.glb"
    scene().export(path)
    mesh = read_mesh(path)
    assert mesh.faces.shape == (36, 3)
    np.testing.assert_allclose(mesh.vertices.min(axis=0), [-1.5, -0.5, -1.5])
    np.testing.assert_allclose(mesh.vertices.max(axis=0), [5.5, 8.5, 1.5])
    assert area(mesh) == pytest.approx(6 * (1 + 9 + 1))
    assert volume(mesh) == pytest.approx(1 + 27 + 1)  # none is inside out


def edited_glb(path, edit):
    """A scene whose JSON part somebody changed."""
    scene().export(path)
    data = path.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    head = json.loads(data[20 : 20 + length])
    edit(head)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    sizes = np.array([20 + len(text) + len(rest), len(text)], dtype="<u4").tobytes()
    return wrote(path, data[:8] + sizes + b"JSON" + text + rest)


def test_glb_opens_nothing_else_and_believes_nothing(tmp_path):
    wrote(tmp_path / "other.bin", bytes(1000))
    path = tmp_path / "a.glb"

    def elsewhere(head):
        head["buffers"][0]["uri"] = "other.bin"

    def draco(head):
        head["extensionsRequired"] = ["KHR_draco_mesh_compression"]

    def bomb(head):
        del head["accessors"][0]["bufferView"]
        head["accessors"][0]["count"] = 10**12

    def beyond(head):
        head["accessors"][0]["count"] = 10**12

    def crowd(head):
        first = next(n for n in head["nodes"] if "mesh" in n)["mesh"]
        head["nodes"] = [{"mesh": first} for _ in range(3000)]
        head["scenes"] = [{"nodes": list(range(3000))}]

    for edit, said in [
        (elsewhere, "other.bin"), (draco, "without compression"), (bomb, "declares"),
        (beyond, "cannot be read as GLB"), (lambda head: head.clear(), "no vertices|GLB"),
    ]:  # fmt: skip
        with pytest.raises(DataError, match=said):
            read_mesh(edited_glb(path, edit))
    many = read_mesh(edited_glb(path, crowd))
    assert len(many.faces) == 36000


def test_a_scene_that_repeats_a_mesh_too_often_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pointssl_datasets.files.glb._MAX", 35)
    scene().export(tmp_path / "a.glb")
    with pytest.raises(DataError, match="more than 35 triangles"):
        read_mesh(tmp_path / "a.glb")


def test_glb_data_uri_is_read(tmp_path):
    path = tmp_path / "a.glb"
    scene().export(path)
    data = path.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    binary = data[20 + length + 8 :]

    def inline(head):
        text = base64.b64encode(binary).decode()
        head["buffers"][0]["uri"] = f"data:application/octet-stream;base64,{text}"

    assert len(read_mesh(edited_glb(path, inline)).faces) == 36


def binary_ply(polygons, *, wide=False, order="little"):
    """Faces of any sizes; ``wide``: a number ahead of each, and a list behind."""
    sign = "<" if order == "little" else ">"
    head = f"ply\nformat binary_{order}_endian 1.0\nelement vertex 8\n"
    head += "property double x\nproperty double y\nproperty double z\n"
    head += f"element face {len(polygons)}\n" + "property short flags\n" * wide
    head += "property list uchar int vertex_indices\n"
    head += "property list uint float texcoord\n" * wide
    head += "element edge 1\nproperty int a\nend_header\n"
    body = CUBE.astype(sign + "f8").tobytes()
    for polygon in polygons:
        body += bytes(2 * wide) + bytes([len(polygon)])
        body += np.array(polygon, dtype=sign + "i4").tobytes()
        if wide:
            body += np.array([2], dtype=sign + "u4").tobytes() + bytes(8)
    return head.encode() + body + bytes(4)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("polygons", [QUADS, [(0, 1, 3), (0, 3, 2), *QUADS[1:]]])
def test_ply_faces_of_one_and_of_many_sizes(tmp_path, polygons, wide, order):
    mesh = read_mesh(wrote(tmp_path / "a.ply", binary_ply(polygons, wide=wide, order=order)))
    np.testing.assert_array_equal(mesh.vertices, CUBE)
    assert len(mesh.faces) == 12
    assert volume(mesh) == pytest.approx(1)


# -------------------------------------------------------------------------------- bad files

OFF = off_text()
BAD = [
    ("a.off", "", "the file is empty"),
    ("a.off", "solid\n", "not an OFF file"),
    ("a.off", "# nothing\n", "not an OFF file"),
    ("a.off", "OFF\n", "expected the numbers of vertices"),
    ("a.off", "OFF\n8 x 0\n", "expected the numbers of vertices"),
    ("a.off", OFF.replace("8 6 0", "-8 6 0"), "-8 vertices"),
    ("a.off", OFF.replace("8 6 0", "1000000000000 6 0"), "1000000000000 vertices declared, 14 in"),
    ("a.off", OFF.replace("8 6 0", "8 1000000000000 0"), "1000000000000 faces declared, 6 in"),
    ("a.off", OFF.replace("8 6 0", "9" * 5000 + " 6 0"), "expected the numbers"),
    ("a.off", OFF[:75], "truncated: 8 vertices declared, 6 in"),
    ("a.off", OFF[:-12], "truncated: 6 faces declared, 5 in"),
    ("a.off", OFF.replace("1.0", "one"), "damaged vertices"),
    ("a.off", OFF.replace("4 0 1 3 2", "5 0 1 3 2"), "damaged vertices or faces"),
    ("a.off", OFF.replace("4 0 1 3 2", "3000000000000 0 1 3 2"), "does not have them"),
    ("a.off", OFF.replace("4 0 1 3 2", "-4 0 1 3 2"), "a face of -4 corners"),
    ("a.off", OFF.replace("4 0 1 3 2", "4 0 1 8 2"), "number 8 of 8"),
    ("a.off", OFF.replace("4 0 1 3 2", "4 0 1 -1 2"), "number -1 of 8"),
    ("a.off", OFF.replace("0.0 1.0 0.0\n", "0.0 nan 0.0\n", 1), "1 of 8 vertices are NaN"),
    ("a.off", "OFF BINARY\n\0\0\0\x08", "binary OFF"),
    ("a.off", OFF.replace("OFF", "4OFF"), "in three dimensions"),
    ("a.off", "OFF\n0 0 0\n", "no vertices"),
    ("a.obj", "hello", "not a Wavefront OBJ"),
    ("a.obj", "f 1 2 3\n", "without vertices"),
    ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "number 8 of 3"),
    ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n", "counted from 1"),
    ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -9 1 2\n", "number -6 of 3"),
    ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 x\n", "damaged"),
    ("a.obj", "v 0 0\nv 1 0 0\n", "damaged"),
    ("a.stl", "solid", "not an STL file"),
    ("a.stl", b"\0" * 90, "no vertices"),
    ("a.stl", b"\0" * 80 + b"\xff\xff\xff\xff" + b"\0" * 500, "4294967295 triangles declared"),
    ("a.stl", "solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\n" * 3, "truncated or"),
    ("a.glb", "glTF", "not a GLB file"),
    ("a.glb", "PK" + "\0" * 40, "not a GLB file"),
    ("a.glb", b"glTF" + bytes([2, 0, 0, 0, 99]) + bytes(30), "truncated"),
    ("a.glb", b"glTF" + bytes([2, 0, 0, 0, 24, 0, 0, 0, 4, 0, 0, 0]) + b"JSON[1]}", "JSON part"),
    ("a.ply", binary_ply(QUADS)[:-24], "truncated"),
    ("a.ply", binary_ply(QUADS).replace(b"face 6", b"face 600000000000"), "truncated"),
    ("a.ply", binary_ply([(0, 1, 9)]), "number 9 of 8"),
    ("a.gltf", "{}", "unknown file format"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "said"), BAD, ids=[f"{n}-{s}" for n, _, s in BAD])
def test_bad_files_are_named_with_their_problem(tmp_path, name, data, said):
    path = wrote(tmp_path / name, data)
    for read in (read_mesh, read_cloud):
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["off", "obj", "stl", "stl_ascii", "glb", "ply"])
def test_any_damage_is_a_data_error(tmp_path, kind):
    path = tmp_path / f"a.{kind[:3]}"
    trimesh.creation.box().export(path, file_type=kind)
    for broken in damaged(path.read_bytes(), 200):
        path.write_bytes(broken)
        assert "\n" not in said_of(lambda p: read_cloud(p, mesh_points=8), path)


# ------------------------------------------------------------------------------- what is drawn


def slow_sample(vertices, faces, count, rng):
    """One point after the other: a triangle by its area, then points until one lies inside it."""
    areas = [
        0.5 * np.linalg.norm(np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a]))
        for a, b, c in faces
    ]
    points = []
    for _ in range(count):
        a, b, c = vertices[faces[rng.choice(len(faces), p=np.array(areas) / sum(areas))]]
        while True:
            u, v = rng.random(2)
            if u + v <= 1:
                points.append(a + u * (b - a) + v * (c - a))
                break
    return np.array(points)


def test_points_agree_with_a_slow_twin():
    mesh = SHAPE.vertices, SHAPE.faces
    fast, _ = sample_mesh(*mesh, 4000, np.random.default_rng(0))
    slow = slow_sample(*mesh, 4000, np.random.default_rng(1))
    for values in (lambda p: p[:, 0], lambda p: p[:, 2], lambda p: np.hypot(p[:, 0], p[:, 1])):
        assert stats.ks_2samp(values(fast), values(slow)).pvalue > 1e-3


def test_faces_are_drawn_by_area_and_points_uniformly_within():
    """A staircase of right triangles with the legs 1 and k: their areas are known."""
    vertices, faces = [], []
    for k in range(1, 9):
        faces.append(len(vertices) + np.arange(3))
        vertices += [[0, 0, k], [k, 0, k], [0, 1, k]]
    vertices, faces = np.array(vertices, dtype=float), np.array(faces)
    faces = np.vstack([faces[:3], [[0, 0, 1], [4, 4, 4]], faces[3:]])  # two without area
    xyz, normals = sample_mesh(vertices, faces, 40_000, np.random.default_rng(0))
    drawn = np.bincount(np.rint(xyz[:, 2]).astype(int), minlength=9)[1:]
    assert stats.chisquare(drawn, 40_000 * np.arange(1, 9) / 36).pvalue > 1e-3
    np.testing.assert_array_equal(normals, np.tile([0, 0, 1], (40_000, 1)))
    u, v = xyz[:, 0] / xyz[:, 2], xyz[:, 1]
    assert ((u >= 0) & (v >= 0) & (u + v <= 1 + 1e-6)).all()
    # Uniform in a triangle: u + v has the distribution t^2, and u / (u + v) is uniform.
    assert stats.kstest((u + v) ** 2, "uniform").pvalue > 1e-3
    assert stats.kstest(u / (u + v), "uniform").pvalue > 1e-3


def test_normals_are_those_of_the_surface():
    ball = trimesh.creation.icosphere(subdivisions=4)
    xyz, normals = sample_mesh(ball.vertices, ball.faces, 2000, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert (np.einsum("ni,ni->n", normals, xyz) > 0.99).all()
    assert xyz.dtype == normals.dtype == np.float32


@pytest.mark.parametrize("scale", [1e-150, 1e-20, 1e20, 1e150])
def test_the_unit_makes_no_difference(scale):
    vertices = SHAPE.vertices * scale
    one, normals = sample_mesh(SHAPE.vertices, SHAPE.faces, 99, np.random.default_rng(0))
    with np.errstate(over="ignore", under="ignore"):
        other, scaled_normals = sample_mesh(vertices, SHAPE.faces, 99, np.random.default_rng(0))
    np.testing.assert_allclose(scaled_normals, normals, atol=1e-6)
    if 1e-30 < scale < 1e30:
        np.testing.assert_allclose(other / np.float32(scale), one, atol=1e-5)


@pytest.mark.parametrize("faces", [[], [[0, 0, 0]], [[0, 1, 1], [2, 3, 2]]])
def test_nothing_to_draw_from(faces):
    faces = np.array(faces, dtype=np.int64).reshape(-1, 3)
    with pytest.raises(ValueError, match="no triangle has an area"):
        sample_mesh(CUBE, faces, 5, np.random.default_rng(0))


def test_a_cloud_of_a_mesh(tmp_path):
    path = wrote(tmp_path / "a.off", off_text())
    cloud = read_cloud(path)
    assert cloud["mesh"] == path
    assert cloud["xyz"].shape == cloud["normals"].shape == (4096, 3)
    assert (np.isclose(cloud["xyz"], 0) | np.isclose(cloud["xyz"], 1)).any(axis=1).all()
    assert len(read_cloud(path, mesh_points=7)["xyz"]) == 7
    np.testing.assert_array_equal(read_cloud(path)["xyz"], cloud["xyz"])
    shutil.copy(path, tmp_path / "b.off")
    (tmp_path / "other").mkdir()
    moved = read_cloud(path.rename(tmp_path / "other/a.off"))
    np.testing.assert_array_equal(moved["xyz"], cloud["xyz"])  # seeded by the name alone
    assert (read_cloud(tmp_path / "b.off")["xyz"] != cloud["xyz"]).any()


def test_ply_with_faces_is_a_mesh_and_without_is_a_cloud(tmp_path):
    mesh = read_cloud(wrote(tmp_path / "a.ply", binary_ply(QUADS)), mesh_points=100)
    cloud = read_cloud(wrote(tmp_path / "b.ply", binary_ply([(0, 1)])), mesh_points=100)
    assert len(mesh["xyz"]) == 100
    assert mesh["mesh"] == tmp_path / "a.ply"
    np.testing.assert_array_equal(cloud["xyz"], CUBE)
    assert "mesh" not in cloud


@pytest.mark.parametrize("faces", [[], [(0, 0, 1)], [(1, 2)]])
def test_without_any_area_the_vertices_are_the_cloud(tmp_path, faces):
    cloud = read_cloud(wrote(tmp_path / "a.off", off_text(CUBE, faces)))
    np.testing.assert_array_equal(cloud["xyz"], CUBE)
    assert "mesh" not in cloud
    alone = wrote(tmp_path / "b.off", off_text(CUBE[:1], [(0, 0, 0)]))
    with pytest.raises(DataError, match="no face has an area; its vertices: 1 points"):
        read_cloud(alone)


def test_meshes_far_away_keep_their_shape(tmp_path):
    far = CUBE + np.array([4_000_000, 5_000_000, 0])
    path = wrote(tmp_path / "a.off", off_text(far))
    np.testing.assert_allclose(read_cloud(path)["xyz"].max(axis=0), 1, atol=1e-3)
    (tmp_path / "near").mkdir()
    near = wrote(tmp_path / "near/a.off", off_text())
    np.testing.assert_allclose(read_cloud(path)["xyz"], read_cloud(near)["xyz"], atol=1e-6)


@needs_shared
def test_real_princeton_meshes():
    paths = sorted((SHARED / "data/psb_meshes").glob("*/*.off"))[::9]
    assert len(paths) > 9
    for path in paths:
        mesh, oracle = read_mesh(path), trimesh.load(path, process=False)
        np.testing.assert_array_equal(mesh.vertices, oracle.vertices)
        np.testing.assert_array_equal(mesh.faces, oracle.faces)
        xyz = read_cloud(path)["xyz"]
        weights = trimesh.triangles.area(mesh.vertices[mesh.faces])
        middle = np.average(mesh.vertices[mesh.faces].mean(axis=1), axis=0, weights=weights)
        spread = xyz.std(axis=0) / np.sqrt(len(xyz))
        assert (np.abs(xyz.mean(axis=0) - middle) < 5 * spread + 1e-9).all()


def test_suffixes():
    assert set(MESH_SUFFIXES) == {".off", ".obj", ".stl", ".glb"}
