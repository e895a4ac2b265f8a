"""A run that was killed, stopped or broken, and started again, against one never interrupted."""

import os
import shutil
import signal

import pytest
import torch
from processes import assert_no_traceback, pointssl, started, wait_until
from same_run import assert_same_run, last
from tiny import flags, options, write_clouds

from pointssl.checkpoints.file import load_checkpoint, save_checkpoint
from pointssl.config.pretrain import PretrainConfig
from pointssl.engine.stopping import Stopped
from pointssl.recipes.pretrain import run
from pointssl_datasets.base.errors import UsageError, UserError

SHORT = {"batch_size": 8, "epochs": 2}  # 3 steps an epoch
LONG = {"batch_size": 2, "epochs": 3}  # 12 steps an epoch: time to be killed in the middle of one


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_clouds(tmp_path_factory.mktemp("clouds"))


@pytest.fixture(scope="module")
def short(root, tmp_path_factory):
    """The folder of a short run never interrupted; do not touch it."""
    run_dir = tmp_path_factory.mktemp("short")
    pretrain(root, run_dir, **SHORT)
    return run_dir


def pretrain(root, run_dir, **changes):
    return run(PretrainConfig(**options(root, run_dir, **changes)))


def at(run_dir):
    """Epoch and step of the checkpoint; (0, 0) if there is none yet."""
    if not last(run_dir).exists():
        return 0, 0
    progress = load_checkpoint(last(run_dir))["progress"]
    return progress["epoch"], progress["step"]


def stopped_after_a_step(root, run_dir, **changes):
    with pytest.raises(Stopped) as stopped:
        pretrain(root, run_dir, max_time=0.0, **{**SHORT, **changes})
    assert stopped.value.exit_code == 0
    return last(run_dir).read_bytes()


@pytest.fixture(scope="module")
def long(root, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("long")
    pretrain(root, run_dir, **LONG)
    return run_dir


def test_killed_in_the_middle_of_an_epoch_and_started_again(root, tmp_path, long):
    words = flags(options(root, tmp_path, **LONG, save_every=1))
    with started("pretrain", *words) as process:
        wait_until(lambda: (1, 3) <= at(tmp_path) < (2, 0), process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    epoch, step = at(tmp_path)
    assert epoch == 1
    assert 3 <= step < 12
    done = pointssl("pretrain", *words)
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path, long)


def test_sigterm_writes_a_checkpoint_that_continues(root, tmp_path, long):
    words = flags(options(root, tmp_path, **LONG))
    with started("pretrain", *words) as process:
        wait_until(lambda: at(tmp_path) == (1, 0), process)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate()
        assert process.returncode == 128 + signal.SIGTERM
    epoch, step = at(tmp_path)
    assert 1 <= epoch < 3
    assert stderr.splitlines() == [
        f"pointssl: stopped by SIGTERM in epoch {epoch + 1}, after step {step}; "
        "run the same command again to continue"
    ]
    done = pointssl("pretrain", *words)
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path, long)


def test_sigterm_to_torchrun_stops_both_ranks_with_one_checkpoint(root, tmp_path):
    config = options(root, tmp_path, batch_size=4, epochs=40, sync_bn=True, save_every=1)
    with started("pretrain", *flags(config), ranks=2) as process:
        wait_until(lambda: at(tmp_path) >= (0, 2), process)
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate()
        assert process.returncode != 0
    epoch, step = at(tmp_path)
    line = f"stopped by SIGTERM in epoch {epoch + 1}, after step {step}"
    assert (stdout + stderr).count(line) == 1, stderr
    assert_no_traceback(stderr)
    # The checkpoint of two processes continues on one.
    with pytest.raises(Stopped):
        run(PretrainConfig(**{**config, "max_time": 0.0}))
    assert at(tmp_path) in ((epoch, step + 1), (epoch + 1, 1))


def test_max_time_ends_well(root, tmp_path):
    done = pointssl("pretrain", *flags(options(root, tmp_path, **SHORT, max_time=0.0)))
    assert done.returncode == 0
    assert (done.stdout + done.stderr).count("stopped by --max-time in epoch 1, after step 1") == 1
    assert at(tmp_path) == (0, 1)


DROPOUT = {"backbone": "tiny:PointMlp", "backbone_arg": ("dropout=0.5",)}
SGD = {"optimizer": "sgd", "lr": 0.1, "warmup_epochs": 1.0, "clip_grad": 1.0}
HALF = {"optimizer": "adamw", "amp": "fp16", "schedule_by": "epoch"}
PARTS = {"accumulate": 2, "checkpoint_activations": True, "workers": 2}


@pytest.mark.parametrize(
    "changes",
    [{}, DROPOUT, SGD, HALF, PARTS],
    ids=["adam", "dropout", "sgd", "half", "parts"],
)
def test_stopped_after_every_single_step(root, tmp_path, changes):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pretrain(root, whole, **SHORT, **changes)
    for step in range(6):
        assert at(parts) in (divmod(step, 3), (step // 3 - 1, 3))
        stopped_after_a_step(root, parts, **changes)
    pretrain(root, parts, **SHORT, **changes)
    assert_same_run(parts, whole)


@pytest.fixture(scope="module")
def exploding(root, tmp_path_factory):
    """A run whose first step has made the weights too large for a second, and its checkpoint."""
    run_dir = tmp_path_factory.mktemp("exploding")
    return run_dir, stopped_after_a_step(root, run_dir, lr=1e30)


@pytest.mark.parametrize("ranks", [None, 2])
def test_a_loss_that_is_not_finite_stops_the_run(root, tmp_path, exploding, ranks):
    run_dir = tmp_path / "run"
    shutil.copytree(exploding[0], run_dir)
    config = options(root, run_dir, **SHORT, lr=1e30, save_every=1)
    done = pointssl("pretrain", *flags(config), ranks=ranks)
    assert done.returncode == 1
    assert last(run_dir).read_bytes() == exploding[1]
    line = next(line for line in done.stderr.splitlines() if line.startswith("pointssl: error"))
    assert "not finite at epoch 1, step 2: loss" in line
    indices = line.partition("Batch indices [")[2].partition("]")[0].split(", ")
    assert len(set(indices)) == 8  # of all ranks
    assert {int(index) for index in indices} <= set(range(24))
    assert_no_traceback(done.stderr)
    if ranks is None:
        assert done.stderr.splitlines() == [line]


def test_weights_that_are_not_finite_are_not_written(root, tmp_path):
    told = "weights are not finite after 0 epochs and 1 steps"
    enough = {"optimizer": "sgd", "lr": 1e38, "temperature": 0.01}  # to overflow in a step
    with pytest.raises(UserError, match=told):
        pretrain(root, tmp_path, **SHORT, **enough, max_time=0.0)
    assert not last(tmp_path).exists()


def test_a_weight_that_is_not_finite_is_noticed_at_once(root, tmp_path):
    stopped_after_a_step(root, tmp_path)
    content = load_checkpoint(last(tmp_path))
    content["method"]["head.0.weight"][0, 0] = float("nan")
    save_checkpoint(last(tmp_path), content)
    before = last(tmp_path).read_bytes()
    with pytest.raises(UserError, match=r"epoch 1, step 2: loss, loss_within"):
        pretrain(root, tmp_path, **SHORT)
    assert last(tmp_path).read_bytes() == before


def test_other_options_are_refused_by_name(root, short):
    with pytest.raises(UsageError, match=r"--lr 0\.001 then, 0\.1 now"):
        pretrain(root, short, **SHORT, lr=0.1)
    with pytest.raises(UsageError, match=r"--k 4 then, 5 now.*--epochs 2 then, 3 now"):
        pretrain(root, short, batch_size=8, epochs=3, k=5)


def test_resume_never_refuses_a_run(root, short):
    with pytest.raises(UsageError, match=r"holds a run already.*--resume auto"):
        pretrain(root, short, **SHORT, resume="never")


def test_a_finished_run_says_so_and_is_left_alone(root, short, capsys):
    before = {p: p.read_bytes() for p in short.rglob("*") if p.is_file()}
    assert pretrain(root, short, **SHORT, save_every=2) == last(short)
    assert f"{short} is finished: 2 epochs" in capsys.readouterr().out
    assert {p: p.read_bytes() for p in short.rglob("*") if p.is_file()} == before


def test_clouds_that_have_changed_are_refused(tmp_path):
    root = write_clouds(tmp_path / "clouds")
    stopped_after_a_step(root, tmp_path / "run")
    cloud = root / "train" / "bed" / "m0.npy"
    shutil.copy(root / "train" / "lamp" / "m1.npy", cloud)
    os.utime(cloud, (1, 1))
    with pytest.raises(UsageError, match="changed since"):
        pretrain(root, tmp_path / "run", **SHORT)


def test_an_option_younger_than_the_checkpoint_had_its_default(root, tmp_path):
    stopped_after_a_step(root, tmp_path)
    content = load_checkpoint(last(tmp_path))
    del content["config"]["clip_grad"]
    save_checkpoint(last(tmp_path), content)
    with pytest.raises(UsageError, match=r"--clip-grad None then, 1\.0 now"):
        pretrain(root, tmp_path, **SHORT, clip_grad=1.0)
    stopped_after_a_step(root, tmp_path)
    assert at(tmp_path) == (0, 2)


def test_weights_alone_cannot_be_continued(root, tmp_path, short):
    content = load_checkpoint(last(short))
    save_checkpoint(last(tmp_path), {k: content[k] for k in ("encoder", "facts")})
    with pytest.raises(UsageError, match="weights alone"):
        pretrain(root, tmp_path, **SHORT)


def test_rows_beyond_the_checkpoint_are_dropped(root, tmp_path, short):
    for _ in range(4):
        stopped_after_a_step(root, tmp_path)
    assert at(tmp_path) == (1, 1)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 2, "loss": -1.0}\n{"epoch": 7, "loss": -1.0}\n{"epoch": 8, "lo')
    pretrain(root, tmp_path, **SHORT)
    assert_same_run(tmp_path, short)


def test_a_batch_larger_than_the_set_is_refused(root, tmp_path):
    with pytest.raises(UsageError, match=r"--batch-size 25 .* 24 clouds"):
        pretrain(root, tmp_path, batch_size=25)
    assert not last(tmp_path).exists()
