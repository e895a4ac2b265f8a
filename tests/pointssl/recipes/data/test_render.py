"""`pointssl data render`: which files it writes, from what it draws them, and what it refuses."""

import numpy as np
import pytest
from casting import box_mesh, joined, sphere_points, write_off
from PIL import Image
from tiny import write_clouds

from pointssl.config.data import RenderConfig
from pointssl.recipes.data import render as recipe
from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.rendering.clouds import render_mesh, render_views

BOX = box_mesh([-0.2, -0.3, -0.5], [0.2, 0.3, 0.5])  # tall along z
TALL = joined(BOX, box_mesh([-0.5, -0.1, 0.4], [0.5, 0.1, 0.45]))
POINTS = sphere_points(60).astype(np.float32)


class Opener:
    """Clouds of our own as ``--data test_render_recipe:NAME``."""

    def __init__(self, clouds, classes=("bed", "chair"), up_axis="y"):
        self.clouds, self.classes, self.up_axis = clouds, classes, up_axis

    def __call__(self, root, split):
        return Source(
            dataset="own",
            split=split,
            classes=self.classes,
            up_axis=self.up_axis,
            key="1",
            names=[cloud["name"] for cloud in self.clouds],
            read=lambda i: Cloud(**self.clouds[i]),
        )


def render(tmp_path, monkeypatch, clouds, *, classes=("bed", "chair"), up_axis="y", **changes):
    """The folder that the command writes."""
    monkeypatch.setattr(
        "pointssl_datasets.serving.opening.resolve",
        lambda *_: Opener(clouds, classes=classes, up_axis=up_axis),
    )
    given = {"points": 60, "sampling": "first", "views": 2, "image_size": 24, "progress": False}
    out = tmp_path / "out"
    given |= {"data": "own", "cache_dir": tmp_path / "cache", "out": out, **changes}
    assert recipe.run(RenderConfig(**given)) == out / "contact.png"
    return out


def png(path):
    with Image.open(path) as image:
        return np.asarray(image)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("style", ["shaded", "depth", "normals", "silhouette"])
@pytest.mark.parametrize("cameras", ["ring", "sphere"])
def test_pictures_of_clouds(tmp_path, style, cameras):
    root = write_clouds(tmp_path / "data", per_class=2, pictures=False)
    config = RenderConfig(
        data="folder",
        data_root=root,
        cache_dir=tmp_path / "cache",
        points=64,
        sampling="first",
        views=3,
        image_size=24,
        style=style,
        cameras=cameras,
        seed=5,
        progress=False,
        out=tmp_path / "out",
    )
    recipe.run(config)
    shapes = [f"{kind}/m{i}" for kind in ("bed", "chair", "lamp") for i in range(2)]
    expected = [f"{shape}/{view:02d}.png" for shape in shapes for view in range(3)]
    assert files(tmp_path / "out") == sorted([*expected, "contact.png"])
    cloud = np.load(root / "train" / "lamp" / "m1.npy")
    drawn = render_views(cloud, views=3, size=24, seed=5, style=style, cameras=cameras)
    for view, picture in enumerate(drawn):
        written = png(tmp_path / "out" / "lamp" / "m1" / f"{view:02d}.png").astype(int)
        assert (np.abs(written - picture).max(axis=-1) > 8).mean() < 0.02  # the cloud was rounded


def test_meshes_are_drawn_upright_in_place_of_their_clouds(tmp_path, monkeypatch):
    path = write_off(tmp_path / "tall.off", *TALL)
    clouds = [
        {"name": "bed/a", "xyz": POINTS, "label": 0, "mesh": path},
        {"name": "b", "xyz": POINTS, "label": 1},
    ]
    out = render(tmp_path, monkeypatch, clouds, up_axis="z", style="normals")
    vertices = TALL[0][:, [0, 2, 1]] * [1, 1, -1]
    drawn = render_mesh(vertices, TALL[1], views=2, size=24, seed=0, style="normals")
    for view in range(2):
        np.testing.assert_array_equal(png(out / "bed" / "a" / f"0{view}.png"), drawn[view])
    ball = png(out / "chair" / "b" / "00.png")
    assert (ball[..., 3] > 0).mean() > 0.5
    assert (drawn[0, ..., 3] > 0).mean() < 0.5


def test_a_mesh_that_was_taken_away(tmp_path, monkeypatch):
    paths = [write_off(tmp_path / f"{i}.off", *TALL) for i in range(2)]
    clouds = [
        {"name": f"{i}", "xyz": POINTS, "label": 0, "mesh": path} for i, path in enumerate(paths)
    ]
    render(tmp_path, monkeypatch, clouds)
    paths[1].unlink()
    with pytest.raises(DataError, match=r"1\.off: no such file"):
        render(tmp_path, monkeypatch, clouds)
    paths[0].unlink()  # now it is as on another machine: the clouds are all there is
    out = render(tmp_path, monkeypatch, clouds)
    assert (png(out / "bed" / "0" / "00.png")[..., 3] > 0).mean() > 0.5


def test_coloured_clouds_keep_their_colours(tmp_path, monkeypatch):
    red = np.repeat([[1, 0, 0]], len(POINTS), axis=0).astype(np.float32)
    out = render(tmp_path, monkeypatch, [{"name": "a", "xyz": POINTS, "label": 0, "colours": red}])
    picture = png(out / "bed" / "a" / "00.png")
    assert picture[..., 0].max() > 100
    assert picture[..., 1:3].max() == 0


def test_without_classes_a_name_is_the_folder(tmp_path, monkeypatch):
    clouds = [{"name": "x/a", "xyz": POINTS}, {"name": "b", "xyz": -POINTS}]
    out = render(tmp_path, monkeypatch, clouds, classes=(), views=1)
    assert files(out) == ["b/00.png", "contact.png", "x/a/00.png"]


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("../up", ()),
        ("../up", ("bed",)),
        ("a/../../up", ("bed",)),
        ("/etc/passwd", ()),
        ("/etc/passwd", ("bed",)),
        ("bed//etc/passwd", ("bed",)),
        ("nul\0", ()),
        (".", ()),
        ("a", ("..",)),
    ],
)
def test_names_that_lead_out_of_the_folder(tmp_path, monkeypatch, name, classes):
    clouds = [{"name": n, "xyz": POINTS, "label": len(classes) - 1} for n in ("fine", name)]
    with pytest.raises(DataError, match="is not a valid name of a folder") as caught:
        render(tmp_path, monkeypatch, clouds, classes=classes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()  # refused before anything is drawn


def test_two_clouds_never_share_a_folder(tmp_path, monkeypatch):
    clouds = [
        {"name": "bed/a", "xyz": POINTS, "label": 0},
        {"name": "a", "xyz": -POINTS, "label": 0},
    ]
    with pytest.raises(DataError, match="'bed/a' and 'a' would share the folder bed/a"):
        render(tmp_path, monkeypatch, clouds)


def test_a_mixture_draws_meshes_and_clouds(tmp_path):
    (tmp_path / "a" / "train" / "box").mkdir(parents=True)
    write_off(tmp_path / "a" / "train" / "box" / "tall.off", *TALL)
    clouds = write_clouds(tmp_path / "b", per_class=1, pictures=False)
    recipe.run(
        RenderConfig(
            data=f"concat:folder@{tmp_path / 'a'}*2+folder@{clouds}",
            up_axis="z",
            cache_dir=tmp_path / "cache",
            points=32,
            views=1,
            image_size=24,
            progress=False,
            out=tmp_path / "out",
        )
    )
    found = files(tmp_path / "out")
    assert len(found) == 5
    (mesh,) = [name for name in found if "tall" in name]
    vertices = TALL[0][:, [0, 2, 1]] * [1, 1, -1]
    drawn = render_mesh(vertices, TALL[1], views=1, size=24, seed=0)[0]
    np.testing.assert_array_equal(png(tmp_path / "out" / mesh), drawn)


def test_killed_while_writing_a_picture_leaves_whole_files(tmp_path, monkeypatch):
    def half(self, file, **_):
        with open(file, "wb") as out:
            out.write(b"\x89PNG")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(KeyboardInterrupt):
        recipe.save_png(np.zeros((4, 4, 4), dtype=np.uint8), tmp_path / "00.png")
    assert files(tmp_path) == []


def test_contact_sheet_has_a_row_and_a_label_for_each_shape():
    full = np.full((2, 30, 30, 4), 255, dtype=np.uint8)
    full[..., :3] = [200, 0, 0]
    empty = np.zeros((2, 30, 30, 4), dtype=np.uint8)
    sheet = recipe.contact_sheet([("chair/a", full), ("long/" * 90 + "é", empty)])
    assert sheet.shape == (2 * (112 + 14), 2 * 112, 3)
    assert (sheet[:112] == [200, 0, 0]).all()
    assert (sheet[126:238] == 255).all()
    for top in (112, 238):
        strip = sheet[top : top + 14].astype(int)
        assert strip.min() < 150  # there is writing,
        assert (strip.max(axis=-1) - strip.min(axis=-1) == 0).all()  # grey,
        assert (strip[:, -4:] == 255).all()  # that ends before the border
