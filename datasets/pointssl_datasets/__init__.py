"""Datasets of point clouds, alone or beside pictures. One file per dataset.

Every entry is a function ``open(root, split) -> Source``, with whichever further options it has a
use for (:mod:`pointssl_datasets.opening`). To add a dataset, write one and name it here, or pass
``--data my_package.module:MyDataset``.
"""

DATASETS: dict[str, str] = {
    "shapes": "pointssl_datasets.shapes:open_shapes",
    "primitives": "pointssl_datasets.primitives:open_primitives",
    "modelnet40": "pointssl_datasets.modelnet:open_modelnet",
    "modelnet10": "pointssl_datasets.modelnet:open_modelnet10",
    "modelnet40-normal": "pointssl_datasets.modelnet40_normal:open_modelnet40_normal",
    "modelnet-off": "pointssl_datasets.modelnet_off:open_modelnet_off",
    "scanobjectnn-obj_bg": "pointssl_datasets.scanobjectnn:open_obj_bg",
    "scanobjectnn-obj_only": "pointssl_datasets.scanobjectnn:open_obj_only",
    "scanobjectnn-pb_t50_rs": "pointssl_datasets.scanobjectnn:open_pb_t50_rs",
    "shapenetpart": "pointssl_datasets.shapenetpart:open_shapenetpart",
    "shapenet55": "pointssl_datasets.shapenet55:open_shapenet55",
    "shapenet-render": "pointssl_datasets.shapenet_render:open_shapenet_render",
    "s3dis": "pointssl_datasets.s3dis:open_s3dis",
    "folder": "pointssl_datasets.folder:open_folder",
    "packed": "pointssl_datasets.packed:open_packed",
}

GENERATED = ("shapes", "primitives")  # from a seed: nothing to download, and never without pictures
