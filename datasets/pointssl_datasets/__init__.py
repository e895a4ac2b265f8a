"""Datasets of point clouds, alone or beside pictures. One file per dataset.

Every entry is a function ``open(root, split, *, size, seed, up_axis, on_unpaired) -> Source``; to
add a dataset, write one and name it here, or pass ``--data my_package.module:open_mine``.
"""

DATASETS: dict[str, str] = {
    "shapes": "pointssl_datasets.shapes:open_shapes",
    "modelnet40": "pointssl_datasets.modelnet:open_modelnet",
    "modelnet10": "pointssl_datasets.modelnet:open_modelnet10",
    "shapenet-render": "pointssl_datasets.shapenet_render:open_shapenet_render",
    "folder": "pointssl_datasets.folder:open_folder",
}
