"""Folders of the cache: atomic, shared by processes that race, swept of what the dead left."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from packing_sources import files_under, make_clouds, packed

from pointssl_datasets.base import locking
from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.paths import cache_root
from pointssl_datasets.packing import cache


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DataError, match=r"cannot write the cache .*file/cache/clouds: Not a dir"
    ) as e:
        packed(tmp_path / "file/cache", make_clouds())
    assert "--cache-dir or $POINTSSL_CACHE" in str(e.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a full device")
def test_a_full_disk(tmp_path):
    def write(folder):
        (folder / "data").symlink_to("/dev/full")
        with (folder / "data").open("wb") as file:
            file.write(bytes(100_000))

    with pytest.raises(DataError, match=r"No space left on device\. Name a folder with space"):
        cache.built_folder(tmp_path / "a", write)
    assert files_under(tmp_path) == ["a.lock"]


def test_cache_root(tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSSL_CACHE", str(tmp_path / "env"))
    assert cache_root(tmp_path / "given") == tmp_path / "given"
    assert cache_root(None) == tmp_path / "env"
    monkeypatch.delenv("POINTSSL_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root(None) == tmp_path / ".cache/pointssl"


SLOW_PACKER = """
import sys, time
from pathlib import Path
import numpy as np
from pointssl_datasets.packing.arrays import read_array, read_meta
from pointssl_datasets.packing.pack import pack
from pointssl_datasets.base.source import Cloud, Source

cache, log, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])

def read(index):
    if not index:
        with log.open("a") as file:
            file.write("read\\n")
    time.sleep(pause)
    return Cloud(xyz=np.eye(3, dtype=np.float32) * (index + 1), label=0)

source = Source(dataset="slow", split="train", classes=("a",), up_axis="y", key="k",
                names=[f"c{i}" for i in range(10)], read=read)
folder = pack(source, normalise="none", cache_dir=cache, progress=False)
assert len(read_array(folder, "xyz")) == 30
print(read_meta(folder)["fingerprint"])
"""


def start_packer(cache, log, pause):
    arguments = [sys.executable, "-c", SLOW_PACKER, str(cache), str(log), str(pause)]
    sources = str(Path(__file__).resolve().parents[3] / "datasets")
    known = os.environ.get("PYTHONPATH", "")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [sources, known]))}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def test_processes_that_start_together_do_the_work_once(tmp_path):
    place, log = tmp_path / "cache", tmp_path / "log"
    running = [start_packer(place, log, 0.1) for _ in range(3)]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(set(said)) == 1
    assert log.read_text() == "read\n"
    assert not list(place.rglob("*.tmp-*"))


def test_what_a_killed_packer_left_is_removed_but_not_what_a_living_one_writes(tmp_path):
    place, log = tmp_path / "cache", tmp_path / "log"
    killed = start_packer(place, log, 30)
    wait_for(lambda: list(place.rglob("*.tmp-*/*.npy")) or list(place.rglob("*.tmp-*")))
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    assert len(list(place.rglob("*.tmp-*"))) == 1

    left = list(place.rglob("*.tmp-*"))
    living = start_packer(place, log, 30)  # takes the dead one's place, and stays at work
    wait_for(lambda: list(place.rglob("*.tmp-*")) not in ([], left))
    try:
        packed(place, make_clouds())  # another dataset: sweeps, but must spare the living
        assert len(list(place.rglob("*.tmp-*"))) == 1
    finally:
        living.kill()
        living.communicate(timeout=30)

    # What another machine writes can't be told from what it left, until nobody wrote for long.
    far = place / "clouds/far-train-0.tmp-elsewhere-01234567"
    far.mkdir()
    packed(place, make_clouds(), key="another")  # the living is dead now
    assert list(place.rglob("*.tmp-*")) == [far]
    os.utime(far, (0, 0))
    packed(place, make_clouds(), key="yet another")
    assert not list(place.rglob("*.tmp-*"))
    finished = start_packer(place, log, 0)
    assert finished.wait(timeout=30) == 0
    finished.communicate()


def test_without_locks_the_folder_of_the_faster_process_is_taken(tmp_path, monkeypatch):
    def fail(self, timeout):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locking.FileLock, "acquire", fail)

    def write(folder):
        (folder / "data").write_text("mine")
        (tmp_path / "a").mkdir()  # meanwhile, another process finishes
        (tmp_path / "a/data").write_text("theirs")

    assert (cache.built_folder(tmp_path / "a", write) / "data").read_text() == "theirs"
    assert files_under(tmp_path) == ["a/data"]
