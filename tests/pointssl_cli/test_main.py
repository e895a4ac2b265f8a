"""The program from outside: help, exit codes, one line per error, torchrun. Real processes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import pointssl
from pointssl_cli.failures import explain
from pointssl_datasets.base.errors import DataError, UsageError

ROOT = Path(__file__).resolve().parents[2]

# `pointssl` with one more command that fails in the way it is told to.
FAILING = """
import os, sys, time
from pointssl_cli import main as program
from pointssl_datasets.base.errors import DataError

@program.app.command("fail")
def fail(how: str):
    if how == "data":
        raise DataError("some/place: nothing there. Look elsewhere.")
    if how == "rank1":
        if os.environ["RANK"] == "1":
            raise DataError("some/place: only missing on node 1.")
        time.sleep(60)
    if how == "full":
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)
    if how == "denied":
        raise PermissionError(13, "Permission denied", "some/file")
    if how == "memory":
        import numpy
        numpy.ones(10**15)
    if how == "bug":
        raise ZeroDivisionError("of ours")
    if how == "many lines":
        for i in range(100_000):
            print(i)
    if how == "wait":
        print("waiting", flush=True)
        time.sleep(60)

program.main()
"""


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join(str(ROOT / part) for part in ("", "cli", "datasets"))
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "TORCHELASTIC_ERROR_FILE")}
    return {**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}


def pointssl_(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pointssl", *arguments],
        capture_output=True,
        text=True,
        env=environment(**env),
        timeout=60,
    )


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    path = tmp_path / "failing.py"
    path.write_text(FAILING)
    return path


def fail(script: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        env=environment(**env),
        timeout=60,
    )


def test_version_and_help() -> None:
    done = pointssl_("--version")
    assert (done.returncode, done.stdout) == (0, f"pointssl {pointssl.__version__}\n")
    for arguments in ([], ["--help"], ["-h"]):
        done = pointssl_(*arguments)
        assert done.returncode == 0
        for command in ("pretrain", "extract", "eval-svm", "data", "demo", "doctor"):
            assert re.search(rf"\b{command}\b", done.stdout)
        assert "--debug" not in done.stdout
    assert "render" in pointssl_("data").stdout


@pytest.mark.parametrize(
    "command", ["pretrain", "extract", "eval-svm", "data render", "demo", "doctor"]
)
def test_help_is_quick_because_it_imports_nothing_heavy(command: str, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pointssl_cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = [m for m in ('torch', 'numpy', 'scipy', 'sklearn', 'PIL') if m in sys.modules]\n"
        "print(code, heavy, file=sys.stderr)\n"
    )
    (tmp_path / "help.py").write_text(code)
    done = fail(tmp_path / "help.py", *command.split(), "--help")
    assert done.stderr == "0 []\n"
    assert "[default: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("pretrian", "No such command 'pretrian'. Did you mean 'pretrain'?"),
        ("pretrain --bacth-size 3", "--batch-size"),
        ("pretrain --batch-size three", "--batch-size"),
        ("pretrain --batch-size 0", "--batch-size 0: must be at least 2"),
        ("pretrain --amp bf61", "did you mean 'bf16'?"),
        ("pretrain --config absent.yaml", "--config absent.yaml: No such file"),
        ("pretrain extra", "extra"),
        ("pretrain --lr", "--lr"),
    ],
)
def test_wrong_usage_is_two_lines_at_most_and_2(arguments: str, said: str) -> None:
    done = pointssl_(*arguments.split())
    assert done.returncode == 2
    assert done.stdout == ""
    first, *rest = done.stderr.splitlines()
    assert first.startswith("pointssl: error: ")
    assert said in first
    assert len(rest) <= 1
    assert all(line.startswith("See `pointssl") for line in rest)


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("data", "some/place: nothing there. Look elsewhere."),
        ("full", "No space left on device. Free some space, or name another folder."),
        ("denied", "some/file: Permission denied. Name a place where you may read and write."),
        ("memory", r"out of memory: 7.11 PiB were wanted. Lower --batch-size, .*"),
    ],
)
def test_what_the_user_can_mend_is_one_line(failing: Path, how: str, line: str) -> None:
    if how == "full" and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    done = fail(failing, "fail", how)
    assert done.returncode == 1
    assert re.fullmatch(f"pointssl: error: {line}\n", done.stderr)


def test_bugs_keep_their_traceback_and_debug_shows_all(failing: Path) -> None:
    done = fail(failing, "fail", "bug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("ZeroDivisionError: of ours\n")
    done = fail(failing, "--debug", "fail", "data")
    assert "Traceback" in done.stderr
    assert "nothing there" in done.stderr


def running(program: Path, what: str) -> "subprocess.Popen[bytes]":
    """``program fail WHAT``, with pipes to read from."""
    return subprocess.Popen(
        [sys.executable, str(program), "fail", what],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )


def test_a_closed_pipe_is_quiet(failing: Path) -> None:
    with running(failing, "many lines") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


def test_interrupt_is_130(failing: Path) -> None:
    with running(failing, "wait") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"pointssl: interrupted\n"
        assert process.wait(30) == 130


def test_other_ranks_are_silent_and_exit_the_same(failing: Path, tmp_path: Path) -> None:
    record = tmp_path / "error.json"
    done = fail(failing, "fail", "data", RANK="3", TORCHELASTIC_ERROR_FILE=str(record))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert "some/place: nothing there." in record.read_text()
    assert fail(failing, "fail", "data", RANK="0").stderr.count("some/place") == 1


def test_torchrun_shows_the_line_of_a_rank_that_fails_alone(failing: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", str(failing), "fail", "rank1"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    assert done.returncode == 1
    assert "error: some/place: only missing on node 1." in done.stderr


def test_errors_of_a_data_loading_process_are_unwrapped() -> None:
    wrapped = (
        "Caught DataError in DataLoader worker process 0.\nOriginal Traceback (most recent "
        'call last):\n  File "x.py", line 3\npointssl_datasets.base.errors.DataError: a/b: torn.\n'
    )
    failure = explain(DataError(wrapped))
    assert failure is not None
    assert failure == (1, "error: a/b: torn.")
    assert explain(UsageError("one: line")) == (2, "error: one: line")
    assert explain(ValueError("a bug")) is None


def test_stopping_a_run_is_no_error() -> None:
    from pointssl.engine.stopping import Stopped

    failure = explain(Stopped(1, "after step 3"))
    assert failure is not None
    assert failure.code == 0
    assert failure.line.startswith("stopped by --max-time after step 3")
    failure = explain(Stopped(signal.SIGTERM, "after step 3"))
    assert failure is not None
    assert failure.code == 143


def test_data_render_draws_generated_shapes(tmp_path: Path) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    done = pointssl_(
        *("data", "render", "--size", "24", "--limit", "3", "--points", "256"),
        *("--views", "2", "--image-size", "48"),
        *("--no-progress", "--out", str(out), "--cache-dir", str(cache)),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out / 'contact.png'}\n"
    pictures = sorted(out.glob("*/*/*.png"))
    assert [path.name for path in pictures] == ["00.png", "01.png"] * 3
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.size == (48, 48)
            low, high = picture.getchannel("A").getextrema()
        assert low == 0, f"{path} has no background"
        assert high == 255, f"{path} shows no surface"
    with Image.open(out / "contact.png") as sheet:
        assert sheet.size == (2 * 112, 3 * (112 + 14))
    assert not list(out.rglob("*.tmp"))
