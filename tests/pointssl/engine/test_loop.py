"""What a step is beside the plain one: parts of a batch, late checks, fused updates."""

import copy
import functools
import os
import signal

import pytest
import torch
from processes import run_ranks
from rank_jobs import accumulate_step
from torch import nn

from pointssl.engine import loop
from pointssl.engine.activations import blocks_of, checkpoint_blocks
from pointssl.engine.checks import Checks, skips_non_finite
from pointssl.engine.distributed import World
from pointssl.engine.loop import parts_of
from pointssl.engine.optimizer import build_optimizer
from pointssl.engine.stopping import Stopped, StopRequest
from pointssl.images.resnet import resnet18
from pointssl_datasets.base.errors import UserError

CPU = torch.device("cpu")
ALONE = World(rank=0, local_rank=0, size=1, device=CPU)
KINDS = ("adam", "adamw", "sgd")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def update(model, optimizer, x):
    optimizer.zero_grad()
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    return loss


# optimiser


@pytest.mark.parametrize("kind", KINDS)
def test_the_fused_update_is_the_plain_one(kind):
    fused, plain = network(), network()
    ours = build_optimizer(fused.parameters(), kind, 0.01, weight_decay=0.1, momentum=0.9)
    classes = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    more = {"momentum": 0.9} if kind == "sgd" else {}
    theirs = classes[kind](plain.parameters(), 0.01, weight_decay=0.1, foreach=False, **more)
    assert skips_non_finite(ours)
    assert not skips_non_finite(theirs)
    for _ in range(10):
        x = torch.randn(6, 3)
        update(fused, ours, x)
        update(plain, theirs, x)
    for p, q in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)


def test_parameters_that_no_kernel_is_for_have_the_plain_update():
    parameter = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    optimizer = build_optimizer([parameter], "adam", 0.1, weight_decay=0.0, momentum=0.9)
    assert not skips_non_finite(optimizer)


# checks


def index(*numbers):
    return torch.tensor(numbers)


def steps_until_told(losses, late, kind="adam"):
    """Weights before each step, what was raised, and in which step."""
    model = network()
    optimizer = build_optimizer(model.parameters(), kind, 0.1, weight_decay=0.1, momentum=0.9)
    checks = Checks(StopRequest(), optimizer, ALONE, late=late)
    before = []
    for step, scale in enumerate(losses):
        before.append(copy.deepcopy(model.state_dict()))
        optimizer.zero_grad()
        loss = scale * model(torch.ones(2, 3)).square().mean()
        loss.backward()
        try:
            checks.submit(
                {"loss": loss, "fine": 1.0}, index(2 * step, 2 * step + 1), f"step {step}"
            )
        except UserError as error:
            return before, str(error), step, model.state_dict()
        optimizer.step()
    with pytest.raises(UserError) as error:
        checks.flush()
    return before, str(error.value), len(losses), model.state_dict()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_never_reaches_the_weights(kind, bad):
    for late, told_in in ((False, 2), (True, 3)):
        before, said, step, after = steps_until_told([1.0, 1.0, bad, 1.0], late, kind)
        assert step == told_in
        assert said.startswith("not finite at step 2: loss. Batch indices [4, 5]. ")
        for name, value in after.items():
            assert torch.equal(value, before[2][name])
        assert not torch.equal(before[2]["0.weight"], before[1]["0.weight"])


def test_the_last_step_is_settled_before_anything_is_written():
    before, said, step, after = steps_until_told([1.0, float("nan")], late=True)
    assert (step, said.partition(":")[0]) == (2, "not finite at step 1")
    assert all(torch.equal(value, before[1][name]) for name, value in after.items())


def test_late_and_prompt_checks_of_a_sound_run_move_the_weights_alike():
    ends = []
    for late in (False, True):
        model = network()
        optimizer = build_optimizer(model.parameters(), "adamw", 0.1, weight_decay=0, momentum=0)
        checks = Checks(StopRequest(), optimizer, ALONE, late=late)
        for step in range(5):
            optimizer.zero_grad()
            loss = model(torch.full((2, 3), step / 5)).square().mean()
            loss.backward()
            assert checks.submit({"loss": loss}, index(0), "") == 0
            optimizer.step()
        assert checks.flush() == 0
        ends.append(model.state_dict())
    assert all(torch.equal(ends[0][name], value) for name, value in ends[1].items())


def test_a_wish_to_stop_is_heard_at_once_or_a_step_later():
    optimizer = build_optimizer(network().parameters(), "sgd", 0.1, weight_decay=0, momentum=0)
    request = StopRequest()
    fine = {"loss": torch.tensor(1.0)}
    for late, heard in ((False, [15, 15]), (True, [0, 15])):
        checks = Checks(request, optimizer, ALONE, late=late)
        request.signal = 15
        assert [checks.submit(fine, index(0), "") for _ in range(2)] == heard


# parts of a batch


def test_parts_are_the_batch_in_order():
    batch = {"index": torch.arange(6), "x": torch.randn(6, 2)}
    parts = list(parts_of(batch, 3))
    assert [part["index"].tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    assert torch.equal(torch.cat([part["x"] for part in parts]), batch["x"])


def test_parts_of_a_batch_add_up_to_the_whole_on_one_process_and_on_two(tmp_path):
    whole = accumulate_step(ALONE, 1)
    two = run_ranks(accumulate_step, 2, tmp_path, 2)
    for found in (accumulate_step(ALONE, 4), *two):
        assert found["rows"].keys() == whole["rows"].keys()
        for name, value in whole["rows"].items():
            assert found["rows"][name] == pytest.approx(value, rel=1e-9), name
        for name, value in whole["weights"].items():
            torch.testing.assert_close(found["weights"][name], value, rtol=1e-9, atol=1e-12)


# activation checkpointing


def test_what_forgets_its_insides_has_the_same_numbers_and_counts_once():
    plain = nn.ModuleDict({"net": resnet18(), "drop": nn.Sequential(Dropping(), Dropping())})
    forgetful = copy.deepcopy(plain)
    assert checkpoint_blocks(forgetful) == len(blocks_of(plain)) == 10
    assert list(forgetful.state_dict()) == list(plain.state_dict())
    kept = []
    for model in (plain, forgetful):
        torch.manual_seed(0)
        for _ in range(2):
            size, out = kept_for_backward(model, torch.rand(4, 3, 32, 32), model is forgetful)
            out.square().mean().backward()
        kept.append(size)
    assert kept[1] < kept[0] / 3
    for (name, p), q in zip(plain.named_parameters(), forgetful.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)
    assert plain["net"].layer1[0].bn1.num_batches_tracked == 2
    for (name, p), q in zip(plain.named_buffers(), forgetful.buffers(), strict=True):
        assert torch.equal(p, q), name


class Dropping(nn.Module):
    """A block that draws random numbers."""

    def __init__(self):
        super().__init__()
        self.linear, self.drop = nn.Linear(512, 512), nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.linear(x))


def kept_for_backward(model, images, inputs_too):
    """Bytes that the forward pass leaves behind, and its output.

    Args:
        inputs_too: those of the blocks count, which no hook sees.
    """
    sizes = []

    def pack(x):
        sizes.append(x.numel() * x.element_size())
        return x

    def note(block, inputs):
        pack(inputs[0])

    hooks = [b.register_forward_pre_hook(note) for b in blocks_of(model) if inputs_too]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = model["drop"](model["net"](images))
    for hook in hooks:
        hook.remove()
    return sum(sizes), out


# the loop


class SignalsItself(nn.Module):
    """A model that gets SIGTERM in its ``at``-th step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.steps, self.at = 0, at

    def forward(self, batch):
        self.steps += 1
        if self.steps == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"loss": self.linear(batch["x"]).square().mean()}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("per_epoch", "at", "save_every", "most"), [(1, 2, 0, 3), (3, 3, 0, 4), (10, 3, 1, 4)]
)
def test_a_signal_ends_the_run_within_a_step(monkeypatch, late, per_epoch, at, save_every, most):
    monkeypatch.setattr(loop, "Checks", functools.partial(Checks, late=late))
    model, saved = SignalsItself(at), []

    def batches(epoch, start):
        for _ in range(start, per_epoch):
            yield {"x": torch.randn(8, 3), "index": torch.arange(8)}

    plan = loop.Plan(
        epochs=50, steps_per_epoch=per_epoch, batches=batches, prepare=lambda batch, _: batch,
        lr_at=lambda step: 0.01, log=lambda row: None, save_every=save_every, bar=False,
        save=lambda progress: saved.append(progress.epoch * per_epoch + progress.step),
    )  # fmt: skip
    optimizer = build_optimizer(model.parameters(), "adam", 0.01, weight_decay=0.0, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    with pytest.raises(Stopped):
        loop.train(model, optimizer, scaler, plan, loop.Progress(), ALONE)
    assert at <= model.steps <= most
    assert saved[-1] == model.steps
