"""ShapeNet clouds beside rendered pictures, as CrossPoint lays them out.

``ShapeNet/<synset>/<id>.ply`` and ``ShapeNetRendering/<synset>/<id>/rendering/*.png`` (Afham et
al., CrossPoint, CVPR 2022; pictures of Choy et al., 3D-R2N2, ECCV 2016).
"""

from pathlib import Path

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.base.paths import data_root, find_layout, stat_key
from pointssl_datasets.base.source import Source
from pointssl_datasets.files.readers import MESH_POINTS
from pointssl_datasets.layout.pairs import Item, images_in, item_reader, pair_up
from pointssl_datasets.layout.tree import list_clouds, subfolders

SYNSETS = {
    "02691156": "airplane", "02747177": "trash bin", "02773838": "bag", "02801938": "basket",
    "02808440": "bathtub", "02818832": "bed", "02828884": "bench", "02843684": "birdhouse",
    "02871439": "bookshelf", "02876657": "bottle", "02880940": "bowl", "02924116": "bus",
    "02933112": "cabinet", "02942699": "camera", "02946921": "can", "02954340": "cap",
    "02958343": "car", "02992529": "cellphone", "03001627": "chair", "03046257": "clock",
    "03085013": "keyboard", "03207941": "dishwasher", "03211117": "display",
    "03261776": "earphone", "03325088": "faucet", "03337140": "file cabinet",
    "03467517": "guitar", "03513137": "helmet", "03593526": "jar", "03624134": "knife",
    "03636649": "lamp", "03642806": "laptop", "03691459": "loudspeaker", "03710193": "mailbox",
    "03759954": "microphone", "03761084": "microwave", "03790512": "motorbike",
    "03797390": "mug", "03928116": "piano", "03938244": "pillow", "03948459": "pistol",
    "03991062": "flowerpot", "04004475": "printer", "04074963": "remote", "04090263": "rifle",
    "04099429": "rocket", "04225987": "skateboard", "04256520": "sofa", "04330267": "stove",
    "04379243": "table", "04401088": "telephone", "04460130": "tower", "04468005": "train",
    "04530566": "vessel", "04554684": "washer",
}  # fmt: skip
"""The 55 categories of ShapeNetCore v2."""

_LAYOUT = "ShapeNet/<synset>/<id>.ply and ShapeNetRendering/<synset>/<id>/rendering/*.png"


def open_shapenet_render(
    root: Path | None,
    split: str,
    *,
    on_unpaired: str = "error",
    mesh_points: int | None = None,
    skip: frozenset[str] = frozenset(),
) -> Source:
    """Every pair of cloud and pictures; y-up. There is one split: CrossPoint pretrains on all.

    Raises:
        DataError: missing folders, no clouds, unpaired pictures (``on_unpaired="error"``).
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
        Item(name, path, synsets.index(path.parent.name), _pictures(rendering / name))
        for name, path in clouds.items()
    ]
    orphans = [
        name
        for name in _shape_folders(rendering)
        if name not in clouds and _pictures(rendering / name)
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
    """``"<synset>/<id>"`` of every folder where pictures may be."""
    synsets = subfolders(rendering)
    return [f"{synset}/{shape}" for synset in synsets for shape in subfolders(rendering / synset)]


def _pictures(folder: Path) -> list[Path]:
    """The pictures in ``<id>/rendering``, or else directly in ``<id>``."""
    return images_in(folder / "rendering") or images_in(folder)
