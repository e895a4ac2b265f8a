"""The table of datasets: that it is complete and sane, and that the openers agree with it."""

import re
import subprocess
import sys
import urllib.parse
from importlib import import_module

import pytest
from processes import ENV

from pointssl_datasets import DATASETS
from pointssl_datasets.catalogue import CATALOGUE, splits_of
from pointssl_datasets.serving.opening import open_source


def test_every_dataset_and_nothing_else():
    assert list(CATALOGUE) == list(DATASETS)
    assert len(CATALOGUE) == len(DATASETS)
    assert CATALOGUE.get("nosuch") is None


def test_an_entry_stands_beside_its_opener():
    modules = {target.partition(":")[0] for target in DATASETS.values()}
    for module in modules:
        for name in import_module(module).ENTRIES:
            assert DATASETS[name].startswith(f"{module}:open_")


def test_looking_up_one_entry_imports_no_other_dataset():
    code = (
        "import sys; from pointssl_datasets.catalogue import CATALOGUE; "
        "assert 'numpy' not in sys.modules; CATALOGUE['packed']; "
        "print([name for name in sys.modules if name.startswith('pointssl_datasets.sets.')])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['pointssl_datasets.sets.packed']"


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


# As the papers and the authors' lists of files have them.
OFFICIAL = {
    "modelnet40": (40, 9840, 2468),
    "modelnet10": (10, 3991, 908),
    "modelnet40-normal": (40, 9843, 2468),
    "scanobjectnn-obj_bg": (15, 2309, 581),
    "scanobjectnn-obj_only": (15, 2309, 581),
    "scanobjectnn-pb_t50_rs": (15, 11416, 2882),
    "shapenetpart": (16, 12137, 2874),
    "shapenet55": (55, 41952, 10518),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_numbers_of_each_dataset(name):
    entry = CATALOGUE[name]
    assert (entry.classes, entry.clouds["train"], entry.clouds["test"]) == OFFICIAL[name]


@pytest.mark.parametrize("name", ["shapes", "primitives"])
def test_generated_datasets_are_as_said(name):
    source = open_source(name, None, "train", size=3)
    assert source.up_axis == CATALOGUE[name].up_axis
    assert len(source.classes) == (CATALOGUE[name].classes or 0)


def test_the_splits_of_a_dataset_do_not_overlap():
    assert splits_of("shapenetpart") == ("train", "val", "test")
    assert splits_of("shapenet55") == ("train", "test")
    assert splits_of("my_package.module:Data") == ("train", "val", "test")
    assert all("trainval" not in splits_of(name) for name in DATASETS)
