"""The datasets: one file each, and the table of all.

The file of a dataset has two parts: a function ``open_name(root, split) -> Source``, which may take
further options by name (see :mod:`pointssl_datasets.serving.opening`), and ``ENTRIES = {"name":
Entry(...)}``, what :mod:`pointssl_datasets.catalogue` knows about it. To add a dataset, write that
file and add a line here. Or leave the package alone and pass ``--data package.module:MyDataset``.
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

GENERATED = ("shapes", "primitives")  # from a seed: nothing to download, and always with images
