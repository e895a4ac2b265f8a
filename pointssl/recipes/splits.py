"""Opens a split of the dataset in a command's options, as a listing or as a torch dataset."""

from collections.abc import Callable, Iterable
from typing import Any

from pointssl.config.groups import DataOptions, SourceOptions
from pointssl.engine.distributed import World
from pointssl_datasets.base.source import Source
from pointssl_datasets.serving.dataset import load_dataset
from pointssl_datasets.serving.mixing import PREFIX, PointDataset, load_mixture
from pointssl_datasets.serving.opening import open_source


def list_split(
    options: SourceOptions,
    split: str,
    *,
    on_unpaired: str,
    ignore: Iterable[str] = (),
) -> Source:
    """``split`` of the dataset in the options, listed but not packed.

    Args:
        on_unpaired, ignore: see :func:`~pointssl_datasets.serving.opening.open_source`.

    Raises:
        DataError, UsageError: as ``open_source`` does.
    """
    return open_source(
        options.data,
        options.data_root,
        split,
        size=options.size,
        seed=options.data_seed,
        up_axis=options.up_axis,
        on_unpaired=on_unpaired,
        mesh_points=options.mesh_points,
        skip_list=options.skip_list,
        ignore=ignore,
    )


def open_split(
    options: DataOptions, split: str, world: World, *, progress: bool = False, **served: Any
) -> PointDataset:
    """Opens ``split`` on all ranks; rank 0 packs it first if needed.

    Args:
        progress: show progress bars (on rank 0).
        served: further arguments of :func:`~pointssl_datasets.serving.dataset.load_dataset`, and
            values that replace those of the options.

    Raises:
        DataError, UsageError: as ``load_dataset``.
    """
    arguments = {
        "points": options.points,
        "sampling": options.sampling,
        "normals": options.normals,
        "normalise": options.normalise,
        "up_axis": options.up_axis,
        "on_unpaired": options.on_unpaired,
        "mesh_points": options.mesh_points,
        "skip_list": options.skip_list,
        "size": options.size,
        "data_seed": options.data_seed,
        "cache_dir": options.cache_dir,
        "progress": progress and world.is_main,
    }

    load_any: Callable[..., PointDataset] = load_dataset
    if options.data.startswith(PREFIX):
        load_any = load_mixture

    def load() -> PointDataset:
        return load_any(options.data, options.data_root, split, **{**arguments, **served})

    return world.main_first(load)
