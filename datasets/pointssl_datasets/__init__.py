"""Datasets of point clouds, alone or beside pictures. One file per dataset.

Every entry is a function ``open(root, split) -> Source`` that may take further options by name, see
:mod:`pointssl_datasets.base.opening`. To add a dataset, write such a function and name it here, or
pass ``--data my_package.module:MyDataset``.
"""

DATASETS: dict[str, str] = {
    "shapes": "pointssl_datasets.sets.shapes:open_shapes",
    "primitives": "pointssl_datasets.sets.primitives:open_primitives",
    "modelnet40": "pointssl_datasets.sets.modelnet:open_modelnet",
    "modelnet10": "pointssl_datasets.sets.modelnet:open_modelnet10",
    "modelnet40-normal": "pointssl_datasets.sets.modelnet40_normal:open_modelnet40_normal",
    "modelnet-off": "pointssl_datasets.sets.modelnet_off:open_modelnet_off",
    "scanobjectnn-obj_bg": "pointssl_datasets.sets.scanobjectnn:open_obj_bg",
    "scanobjectnn-obj_only": "pointssl_datasets.sets.scanobjectnn:open_obj_only",
    "scanobjectnn-pb_t50_rs": "pointssl_datasets.sets.scanobjectnn:open_pb_t50_rs",
    "shapenetpart": "pointssl_datasets.sets.shapenetpart:open_shapenetpart",
    "shapenet55": "pointssl_datasets.sets.shapenet55:open_shapenet55",
    "shapenet-render": "pointssl_datasets.sets.shapenet_render:open_shapenet_render",
    "s3dis": "pointssl_datasets.sets.s3dis:open_s3dis",
    "folder": "pointssl_datasets.sets.folder:open_folder",
    "packed": "pointssl_datasets.sets.packed:open_packed",
}

GENERATED = ("shapes", "primitives")  # from a seed: nothing to download, and never without pictures
