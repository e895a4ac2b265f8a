"""The parts of the engine: learning rate, loading, meters, stopping, checkpoints, run log."""

import functools
import itertools
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from processes import ENV
from tiny import options, write_clouds
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from pointssl.backbones.dgcnn import DGCNN
from pointssl.backbones.dgcnn_seg import DGCNNSeg
from pointssl.checkpoints.encoder import load_encoder
from pointssl.checkpoints.file import load_checkpoint, load_weights, save_checkpoint
from pointssl.config.pretrain import PretrainConfig
from pointssl.engine.distributed import World
from pointssl.engine.loading import count_steps, read_batches, seeded, shard_rows, train_rows
from pointssl.engine.loop import Plan, Progress, train
from pointssl.engine.meters import Meters
from pointssl.engine.schedule import lr_at, scaled_lr
from pointssl.engine.stopping import Stopped, StopRequest
from pointssl.recipes.pretrain import run
from pointssl_datasets.base.errors import UsageError, UserError

CPU = torch.device("cpu")
ALONE = World(rank=0, local_rank=0, size=1, device=CPU)


def worlds(size):
    return [World(rank, rank, size, CPU) for rank in range(size)]


# learning rate


def schedule(epochs, steps_per_epoch, **options):
    return [
        lr_at(step, steps_per_epoch=steps_per_epoch, epochs=epochs, **options)
        for step in range(epochs * steps_per_epoch)
    ]


def torch_cosine(steps, peak, floor):
    """Values that torch's own scheduler gives, the one after the last step included."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = CosineAnnealingLR(optimizer, T_max=steps, eta_min=floor)
    values = [peak]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        values.append(scheduler.get_last_lr()[0])
    return values


def test_cosine_by_step_is_torchs_cosine():
    values = schedule(5, 4, peak=0.1, floor=0.01)
    assert values == pytest.approx(torch_cosine(20, 0.1, 0.01)[:-1])


def test_cosine_by_epoch_is_stepped_before_each_epoch_as_crosspoint_does():
    values = schedule(5, 4, peak=0.1, floor=0.01, by="epoch")
    expected = torch_cosine(5, 0.1, 0.01)[1:]
    assert values == pytest.approx([value for value in expected for _ in range(4)])
    assert values[-1] == pytest.approx(0.01)


def test_warm_up_is_linear_and_hands_over_at_the_peak():
    values = schedule(6, 4, peak=0.8, warmup_epochs=2)
    assert values[:8] == pytest.approx([0.1 * (step + 1) for step in range(8)])
    assert values[8:] == pytest.approx(torch_cosine(16, 0.8, 0.0)[:-1])
    by_epoch = schedule(4, 3, peak=0.8, warmup_epochs=2, by="epoch")[::3]
    assert by_epoch == pytest.approx([0.4, 0.8, 0.4, 0.0])


def test_constant_learning_rate():
    assert set(schedule(3, 2, peak=0.5, floor=0.1, schedule="constant")) == {0.5}
    assert schedule(2, 2, peak=1.0, schedule="constant", warmup_epochs=1) == [0.5, 1, 1, 1]


def test_learning_rate_scales_only_when_asked():
    assert scaled_lr(0.1, 512, None) == 0.1
    assert scaled_lr(0.1, 512, 256) == 0.2


# loading


@pytest.mark.parametrize("size", [1, 2, 4])
def test_ranks_share_the_batches_of_one_process(size):
    alone = list(train_rows(22, 8, 3, 5, ALONE))
    assert [len(batch) for batch in alone] == [8, 8]
    assert len(set(itertools.chain(*alone))) == 16
    together = zip(*(train_rows(22, 8, 3, 5, world) for world in worlds(size)), strict=True)
    assert [list(itertools.chain(*parts)) for parts in together] == alone


def test_batches_depend_on_seed_and_epoch_and_start_anywhere():
    first = list(train_rows(20, 4, 0, 0, ALONE))
    assert list(train_rows(20, 4, 0, 0, ALONE)) == first
    assert list(train_rows(20, 4, 0, 0, ALONE, start=3)) == first[3:]
    assert list(train_rows(20, 4, 0, 0, ALONE, start=5)) == []
    assert list(train_rows(20, 4, 0, 1, ALONE)) != first
    assert list(train_rows(20, 4, 1, 0, ALONE)) != first


def test_every_item_is_in_the_epoch_if_the_batches_divide_it():
    assert sorted(itertools.chain(*train_rows(20, 4, 0, 0, ALONE))) == list(range(20))


@pytest.mark.parametrize(("items", "size"), [(23, 1), (23, 3), (2, 3), (1, 4), (16, 4)])
@pytest.mark.parametrize("batch_size", [1, 5, 8, 100])
def test_shards_hold_every_item_exactly_once(items, size, batch_size):
    shards = [list(shard_rows(items, batch_size, world)) for world in worlds(size)]
    assert sorted(itertools.chain(*itertools.chain(*shards))) == list(range(items))
    for shard in shards:
        assert all(0 < len(part) <= max(1, batch_size // size) for part in shard)


def test_steps_are_whole_batches():
    assert count_steps(16, 8) == 2
    assert count_steps(23, 8) == 2
    with pytest.raises(UsageError, match=r"--batch-size 24 .* 23 clouds: lower it to 23"):
        count_steps(23, 24)


def test_generators_of_different_numbers_are_unrelated():
    numbers = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1), (0, 2**40), (2**62, 1)]
    streams = {tuple(torch.rand(4, generator=seeded("cpu", *n)).tolist()) for n in numbers}
    assert len(streams) == len(numbers)
    again = torch.rand(9, generator=seeded("cpu", 3, 4))
    assert torch.equal(again, torch.rand(9, generator=seeded("cpu", 3, 4)))
    means = torch.stack([torch.rand(64, generator=seeded("cpu", 0, n)) for n in range(256)])
    assert means.mean(0).sub(0.5).abs().max() < 5 * math.sqrt(1 / 12 / 256)


class Squares(torch.utils.data.Dataset):
    def __init__(self):
        self.read = []

    def __len__(self):
        return 100

    def __getitem__(self, index):
        self.read.append(index)
        if index == 50:
            raise UserError("cloud 50 is damaged")
        return {"index": torch.tensor(index), "square": torch.tensor(index**2)}


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_come_in_order_and_only_a_little_ahead(workers):
    dataset = Squares()
    rows = iter([[2 * i, 2 * i + 1] for i in range(20)])
    batches = read_batches(dataset, rows, CPU, workers)
    for i in range(5):
        batch = next(batches)
        assert batch["index"].tolist() == [2 * i, 2 * i + 1]
        assert batch["square"].tolist() == [4 * i * i, (2 * i + 1) ** 2]
    batches.close()
    assert len(dataset.read) <= 2 * (7 + workers)
    assert list(read_batches(dataset, iter([]), CPU)) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_a_failing_dataset_fails_where_its_batch_is_used(workers):
    batches = read_batches(Squares(), iter([[1], [2], [50], [3]]), CPU, workers)
    assert [next(batches)["index"].item(), next(batches)["index"].item()] == [1, 2]
    with pytest.raises(UserError, match="cloud 50"):
        next(batches)


# meters


def test_meters_are_means_over_items():
    rng = np.random.default_rng(0)
    values, counts = rng.normal(size=50), rng.integers(1, 9, size=50)
    meters = Meters(CPU)
    for value, count in zip(values, counts, strict=True):
        meters.update({"loss": torch.tensor(value, requires_grad=True), "one": 1.0}, int(count))
    found = meters.read()
    assert found["loss"] == pytest.approx(np.average(values, weights=counts), rel=1e-12)
    assert found["loss"] != pytest.approx(values.mean(), rel=1e-3)
    assert found["one"] == 1.0
    assert Meters(CPU).read() == {}


def test_meters_continue_from_what_was_reduced():
    whole, first, second = Meters(CPU), Meters(CPU), Meters(CPU)
    for step in range(10):
        for meters in (whole, first if step < 4 else second):
            if step == 4 and meters is second:
                second.restore(first.reduced(), is_main=True)
            meters.update({"loss": 0.1 * step}, count=step + 1)
    assert second.read() == whole.read()


# stopping


def test_a_signal_is_remembered_and_the_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopRequest() as request:
        assert request.wanted() == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.wanted() == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGINT)
        assert request.wanted() == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_clock():
    assert StopRequest(max_minutes=0.0).wanted() == 1
    assert StopRequest(max_minutes=60.0).wanted() == 0


@pytest.mark.parametrize(
    ("reason", "name", "code"),
    [(1, "--max-time", 0), (signal.SIGINT, "SIGINT", 130), (signal.SIGTERM, "SIGTERM", 143)],
)
def test_what_a_stopped_run_says(reason, name, code):
    stopped = Stopped(int(reason), "in epoch 2, after step 3")
    assert stopped.exit_code == code
    assert stopped.message.startswith(f"stopped by {name} in epoch 2, after step 3; ")


# checkpoints


def content(**more):
    return {"encoder": {"weight": torch.arange(4000.0)}, "facts": {"backbone": "dgcnn"}, **more}


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    path = tmp_path / "new" / "folder" / "last.pt"
    save_checkpoint(path, content(progress={"totals": {"loss": (1.5, 2.0)}}))
    found = load_checkpoint(path)
    assert torch.equal(found["encoder"]["weight"], torch.arange(4000.0))
    assert found["progress"] == {"totals": {"loss": (1.5, 2.0)}}
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"]


FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from pointssl.checkpoints.file import save_checkpoint
from pointssl_datasets.base.errors import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    save_checkpoint(Path(sys.argv[1]), {"encoder": torch.zeros(100_000), "facts": {}})
except UserError as error:
    print(error)
"""


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, content())
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path], env=ENV, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"could not write {path}: ")
    assert len(done.stdout.splitlines()) == 1
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_what_a_killed_writer_left_is_cleared_away(tmp_path):
    (tmp_path / ".last.pt.4711.tmp").write_bytes(b"half a checkpoint")
    save_checkpoint(tmp_path / "last.pt", content())
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_a_file_where_the_folder_should_be_is_one_line(tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(UserError, match=r"could not write .*last\.pt"):
        save_checkpoint(tmp_path / "checkpoints" / "last.pt", content())


class Code:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_a_file_that_holds_code_is_refused_and_the_code_does_not_run(tmp_path, kind):
    path, trace = tmp_path / "last.pt", tmp_path / "it-ran"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Code(trace), protocol=2))
    else:
        torch.save(content(code=Code(trace)), path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(UserError, match="holds Python objects"):
        load_checkpoint(path)
    assert not trace.exists()
    torch.load(path, weights_only=False) if kind != "pickle" else pickle.loads(path.read_bytes())
    assert trace.exists()  # it would have


def test_damaged_and_foreign_files_are_one_line(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, content())
    whole = path.read_bytes()
    for damaged in (
        b"",
        whole[:10],
        whole[: len(whole) // 2],
        whole[:-10],
        b"text\n",
        b"\x93" * 99,
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="not a readable checkpoint") as error:
            load_checkpoint(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    torch.save({"state_dict": {}, "epoch": 3}, path)
    with pytest.raises(UserError, match="keys format, encoder, facts, found state_dict, epoch"):
        load_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="found list"):
        load_checkpoint(path)
    torch.save({"format": 2, "something": "else"}, path)
    with pytest.raises(UserError, match=r"newer pointssl \(format 2"):
        load_checkpoint(path)
    with pytest.raises(UserError, match=r"is a folder: give the file"):
        load_checkpoint(tmp_path)
    with pytest.raises(UserError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "missing.pt")


def test_weights_of_another_network_are_refused_by_their_keys():
    ours, theirs = DGCNN(embedding=16), DGCNNSeg(embedding=16)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(UserError) as error:
        load_weights(ours, theirs.state_dict(), "last.pt")
    told = str(error.value)
    assert told.startswith(
        "last.pt does not fit this DGCNN: 20 missing (edge_convs.0.linear.weight"
    )
    assert "unexpected (transform_net." in told
    assert "of another shape (last.linear.weight (16, 192) instead of (16, 512))" in told
    with pytest.raises(UserError, match=r"5 of another shape \(last.linear.weight \(8, 512\) inst"):
        load_weights(ours, DGCNN(embedding=8).state_dict(), "last.pt")
    one_short = dict(itertools.islice(ours.state_dict().items(), 1, None))
    with pytest.raises(UserError, match=r"1 missing \(edge_convs.0.linear.weight\)"):
        load_weights(ours, one_short, "last.pt")
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler (g++)")


@pytest.mark.parametrize(
    "backend", ["eager", pytest.param("inductor", marks=[pytest.mark.slow, NEEDS_COMPILER])]
)
def test_a_compiled_run_has_the_keys_and_weights_of_another(tmp_path, monkeypatch, backend):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    root = write_clouds(tmp_path / "clouds", per_class=2, pictures=False)
    changes = {"backbone": "tiny:PointMlp", "image_encoder": "none", "batch_size": 6, "epochs": 1}
    changes["optimizer"] = "sgd"  # Adam would make a full step of a rounding error
    config = options(root, tmp_path / "run", backbone_arg=(), **changes)
    threads = torch.get_num_threads()
    plain = load_checkpoint(run(PretrainConfig(**config)))
    path = run(PretrainConfig(**{**config, "compile": True, "run_dir": tmp_path / "compiled"}))
    torch.set_num_threads(threads)
    found = load_checkpoint(path)
    for name, value in plain["method"].items():
        torch.testing.assert_close(found["method"][name], value, rtol=1e-4, atol=1e-5)
    assert set(found["encoder"]) == {"linear.weight", "linear.bias"}
    assert not any("_orig_mod" in key or "module." in key for key in found["method"])
    fresh = load_encoder(path)
    assert torch.equal(fresh.linear.weight, found["encoder"]["linear.weight"])


# the loop


class Regression(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, batch):
        error = (self.linear(batch["x"])[:, 0] - batch["y"]).square().mean()
        return {"loss": error, "twice": 2 * error}


def with_noise(batch, generator):
    return {**batch, "x": batch["x"] + torch.randn(batch["x"].shape, generator=generator)}


def regression_batch(epoch, step):
    x = torch.randn(5, 3, generator=seeded("cpu", 100, epoch, step))
    return {"x": x, "y": 4 * x.sum(1) + 1, "index": torch.arange(5)}


def slow_and_obvious(rate, clip, epochs, steps, seed):
    """Weights after every step, and the means of each epoch."""
    torch.manual_seed(0)
    model, after, rows = Regression(), [], []
    for epoch in range(epochs):
        losses, norms = [], []
        for step in range(steps):
            number = epoch * steps + step
            batch = with_noise(regression_batch(epoch, step), seeded("cpu", seed, number))
            model.zero_grad()
            loss = model(batch)["loss"]
            loss.backward()
            grads = [p.grad for p in model.parameters()]
            norm = math.sqrt(sum(float(g.square().sum()) for g in grads))
            with torch.no_grad():
                for p, grad in zip(model.parameters(), grads, strict=True):
                    p -= rate(number) * grad * min(1.0, clip / (norm + 1e-6))
            after.append([p.detach().clone() for p in model.parameters()])
            losses.append(loss.item())
            norms.append(norm)
        rates = [rate(epoch * steps + step) for step in range(steps)]
        means = {"loss": losses, "twice": [2 * x for x in losses], "grad_norm": norms, "lr": rates}
        rows.append({name: sum(values) / steps for name, values in means.items()})
    return after, rows


def test_the_loop_is_the_slow_and_obvious_one():
    rate = functools.partial(lr_at, steps_per_epoch=4, epochs=3, peak=0.05)
    after, expected = slow_and_obvious(rate, 2.0, epochs=3, steps=4, seed=9)
    torch.manual_seed(0)
    model, rows, saved = Regression(), [], []

    def save(progress):
        saved.append((progress.epoch, progress.step))
        done = progress.epoch * 4 + progress.step
        for p, q in zip(model.parameters(), after[done - 1], strict=True):
            torch.testing.assert_close(p.detach(), q, rtol=1e-5, atol=1e-6)

    plan = Plan(
        epochs=3,
        steps_per_epoch=4,
        batches=lambda epoch, start: (regression_batch(epoch, s) for s in range(start, 4)),
        prepare=with_noise,
        lr_at=rate,
        log=rows.append,
        save=save,
        seed=9,
        clip_grad=2.0,
        save_every=3,
        bar=False,
    )
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    train(model, optimizer, scaler, plan, Progress(), ALONE)
    assert saved == [(0, 3), (1, 0), (1, 3), (2, 0), (2, 3), (3, 0)]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row, means in zip(rows, expected, strict=True):
        assert {name: row[name] for name in means} == pytest.approx(means, rel=1e-4)
        assert row["seconds_per_step"] > 0
        assert 0 <= row["data_wait"] <= 1
