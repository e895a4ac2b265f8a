"""Other people's checkpoints: recognised by their keys, loaded into our backbones.

To add a family, describe it in a module here (see :class:`.family.Family`) and name the module in
:data:`MODULES`. The first family in this order whose keys a file has is taken.
"""

import importlib

from pointssl.checkpoints.zoo.family import Family

MODULES: tuple[str, ...] = (
    "pointssl.checkpoints.zoo.dgcnn",
    "pointssl.checkpoints.zoo.point_transformer",
    "pointssl.checkpoints.zoo.masked",
    "pointssl.checkpoints.zoo.point_mamba",
    "pointssl.checkpoints.zoo.pct",
    "pointssl.checkpoints.zoo.pointnet",
    "pointssl.checkpoints.zoo.pointnet2",
)


def families() -> tuple[Family, ...]:
    """All families that are recognised, the most particular first."""
    return tuple(
        family for module in MODULES for family in importlib.import_module(module).FAMILIES
    )
