"""Two torchrun agents, each in a network of its own, by the command that the manual gives."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from in_process import worked
from processes import ENV, LIMIT, ROOT
from tiny import flags, options, write_clouds
from torch.distributed.run import get_args_parser

from pointssl.runs.trackers import read_metrics

MANUAL = ROOT / "docs" / "distributed.md"
SBATCH = ROOT / "docs" / "examples" / "pretrain.sbatch"
NODES = ("node0", "node1")
ADDRESSES = ("10.213.87.1", "10.213.87.2")
ETC = Path("/etc/netns")
NEEDED = ("ip", "unshare", "hostname")


def words_after(heading, text):
    """The command in the first block of code under a heading of the manual."""
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return shlex.split(section.split("```")[1].replace("\\\n", " "))


def agent(node):
    """The manual's command on a node that is called so, up to the options of pretrain."""
    words = words_after("Two machines", MANUAL.read_text())
    assert words[0] == "torchrun"
    words = [word.replace("NODE0", NODES[0]) for word in words[1 : words.index("pretrain") + 1]]
    words[words.index("--nproc-per-node") + 1] = "1"
    called = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', NODES[node]]
    return [*called, sys.executable, "-m", "torch.distributed.run", *words]


@contextlib.contextmanager
def two_networks():
    """Names of two network namespaces, with a virtual cable between them and nothing else.

    `ip netns exec` shows a namespace the files of /etc/netns/NAME as those of /etc.
    """
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing or os.geteuid():
        pytest.skip(f"making network namespaces takes root and {', '.join(NEEDED)}")
    names = [f"pointssl-{os.getpid()}-{node}" for node in range(2)]

    def ip(*words):
        done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=30)
        if done.returncode:
            pytest.skip(f"no network namespaces here: ip {' '.join(words)}: {done.stderr.strip()}")

    hosts = "".join(f"{a} {n}\n" for a, n in zip(ADDRESSES, NODES, strict=True))
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable",
           "netns", names[1])  # fmt: skip
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", "cable", "up")
            (ETC / name).mkdir(parents=True)
            (ETC / name / "hosts").write_text(hosts)
        yield names
    finally:
        for name in names:
            shutil.rmtree(ETC / name, ignore_errors=True)
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=30)


def run_agents(names, words, folder):
    """The manual's command in both networks at once; their output."""
    agents = []
    try:
        for node, name in enumerate(names):
            with open(folder / f"node{node}.txt", "wb") as file:
                inside = ["ip", "netns", "exec", name, *agent(node), *map(str, words)]
                agents.append(subprocess.Popen(inside, env=ENV, stdout=file, stderr=file))
        codes = [process.wait(LIMIT) for process in agents]
    finally:
        for process in agents:
            process.terminate()  # an agent ends its ranks
            process.wait()
    said = [(folder / f"node{node}.txt").read_text() for node in range(len(names))]
    assert codes == [0, 0], said
    return said


def test_two_nodes_are_one_process(capfd, tmp_path):
    root = write_clouds(tmp_path / "clouds")
    shape = {
        "backbone": "tiny:PointMlp",
        "backbone_arg": None,
        "sync_bn": True,
        "optimizer": "sgd",
        "lr": 0.05,
    }  # Adam makes steps of rounding errors
    one = options(root, tmp_path / "one", **shape)
    threads = torch.get_num_threads()
    with two_networks() as names:
        worked(capfd, "pretrain", *flags(one))
        torch.set_num_threads(threads)
        said = run_agents(names, flags(one | {"run_dir": tmp_path / "two"}), tmp_path)
    assert "2 process(es) on cpu, batch 8 in all" in said[0]
    assert "epoch 2:" in said[0]
    assert "epoch 2:" not in said[1]  # rank 0 alone speaks
    rows = [read_metrics(tmp_path / name) for name in ("one", "two")]
    assert len(rows[0]) == 2
    for alone, both in zip(*rows, strict=True):
        for meter in ("loss_within", "loss_cross", "embedding_std", "negatives"):
            assert both[meter] == pytest.approx(alone[meter], rel=1e-4), meter
    weights = [
        torch.load(tmp_path / name / "checkpoints" / "last.pt", weights_only=True)["method"]
        for name in ("one", "two")
    ]
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, rtol=1e-4, atol=1e-5)


def test_what_the_manual_tells_torchrun_it_knows():
    parser = get_args_parser()
    text = MANUAL.read_text()
    script = " ".join(SBATCH.read_text().split("srun torchrun")[1].replace("\\\n", " ").split())
    script = script.replace("${SLURM_GPUS_ON_NODE:-1}", "8").replace("$SLURM_JOB_NUM_NODES", "2")
    for words in (
        words_after("One machine", text)[1:],
        words_after("Two machines", text)[1:],
        shlex.split(script),
    ):
        known = parser.parse_args(words)
        assert known.module
        assert known.training_script == "pointssl"
        assert known.training_script_args[0] == "pretrain"
    assert (known.nnodes, known.nproc_per_node, known.rdzv_backend) == ("2", "8", "c10d")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_slurm_script_is_one_that_bash_reads():
    done = subprocess.run(["bash", "-n", SBATCH], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    lines = SBATCH.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    # sbatch stops reading its options at the first command
    commands = [n for n, line in enumerate(lines) if line and not line.startswith("#")]
    assert all(n < commands[0] for n, line in enumerate(lines) if line.startswith("#SBATCH"))
