"""Real processes: a command line, torchrun, and ranks of a gloo process group."""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import torch

from pointssl.engine.distributed import start_world

ROOT = Path(__file__).resolve().parents[2]
ENV = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(
        str(ROOT / part) for part in ("", "cli", "datasets", "tests/helpers")
    ),
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
LIMIT = 150  # seconds: far more than anything here takes


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def command(*arguments, ranks=None):
    """``pointssl ...``, alone or on ``ranks`` processes under torchrun."""
    program = [sys.executable]
    if ranks:
        program += ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
        program += ["--master-port", str(free_port())]
    return [*program, "-m", "pointssl", *map(str, arguments)]


def pointssl(*arguments, ranks=None, env=None):
    """The finished process, with its output."""
    return subprocess.run(
        command(*arguments, ranks=ranks),
        env={**ENV, **(env or {})},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


@contextlib.contextmanager
def started(*arguments, ranks=None):
    """A running process; it does not outlive the test."""
    process = subprocess.Popen(
        command(*arguments, ranks=ranks),
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until(happened, process):
    """Until ``happened()``; fails when the process ends first."""
    end = time.monotonic() + LIMIT
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)


def assert_no_traceback(stderr):
    """None through our source; torchrun shows one of its own when a process fails."""
    assert "gloo/transport" not in stderr, stderr
    for folder in ("pointssl/recipes", "pointssl/engine", "pointssl_cli", "pointssl_datasets"):
        assert f"{folder}/" not in stderr, stderr


def run_ranks(job, ranks, folder, *arguments):
    """``job(world, *arguments)`` of a module in tests/ on each of ``ranks`` processes.

    Returns:
        what each rank's job returned: tensors and plain values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    place = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = [
        context.Process(target=_rank, args=(job, rank, place, folder, arguments), daemon=True)
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    end = time.monotonic() + LIMIT
    try:
        for process in processes:
            process.join(max(0.0, end - time.monotonic()))
        assert [process.exitcode for process in processes] == [0] * ranks
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


def _rank(job, rank, place, folder, arguments):
    os.environ.update(place, RANK=str(rank), LOCAL_RANK=str(rank))
    with start_world("cpu", threads=1) as world:
        torch.save(job(world, *arguments), folder / f"{rank}.pt")
    assert threads_of_the_group() == []  # at the interpreter's end they would abort the process


def threads_of_the_group():
    """The threads of gloo that run in this process; Linux names them."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]
