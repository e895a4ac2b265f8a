"""Small sources, packed."""

from cloud_files import random_cloud

from pointssl_datasets.base.source import Cloud, Source
from pointssl_datasets.packing.pack import pack


def make_source(clouds, **options):
    given = {"dataset": "mine", "split": "train", "classes": ("a", "b"), "up_axis": "y"}
    given |= {"key": "k", "names": [cloud["name"] for cloud in clouds]}
    return Source(**({"read": lambda i: Cloud(**clouds[i])} | given | options))


def make_clouds(sizes=(20, 30, 25), **more):
    return [
        Cloud(name=f"c{i}", xyz=random_cloud(size, i), label=i % 2, **more)
        for i, size in enumerate(sizes)
    ]


def packed(tmp_path, clouds, normalise="none", **options):
    source = make_source(clouds, **options)
    return pack(source, normalise=normalise, cache_dir=tmp_path, progress=False)


def files_under(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
