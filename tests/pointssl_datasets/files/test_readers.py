"""Every kind of cloud file, as it should be and as it arrives."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import trimesh
from cloud_files import ply_bytes, random_cloud, random_normals
from shared import SHARED, needs_shared

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.files.fields import check_xyz, unit_colours
from pointssl_datasets.files.meshes import read_mesh
from pointssl_datasets.files.readers import read_cloud


@pytest.mark.parametrize("order", ["binary_little_endian", "binary_big_endian", "ascii"])
@pytest.mark.parametrize("kind", ["float", "double"])
def test_ply_in_every_order(tmp_path, order, kind):
    xyz, normals = random_cloud(), random_normals()
    path = tmp_path / "a.ply"
    path.write_bytes(ply_bytes(np.hstack([xyz, normals]), order, kind))
    cloud = read_cloud(path)
    np.testing.assert_array_equal(cloud["xyz"], xyz)
    np.testing.assert_allclose(cloud["normals"], normals, atol=1e-6)
    assert cloud["xyz"].dtype == np.float32


@pytest.mark.parametrize("encoding", ["binary", "ascii"])
def test_ply_agrees_with_trimesh_with_and_without_faces(tmp_path, encoding):
    mesh = trimesh.creation.icosphere(subdivisions=1)
    path = tmp_path / "mesh.PLY"
    path.write_bytes(trimesh.exchange.ply.export_ply(mesh, encoding=encoding))
    np.testing.assert_allclose(read_mesh(path).vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(read_mesh(path).faces, mesh.faces)
    points = trimesh.PointCloud(mesh.vertices, colors=np.arange(42 * 4).reshape(42, 4))
    path.write_bytes(trimesh.exchange.ply.export_ply(points, encoding=encoding))
    cloud = read_cloud(path)
    np.testing.assert_allclose(cloud["xyz"], mesh.vertices, atol=1e-6)
    np.testing.assert_allclose(cloud["colours"], points.colors[:, :3] / 255, atol=1e-6)


@pytest.mark.parametrize("order", ["binary_little_endian", "binary_big_endian", "ascii"])
@pytest.mark.parametrize("name", ["label", "part", "class"])
def test_ply_colours_and_labels(tmp_path, order, name):
    rng = np.random.default_rng(0)
    sign = ">" if "big" in order else "<"
    kinds = [("x", "f4", "float"), ("red", "u1", "uchar"), ("y", "f4", "float")]
    kinds += [("green", "u1", "uchar"), ("z", "f8", "double"), ("blue", "u1", "uchar")]
    kinds += [(name, "i2", "short")]
    rows = np.empty(50, dtype=[(n, sign + kind) for n, kind, _ in kinds])
    for field in rows.dtype.names:
        rows[field] = rng.integers(0, 256, 50)
    head = f"ply\nformat {order} 1.0\nelement vertex 50\n"
    head += "".join(f"property {word} {n}\n" for n, _, word in kinds) + "end_header\n"
    body = rows.tobytes()
    if order == "ascii":
        body = "".join(" ".join(map(str, row)) + "\n" for row in rows.tolist()).encode()
    (tmp_path / "a.ply").write_bytes(head.encode() + body)
    cloud = read_cloud(tmp_path / "a.ply")
    for column, axis, colour in zip(range(3), "xyz", ("red", "green", "blue"), strict=True):
        np.testing.assert_array_equal(cloud["xyz"][:, column], rows[axis])
        np.testing.assert_allclose(cloud["colours"][:, column], rows[colour] / 255, atol=1e-6)
    np.testing.assert_array_equal(cloud["part"], rows[name])
    rows[name][3] = -1
    if order != "ascii":
        (tmp_path / "a.ply").write_bytes(head.encode() + rows.tobytes())
        assert "part" not in read_cloud(tmp_path / "a.ply")  # some points have no label


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", np.int32])
def test_npy_of_any_number_type(tmp_path, dtype):
    xyz = (random_cloud() * 100).astype(dtype)
    np.save(tmp_path / "a.npy", xyz)
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.npy")["xyz"], xyz.astype(np.float32))


def test_columns_four_to_six_are_normals_only_if_unit(tmp_path):
    xyz, normals = random_cloud(), random_normals()
    np.save(tmp_path / "unit.npy", np.hstack([xyz, normals]).astype(np.float16))
    np.save(tmp_path / "colour.npy", np.hstack([xyz, random_cloud(seed=5)]))
    read = read_cloud(tmp_path / "unit.npy")["normals"]
    np.testing.assert_allclose(read, normals, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(read, axis=1), 1, atol=1e-6)  # float16 was rougher
    neither = read_cloud(tmp_path / "colour.npy")  # -1 to 1
    assert "normals" not in neither
    assert "colours" not in neither


COLOURS = np.random.default_rng(4).integers(0, 256, (50, 3))
COLUMNS = [
    (COLOURS, 255),  # whole numbers to 255
    (COLOURS.astype(np.uint8), 255),
    (COLOURS.astype(np.float32), 255),
    (COLOURS / 255, 1),  # from 0 to 1
    (COLOURS.astype(np.uint16) * 257, 65535),
    (COLOURS // 200, 255),  # nearly black
]


@pytest.mark.parametrize(("values", "full"), COLUMNS)
def test_unit_colours(values, full):
    found = unit_colours(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values / full, atol=1e-6)


@pytest.mark.parametrize(
    "values", [COLOURS - 99, COLOURS * 1.5, COLOURS * 2, COLOURS / 9, COLOURS * np.nan]
)
def test_what_cannot_be_colours(values):
    assert unit_colours(values) is None


@pytest.mark.parametrize("suffix", ["npy", "npz", "txt"])
@pytest.mark.parametrize("full", [1, 255])
def test_columns_four_to_six_are_colours(tmp_path, suffix, full):
    path, xyz = tmp_path / f"a.{suffix}", random_cloud()
    colours = COLOURS * (full / 255)
    if suffix == "npz":
        np.savez(path, xyz=xyz, rgb=colours)
    elif suffix == "npy":
        np.save(path, np.hstack([xyz, colours]))
    else:
        np.savetxt(path, np.hstack([xyz, colours, COLOURS]))
    cloud = read_cloud(path)
    np.testing.assert_allclose(cloud["xyz"], xyz, atol=1e-6)
    np.testing.assert_allclose(cloud["colours"], COLOURS / 255, atol=1e-6)
    assert "normals" not in cloud


@pytest.mark.parametrize("suffix", ["npy", "txt"])
@pytest.mark.parametrize("kind", ["normals", "colours", "whole colours"])
def test_a_seventh_column_is_the_part(tmp_path, suffix, kind):
    path, part = tmp_path / f"a.{suffix}", np.arange(50) % 13
    more = {"normals": random_normals(), "colours": COLOURS / 255, "whole colours": COLOURS}[kind]
    rows = np.column_stack([random_cloud(), more, part])
    if suffix == "npy":
        np.save(path, rows)
    else:
        np.savetxt(path, rows, fmt="%.6f")
    cloud = read_cloud(path)
    assert set(cloud) == {"xyz", "part", kind.split()[-1]}
    assert cloud["part"].dtype == np.int64
    np.testing.assert_array_equal(cloud["part"], part)


PART = np.arange(50) % 4
NO_PARTS = {
    "no whole numbers": (COLOURS, [PART + 0.5]),
    "negative": (COLOURS, [PART - 1]),
    "too large": (COLOURS, [PART + 253]),
    "not a number": (COLOURS, [np.where(PART == 2, np.nan, PART)]),
    "more columns": (COLOURS, [PART, PART]),
    "after neither normals nor colours": (COLOURS - 99.5, [PART]),
}


@pytest.mark.parametrize(("more", "rest"), NO_PARTS.values(), ids=NO_PARTS)
def test_what_is_no_part_in_a_seventh_column(tmp_path, more, rest):
    np.save(tmp_path / "a.npy", np.column_stack([random_cloud(), more, *rest]))
    cloud = read_cloud(tmp_path / "a.npy")
    assert "part" not in cloud
    np.testing.assert_array_equal(cloud["xyz"], random_cloud())


def test_labels_of_their_own_go_before_a_seventh_column(tmp_path):
    rows = np.column_stack([random_cloud(), COLOURS, PART])
    np.savez(tmp_path / "a.npz", data=rows, label=PART + 1)
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.npz")["part"], PART + 1)


def test_coordinates_far_away_keep_their_precision(tmp_path):
    xyz = random_cloud().astype(np.float64)
    far = xyz + np.array([691_200, 5_334_000, 512])
    np.save(tmp_path / "far.npy", far)
    np.savetxt(tmp_path / "far.txt", far, fmt="%.6f")
    np.save(tmp_path / "near.npy", xyz + np.array([50, 0, 0]))
    for name in ("far.npy", "far.txt"):
        read = read_cloud(tmp_path / name)["xyz"]
        np.testing.assert_allclose(read, far - np.floor(far.min(axis=0)), atol=2e-6)
    near = read_cloud(tmp_path / "near.npy")["xyz"]
    np.testing.assert_allclose(near, xyz + np.array([50, 0, 0]), atol=1e-5)


@pytest.mark.parametrize("key", ["xyz", "points", "pos", "data"])
def test_npz(tmp_path, key):
    xyz, normals, part = random_cloud(), random_normals(), np.arange(50) % 3
    np.savez(tmp_path / "a.npz", **{key: xyz, "normals": normals, "part": part[:, None]})
    cloud = read_cloud(tmp_path / "a.npz")
    np.testing.assert_array_equal(cloud["xyz"], xyz)
    np.testing.assert_allclose(cloud["normals"], normals, atol=1e-6)
    np.testing.assert_array_equal(cloud["part"], part)


def test_npz_with_one_label_is_a_class_not_parts(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", xyz=random_cloud(), label=np.array(3))
    assert "part" not in read_cloud(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", ["txt", "xyz", "pts"])
@pytest.mark.parametrize("delimiter", [" ", ",", "\t", ", "])
def test_text(tmp_path, suffix, delimiter):
    xyz = random_cloud()
    path = tmp_path / f"a.{suffix}"
    np.savetxt(path, xyz, delimiter=delimiter, fmt="%.9g", header="x y z")
    np.testing.assert_array_equal(read_cloud(path)["xyz"], xyz)


def test_text_with_a_count_on_its_first_line_and_a_byte_order_mark(tmp_path):
    (tmp_path / "a.pts").write_bytes(b"\xef\xbb\xbf2\r\n0 0 0\r\n1,2,3\r\n\r\n")
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.pts")["xyz"], [[0, 0, 0], [1, 2, 3]])


def write_pickle(path):
    path.write_bytes(pickle.dumps(random_cloud()))


def write_object_npy(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def with_value(value, rows=(4, 7)):
    xyz = random_cloud()
    xyz[list(rows), 1] = value
    return xyz


def cut(path, data, drop):
    path.write_bytes(data[:-drop])


def saved(array):
    def write(path):
        np.save(path, array)

    return write


def truncated_npy(path):
    np.save(path, random_cloud())
    path.write_bytes(path.read_bytes()[:-40])


def truncated_npz(path):
    np.savez(path, xyz=random_cloud())
    path.write_bytes(path.read_bytes()[:-40])


def npz_with_a_promise(path):
    """A header inside the archive that promises 3 TB: NumPy alone would try to allocate it."""
    array = io.BytesIO()
    np.save(array, random_cloud())
    data = array.getvalue().replace(b"(50, 3)", b"(250000000000, 3)").replace(b" " * 10, b"", 1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xyz.npy", data)


def npz_with_garbage(path):
    np.savez_compressed(path, xyz=random_cloud())
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(data)


def npz_without_points(path):
    np.savez(path, a=np.ones(3), b=np.ones(3))


def npz_with_objects(path):
    np.savez(path, xyz=np.array([None], dtype=object))


def huge_header(path):
    """A header that promises 3 TB must not be believed."""
    np.save(path, random_cloud())
    data = path.read_bytes().replace(b"(50, 3)", b"(250000000000, 3)")
    path.write_bytes(data.replace(b" " * 10, b"", 1))


BINARY = ply_bytes(random_cloud())
ASCII = ply_bytes(random_cloud(), "ascii")


def ply_with(old, new, data=BINARY):
    return lambda path: path.write_bytes(data.replace(old, new))


BAD = [
    ("a.npy", lambda p: None, "no such file"),
    ("a.npy", lambda p: p.mkdir(), "is not a file"),
    ("a.doc", lambda p: p.write_text("OFF"), "unknown file format"),
    ("a.npy", lambda p: p.write_bytes(b""), "the file is empty"),
    ("a.npy", truncated_npy, "truncated or damaged"),
    ("a.npy", huge_header, "truncated or damaged"),
    ("a.npy", lambda p: p.write_bytes(b"\x93NUMPY\x01\x00\xff"), "truncated or damaged"),
    ("a.npy", write_pickle, "not a .npy file"),
    ("a.npy", write_object_npy, "pickled"),
    ("a.npy", saved(np.ones((3, 50))), "columns|transposed|identical"),
    ("a.npy", saved(random_cloud()[:, :2]), "shape (50, 2)"),
    ("a.npy", saved(random_cloud().T[:, :2]), "transposed"),
    ("a.npy", saved(random_cloud()[None]), "shape (1, 50, 3)"),
    ("a.npy", saved(random_cloud().astype(complex)), "complex128"),
    ("a.npy", saved(with_value(np.nan)), "2 of 50 points are NaN or infinite, the first at row 4"),
    ("a.npy", saved(with_value(-np.inf)), "the first at row 4"),
    ("a.npy", saved(random_cloud().astype(np.float64) * 1e300), "NaN or infinite"),
    ("a.npy", saved(random_cloud(1)), "1 points; a cloud needs at least 2"),
    ("a.npy", saved(np.full((9, 3), 0.5)), "all 9 points are identical"),
    ("a.npz", truncated_npz, "truncated or damaged"),
    ("a.npz", npz_with_a_promise, "declared"),
    ("a.npz", npz_with_garbage, "truncated or damaged"),
    ("a.npz", lambda p: np.savez(p, xyz=random_cloud(), rgb=random_cloud() * 999), "colours from"),
    ("a.npz", npz_without_points, "found a, b"),
    ("a.npz", npz_with_objects, "pickled"),
    ("a.npz", lambda p: np.savez(p, xyz=random_cloud(), normals=2 * random_normals()), "unit"),
    ("a.npz", lambda p: np.savez(p, xyz=random_cloud(), part=np.arange(49)), "50 part numbers"),
    ("a.npz", lambda p: np.savez(p, xyz=random_cloud(), part=-np.arange(50)), "50 part numbers"),
    ("a.ply", lambda p: p.write_bytes(b"solid cube"), "not a PLY"),
    ("a.ply", lambda p: cut(p, BINARY, 13), "truncated: 50 vertices declared, 48 in"),
    ("a.ply", lambda p: cut(p, BINARY, 605), "truncated in its header"),
    ("a.ply", lambda p: p.write_bytes(ASCII[: ASCII.rindex(b"\n", 0, -1) + 1]), "49 in the file"),
    ("a.ply", ply_with(b"float z", b"float w"), "have no z"),
    ("a.ply", ply_with(b"float z", b"flout z"), "invalid PLY header line"),
    ("a.ply", ply_with(b"vertex", b"face"), "first element"),
    ("a.ply", ply_with(b"float z", b"float y\nproperty float z"), "twice"),
    ("a.ply", ply_with(b"vertex 50", b"vertex 999999999999", ASCII), "truncated"),
    ("a.ply", ply_with(b"vertex 50", b"vertex 999999999999"), "truncated"),
    ("a.xyz", lambda p: p.write_text("# nothing\n\n"), "holds no points"),
    ("a.xyz", lambda p: p.write_text("0 0 0\n1 1\n"), "line 2 has 2 columns"),
    ("a.xyz", lambda p: p.write_text("0 0 0\n1 1 x\n"), "line 2 is not numbers"),
    ("a.xyz", lambda p: p.write_text("0 0\n1 1\n"), "shape (2, 2)"),
    ("a.xyz", lambda p: p.write_text("0 0 0\n1 nan 1\n"), "first at row 1"),
    ("a.xyz", lambda p: p.write_bytes(bytes(range(128, 256))), "not a text file"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "write", "said"), BAD, ids=[f"{n}-{s}" for n, _, s in BAD])
def test_bad_files_are_named_with_their_problem(tmp_path, name, write, said):
    path = tmp_path / name
    write(path)
    with pytest.raises(DataError) as caught:
        read_cloud(path)
    message = str(caught.value)
    assert str(path) in message
    assert any(part in message for part in said.split("|"))
    assert "\n" not in message


def test_a_pickle_in_a_cloud_file_is_never_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    np.save(tmp_path / "a.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", xyz=np.array([Trap()], dtype=object))
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("a.npy", "b.npz", "c.npy"):
        with pytest.raises(DataError):
            read_cloud(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_check_xyz_copies_nothing_that_is_right_already():
    xyz = random_cloud()
    assert check_xyz(xyz, "here") is xyz


@needs_shared
def test_real_files():
    plys = sorted((SHARED / "data/shapenet_render_cameras/ShapeNet").glob("*/*.ply"))[:5]
    npys = sorted((SHARED / "data/psb21/train").glob("*/*.npy"))[:5]
    pts = sorted((SHARED / "data/shapenetpart_sample").glob("*/*/points/*.pts"))[:5]
    assert plys
    assert npys
    for path in plys + npys:
        assert read_cloud(path)["xyz"].shape == (2048, 3)
    for path in plys:
        expected = np.asarray(trimesh.load(path).vertices, dtype=np.float32)
        np.testing.assert_array_equal(read_cloud(path)["xyz"], expected)
    for path in pts:
        lines = path.read_text().splitlines()
        xyz = read_cloud(path)["xyz"]
        assert len(xyz) == len(lines)
        np.testing.assert_allclose(xyz[7], [float(x) for x in lines[7].split()], rtol=1e-6)
