"""Locks between processes: exclusive, waited for, gone with their process, absent where need be."""

import errno
import multiprocessing
import os
import signal
import time

import pytest

from pointssl_datasets.base import locking
from pointssl_datasets.base.locking import Busy, Lock, locked

SPAWN = multiprocessing.get_context("spawn")


def hold(path, ready, seconds):
    lock = Lock(path, wait=True)
    ready.set()
    time.sleep(seconds)
    lock.release()


def work(folder, log):
    """Asks for the folder, and says when it was inside; the folder is gone afterwards."""
    with locked(folder, lambda line: None):
        with open(log, "a") as file:
            file.write("in\n")
        time.sleep(0.05)
        with open(log, "a") as file:
            file.write("out\n")
        folder.rmdir()


@pytest.fixture
def holder(tmp_path):
    ready = SPAWN.Event()
    process = SPAWN.Process(target=hold, args=(tmp_path / "lock", ready, 60))
    process.start()
    assert ready.wait(30)
    yield process
    process.kill()
    process.join()


def test_another_process_is_kept_out_until_the_first_is_killed(tmp_path, holder):
    with pytest.raises(Busy):
        Lock(tmp_path / "lock", wait=False)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    lock = Lock(tmp_path / "lock", wait=False)
    assert lock.held
    lock.release(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_two_locks_of_one_process_exclude_each_other(tmp_path):
    first = Lock(tmp_path / "lock", wait=False)
    with pytest.raises(Busy):
        Lock(tmp_path / "lock", wait=False)
    first.release()
    assert (tmp_path / "lock").exists()
    Lock(tmp_path / "lock", wait=False).release()


def test_processes_take_turns_in_a_folder_that_each_removes(tmp_path):
    folder, log = tmp_path / "place" / "work", tmp_path / "log"
    workers = [SPAWN.Process(target=work, args=(folder, log)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert log.read_text().split() == ["in", "out"] * 4
    assert list((tmp_path / "place").iterdir()) == []


def test_waiting_is_told(tmp_path, holder):
    (tmp_path / "lock").rename(tmp_path / ".work.lock")  # what the holder holds
    said = []

    def stop(line):
        said.append(line)
        os.kill(holder.pid, signal.SIGKILL)

    with locked(tmp_path / "work", stop):
        assert (tmp_path / "work").is_dir()
    assert said == [f"another process is at work in {tmp_path / 'work'}: waiting for it"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EROFS])
def test_file_systems_without_locks_keep_working(tmp_path, monkeypatch, code):
    def fail(self, timeout):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locking.FileLock, "acquire", fail)
    lock = Lock(tmp_path / "lock", wait=False)
    assert not lock.held
    lock.release(remove=True)
    with locked(tmp_path / "work", print):
        assert (tmp_path / "work").is_dir()


def test_a_system_without_flock_leaves_no_lock_that_outlives_its_process(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def missing(*_):
        raise OSError(errno.ENOSYS, "no flock")

    monkeypatch.setattr(fcntl, "flock", missing)
    assert not Lock(tmp_path / "lock", wait=False).held
    assert not Lock(tmp_path / "lock", wait=False).held  # a soft lock would be busy now
