"""One split of the data that a command's options name, listed or served; for every recipe."""

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
    """``split`` of the data that a command's options name, listed but not packed.

    Args:
        on_unpaired, ignore: as :func:`~pointssl_datasets.serving.opening.open_source` has them.

    Raises:
        DataError, UsageError: as ``open_source``.
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
    """Rank 0 finds and packs ``split``, then the others open it.

    Args:
        progress: show bars (on rank 0).
        served: further arguments of :func:`~pointssl_datasets.serving.dataset.load_dataset`, and
            those that stand instead of the options' own.

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
