"""Other people's checkpoints: recognised by their keys, loaded into our backbones.

To add a family, describe it in a module here (see :class:`pointssl.zoo.family.Family`) and name the
module in :data:`MODULES`. The first family whose marks a file has is taken, in this order.
"""

import importlib

from pointssl.zoo.family import Family

MODULES: tuple[str, ...] = (
    "pointssl.zoo.dgcnn",
    "pointssl.zoo.point_transformer",
    "pointssl.zoo.masked",
    "pointssl.zoo.point_mamba",
    "pointssl.zoo.pct",
    "pointssl.zoo.pointnet",
    "pointssl.zoo.pointnet2",
)


def families() -> tuple[Family, ...]:
    """All families that are recognised, the most particular first."""
    return tuple(
        family for module in MODULES for family in importlib.import_module(module).FAMILIES
    )
