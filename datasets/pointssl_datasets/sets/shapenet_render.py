"""ShapeNet clouds with rendered images, in the layout of CrossPoint.

``ShapeNet/<synset>/<id>.ply`` and ``ShapeNetRendering/<synset>/<id>/rendering/*.png`` (Afham et
al., CrossPoint, CVPR 2022; images of Choy et al., 3D-R2N2, ECCV 2016).
"""

from pathlib import Path

from pointssl_datasets.base.entry import Entry
from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.paths import data_root, find_layout, stat_key
from pointssl_datasets.base.source import Source
from pointssl_datasets.files.readers import MESH_POINTS
from pointssl_datasets.layout.pairs import Item, images_in, item_reader, pair_up
from pointssl_datasets.layout.tree import list_clouds, subfolders
from pointssl_datasets.sets.shapenet import SYNSETS, TERMS

_LAYOUT = "ShapeNet/<synset>/<id>.ply and ShapeNetRendering/<synset>/<id>/rendering/*.png"

ENTRIES = {
    "shapenet-render": Entry(
        title="ShapeNet clouds paired with rendered pictures, as CrossPoint reads it",
        layout="ShapeNet/SYNSET/NAME.ply, ShapeNetRendering/SYNSET/NAME/rendering/*.png",
        up_axis="y",
        terms=TERMS,
        home="https://github.com/MohamedAfham/CrossPoint",
        folder="shapenet-render",
        how="CrossPoint's README links the archives on a shared drive: give shapenet.tar.gz and "
        "shapenet_render.tar.gz with --from, once each.",
    )
}


def open_shapenet_render(
    root: Path | None,
    split: str,
    *,
    on_unpaired: str = "error",
    mesh_points: int | None = None,
    skip: frozenset[str] = frozenset(),
) -> Source:
    """All pairs of a cloud and its images; y-up. The only split is train, for pretraining.

    Raises:
        DataError: missing folders, no clouds, unpaired images (``on_unpaired="error"``).
        UsageError: a split other than train.
    """
    if split != "train":
        raise UsageError(
            f"shapenet-render has no split {split!r}: all of it is for pretraining (train). "
            "Evaluate on --data modelnet40, modelnet10 or folder instead."
        )
    given = data_root(root, "shapenet-render")
    layout = f"{_LAYOUT} (clouds alone: --data folder)"
    folder = find_layout(given, _fits, "shapenet-render", layout)
    clouds = _clouds(folder / "ShapeNet")
    if not clouds:
        raise DataError(f"{folder / 'ShapeNet'}: no clouds. Expected {_LAYOUT}.")
    rendering = folder / "ShapeNetRendering"
    synsets = sorted({path.parent.name for path in clouds.values()})
    items = [
        Item(name, path, synsets.index(path.parent.name), _images(rendering / name))
        for name, path in clouds.items()
    ]
    orphans = [
        name
        for name in _shape_folders(rendering)
        if name not in clouds and _images(rendering / name)
    ]
    items, notes = pair_up(items, orphans, on_unpaired, folder, skip)
    points = mesh_points or MESH_POINTS
    images = [str(path) for item in items for path in item.images]
    return Source(
        dataset="shapenet-render",
        split=split,
        classes=tuple(SYNSETS.get(synset, synset) for synset in synsets),
        up_axis="y",
        key=stat_key([item.path for item in items], *images, str(points)),
        names=[item.name for item in items],
        read=item_reader(items, points),
        notes=notes,
    )


def _fits(folder: Path) -> bool:
    return (folder / "ShapeNet").is_dir() and (folder / "ShapeNetRendering").is_dir()


def _clouds(folder: Path) -> dict[str, Path]:
    """``"<synset>/<id>"`` -> cloud file, sorted."""
    return {
        f"{synset}/{stem}": path
        for synset in subfolders(folder)
        for stem, path in list_clouds(folder / synset).clouds.items()
    }


def _shape_folders(rendering: Path) -> list[str]:
    """``"<synset>/<id>"`` of every folder that may contain images."""
    synsets = subfolders(rendering)
    return [f"{synset}/{shape}" for synset in synsets for shape in subfolders(rendering / synset)]


def _images(folder: Path) -> list[Path]:
    """The images in ``<id>/rendering``, or else directly in ``<id>``."""
    return images_in(folder / "rendering") or images_in(folder)
