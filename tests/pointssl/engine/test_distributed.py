"""Many processes compute what one does: real ranks of a gloo group against one process."""

import socket
import sys

import pytest
import rank_jobs
import torch
from processes import assert_no_traceback, pointssl, run_ranks
from tiny import flags, options, write_clouds

from pointssl.engine.distributed import World, local_batch
from pointssl.runs.trackers import read_metrics
from pointssl_datasets.base.errors import UsageError

ALONE = World(rank=0, local_rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    return run_ranks(rank_jobs.everything, 2, folder, folder)


def same(found, expected, tolerance=1e-9):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            torch.as_tensor(found[name]), torch.as_tensor(value), rtol=tolerance, atol=tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )  # fmt: skip


@pytest.mark.parametrize("backbone", rank_jobs.BACKBONES)
def test_two_ranks_of_eight_are_one_of_sixteen(ranks, backbone):
    expected = rank_jobs.crosspoint_step(ALONE, backbone)
    found = [rank["crosspoint"][backbone] for rank in ranks]
    for name, views in expected["views"].items():
        assert torch.equal(torch.cat([rank["views"][name] for rank in found]), views)
    assert all(grad is not None for grad in expected["grads"].values())
    assert expected["means"]["negatives"] == 30
    for rank in found:
        same(rank["means"], expected["means"])
        assert "loss" in rank["means"]
        same(rank["grads"], expected["grads"])
        same(rank["buffers"], expected["buffers"])


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dims", [1, 2])
def test_synced_batch_norm_is_batch_norm_of_the_joined_batch(ranks, dims, affine):
    expected = rank_jobs.norm_step(ALONE, dims, False, affine)
    check_joined([rank["norm"][f"{dims} {affine}"] for rank in ranks], expected)


@pytest.mark.parametrize("double", [False, True])
def test_edge_conv_with_synced_norms_is_the_reference_on_the_joined_batch(ranks, double):
    expected = rank_jobs.edge_step(ALONE, double, reference=True)
    check_joined([rank["edge"][double] for rank in ranks], expected)


def check_joined(found, expected):
    """Outputs and input gradients by rows; parameter gradients add up; buffers are the same."""
    for name in ("y", "x"):
        same({name: torch.cat([rank[name] for rank in found])}, {name: expected[name]})
    for name, grad in expected["grads"].items():
        same({name: sum(rank["grads"][name] for rank in found)}, {name: grad})
    for rank in found:
        same(rank["buffers"], expected["buffers"])


def test_gathered_rows_carry_the_gradient_of_every_rank(ranks):
    first = torch.arange(6.0, dtype=torch.float64).view(3, 2)
    rows = torch.cat((first, first + 10))
    for rank, found in enumerate(ranks):
        assert torch.equal(found["gather"]["all"], rows)
        # d/dx of (1 + 2) * sum of squares
        assert torch.equal(found["gather"]["grad"], 6 * rows[3 * rank : 3 * rank + 3])


def test_the_embeddings_of_a_step_are_gathered_at_once(ranks):
    """One collective there and one back, for three kinds of rows and both losses."""
    for rank in ranks:
        assert rank["collectives"] == {"points": [1, 1], "pictures": [1, 1]}


def test_no_thread_outlives_the_process_group(tmp_path):
    """In a group of its own: of two ranks that are done, none is aborted (see processes.py)."""
    for found in run_ranks(rank_jobs.threads_step, 2, tmp_path):
        assert found or sys.platform != "linux"


def test_meters_are_means_over_items_and_not_means_of_means(ranks):
    for rank in ranks:
        found = rank["meters"]
        assert found["mean"] == (3 * 1.0 + 1 * 5.0) / 4
        assert found["reduced"] == {"loss": (8.0, 4.0)}
        # what was restored counts once, not once a rank
        assert found["again"] == {"loss": (8.0 + 2 * 2 * 4.0) / 8}


def test_what_one_rank_meets_all_ranks_know(ranks):
    for rank in ranks:
        assert rank["agree"] == [(0, False), (15, True), (0, True)]


def test_a_signal_to_one_rank_stops_all_after_the_same_step(ranks):
    for rank in ranks:
        found = rank["train"]["SIGTERM"]
        assert found == {"error": "in epoch 1, after step 4", "at": 4, "saved": [(0, 4)]}


def test_a_loss_that_is_not_finite_on_one_rank_ends_all_with_the_whole_batch(ranks):
    for rank in ranks:
        found = rank["train"]["NaN"]
        assert found["error"].startswith("not finite at epoch 1, step 4: loss. ")
        assert "Batch indices [12, 13, 14, 15]." in found["error"]
        assert found["at"] == 3
        assert found["saved"] == []


def test_collectives_of_the_world(ranks):
    for number, rank in enumerate(ranks):
        assert rank["world"]["gather"] == [{"rank": 0}, {"rank": 1}]
        assert rank["world"]["largest"] == [1.0, 0.0]
        assert rank["world"]["main_first"] == number
    first, second = (rank["world"]["states"] for rank in ranks)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


def test_alone_the_world_needs_no_process_group():
    ALONE.barrier()
    assert ALONE.gather(3) == [3]
    assert ALONE.largest(1.5, 2) == [1.5, 2]
    assert ALONE.main_first(lambda: 7) == 7


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_that_do():
    world = World(rank=0, local_rank=0, size=3, device=torch.device("cpu"))
    assert local_batch(9, world) == 3
    with pytest.raises(UsageError, match=r"--batch-size 10 .* 3 processes; try 9 or 12"):
        local_batch(10, world)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_clouds(tmp_path_factory.mktemp("clouds"))


def test_a_run_on_two_processes_has_the_losses_of_a_run_on_one(root, tmp_path):
    rows = []
    for ranks in (None, 2):
        run_dir = tmp_path / f"run-{ranks}"
        config = options(root, run_dir, sync_bn=True, lr=1e-4)
        done = pointssl("pretrain", *flags(config), ranks=ranks)
        assert done.returncode == 0, done.stderr
        rows.append(read_metrics(run_dir))
    one, two = rows
    assert [row["epoch"] for row in one] == [row["epoch"] for row in two] == [1, 2]
    for row, other in zip(one, two, strict=True):
        # fp32, in which near-equal neighbours may be chosen otherwise
        for name in ("loss", "loss_within", "loss_cross"):
            assert other[name] == pytest.approx(row[name], rel=1e-3)
        assert other["lr"] == pytest.approx(row["lr"])
        assert other["negatives"] == row["negatives"] == 14
    weights = [torch.load(tmp_path / f"run-{n}/checkpoints/last.pt")["method"] for n in (None, 2)]
    same(weights[1], weights[0], tolerance=2e-3)


def test_a_mistake_met_by_rank_0_alone_ends_every_rank_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    done = pointssl("pretrain", *flags(options(tmp_path / "empty", tmp_path / "run")), ranks=2)
    assert done.returncode == 1
    assert "no clouds" in done.stderr
    assert_no_traceback(done.stderr)


def test_a_port_in_use_is_one_clear_line(root, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        place |= {"RANK": "0", "WORLD_SIZE": "2"}
        done = pointssl("pretrain", *flags(options(root, tmp_path)), env=place)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert f"127.0.0.1:{port}" in done.stderr
    assert "--master-port" in done.stderr


@pytest.mark.parametrize(
    ("place", "told"),
    [({"WORLD_SIZE": "two"}, "WORLD_SIZE='two'"), ({"WORLD_SIZE": "2"}, "RANK expected")],
)
def test_half_an_environment_of_torchrun_is_one_clear_line(root, tmp_path, place, told):
    done = pointssl("pretrain", *flags(options(root, tmp_path)), env=place)
    assert done.returncode in (1, 2)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert told in done.stderr


def test_a_single_cloud_per_process_is_refused_unless_norms_are_synced(root, tmp_path):
    done = pointssl("pretrain", *flags(options(root, tmp_path, batch_size=2)), ranks=2)
    assert "--batch-size 2 leaves each of 2 processes a single cloud" in done.stderr
    assert_no_traceback(done.stderr)
