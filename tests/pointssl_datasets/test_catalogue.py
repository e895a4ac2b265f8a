"""The table of datasets: that it is complete and sane, and that the openers agree with it."""

import re
import urllib.parse

import pytest

from pointssl_datasets import DATASETS
from pointssl_datasets.base.opening import open_source
from pointssl_datasets.catalogue import CATALOGUE, splits_of
from pointssl_datasets.sets import modelnet_off, primitives, scanobjectnn, shapenet55


def test_every_dataset_and_nothing_else():
    assert list(CATALOGUE) == list(DATASETS)


@pytest.mark.parametrize("name", CATALOGUE)
def test_entry_is_sane(name):
    entry = CATALOGUE[name]
    assert entry.title
    assert entry.layout
    assert "\n" not in entry.title + entry.layout + entry.terms + entry.how
    assert entry.up_axis in ("x", "y", "z")
    assert entry.gigabytes is None or 0 < entry.gigabytes < 1000
    assert all(number > 0 for number in entry.clouds.values())
    assert set(entry.clouds) <= {"train", "val", "test"}
    from_elsewhere = entry.origin in ("download", "by hand")
    assert bool(entry.terms) == bool(entry.home) == bool(entry.folder) == from_elsewhere
    assert bool(entry.archives) == (entry.origin == "download")
    assert entry.archives or entry.how  # there is always a way
    if entry.home:
        assert urllib.parse.urlsplit(entry.home).scheme in ("http", "https")
    if entry.folder:
        assert re.fullmatch(r"[A-Za-z0-9_-]+", entry.folder)


@pytest.mark.parametrize("name", CATALOGUE)
def test_archives_are_sane(name):
    entry = CATALOGUE[name]
    names = [archive.file_name for archive in (*entry.archives, *entry.others)]
    assert len(set(names)) == len(names)
    assert all(archive.urls for archive in entry.archives)
    for archive in (*entry.archives, *entry.others):
        assert len(set(archive.urls)) == len(archive.urls)
        for url in archive.urls:
            parts = urllib.parse.urlsplit(url)
            assert parts.scheme in ("http", "https")
            assert parts.path.rpartition("/")[2] == archive.file_name
            # What comes without encryption is nothing without a checksum.
            assert parts.scheme == "https" or archive.sha256
        assert archive.sha256 is None or re.fullmatch("[0-9a-f]{64}", archive.sha256)
        assert archive.md5 is None or re.fullmatch("[0-9a-f]{32}", archive.md5)
        assert archive.size is None or 1e8 < archive.size < 1e11


def test_official_numbers():
    official = CATALOGUE["modelnet-off"].official
    assert (official("train", 40), official("test", 40)) == (9843, 2468)
    assert (official("train", 10), official("test", 10)) == (3991, 908)
    assert official("train", 7) is None
    assert CATALOGUE["modelnet40"].official("train") == 9840
    assert CATALOGUE["modelnet40"].official("val") is None
    assert CATALOGUE["shapes"].official("train", 16) is None


def test_openers_have_the_same_numbers():
    assert CATALOGUE["modelnet-off"].by_classes == modelnet_off.OFFICIAL
    assert CATALOGUE["shapenet55"].clouds == shapenet55.COUNTS
    for variant in ("obj_bg", "obj_only", "pb_t50_rs"):
        assert CATALOGUE[f"scanobjectnn-{variant}"].clouds == scanobjectnn._VARIANTS[variant].counts
    assert CATALOGUE["scanobjectnn-obj_bg"].classes == len(scanobjectnn.CLASSES)


@pytest.mark.parametrize("name", ["shapes", "primitives"])
def test_generated_datasets_are_as_said(name):
    source = open_source(name, None, "train", size=3)
    assert source.up_axis == CATALOGUE[name].up_axis
    assert len(source.classes) == (CATALOGUE[name].classes or 0)
    assert primitives.SPLITS["train"] == 10_000


def test_the_splits_of_a_dataset_do_not_overlap():
    assert splits_of("shapenetpart") == ("train", "val", "test")
    assert splits_of("shapenet55") == ("train", "test")
    assert splits_of("my_package.module:Data") == ("train", "val", "test")
    assert all("trainval" not in splits_of(name) for name in DATASETS)
