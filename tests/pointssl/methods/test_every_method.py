"""What holds for every method. A new one needs a row in ``method_jobs.SMALL``, and no test of its
own for any of this."""

import copy
import math

import numpy as np
import pytest
import torch
from method_jobs import CASES, SMALL, Own, clouds, every_method, method_step, small_method, views
from processes import run_ranks
from same_run import assert_same_run
from tiny import PictureNet, PointMlp, options, write_clouds

from pointssl.backbones.base import Features
from pointssl.checkpoints.file import load_checkpoint
from pointssl.config.pretrain import PretrainConfig
from pointssl.engine.distributed import World
from pointssl.engine.stopping import Stopped
from pointssl.methods import METHODS
from pointssl.methods.base import INPUTS
from pointssl.methods.build import build_method, method_class
from pointssl.recipes.pretrain import run
from pointssl.runs.trackers import read_metrics
from pointssl_datasets.base.errors import UsageError

ALONE = World(rank=0, local_rank=0, size=1, device=torch.device("cpu"))
by_case = pytest.mark.parametrize(("name", "images"), CASES)


def test_every_method_is_held_to_it():
    assert set(SMALL) == set(METHODS)


@by_case
@pytest.mark.parametrize("count", [2, 8])
def test_a_step_gives_finite_gradients_to_every_parameter(name, images, count):
    method = small_method(name, images).train()
    outputs = method(views(method, clouds(count, images)))
    outputs["loss"].backward()
    for parameter, value in method.named_parameters():
        if value.requires_grad:
            assert value.grad is not None, parameter
            assert value.grad.isfinite().all(), parameter
    for scalar, value in outputs.items():
        value = torch.as_tensor(value).detach()
        assert value.dim() == 0, scalar
        assert math.isfinite(value), scalar


@by_case
def test_what_is_watched_is_there(name, images):
    method = small_method(name, images)
    outputs = method(views(method, clouds(4, images)))
    cross = {scalar for scalar in method.watch if "cross" in scalar and not images}
    assert set(method.watch) - cross <= set(outputs)
    assert "embedding_std" in method.watch
    assert "\n" not in method.about(16)


@by_case
def test_a_collapsed_encoder_shows_in_a_meter(name, images):
    class Constant(PointMlp):
        def forward(self, xyz, feats=None):
            found = super().forward(xyz, feats)
            return Features(0 * found.cloud + 1, found.points)

    def std(encoder):
        method = small_method(name, images, encoder).train()
        return float(method(views(method, clouds(16, images)))["embedding_std"])

    assert std(Constant()) < 1e-3
    assert std(PointMlp()) > 0.1


@by_case
def test_the_loss_falls(name, images):
    method = small_method(name, images).train()
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, 3e-3)
    batch, losses = clouds(40, images), []
    for step in range(60):
        optimizer.zero_grad()
        outputs = method(views(method, batch, step))
        outputs["loss"].backward()
        optimizer.step()
        method.after_step((step + 1) / 60)
        losses.append(outputs["loss"].item())
    first, last = np.mean(losses[:10]), np.mean(losses[-10:])
    assert last < first - 0.05 * abs(first), (first, last)


@by_case
def test_a_figure_is_finite_and_leaves_the_method_as_it_is(name, images):
    method = small_method(name, images).eval()
    before = copy.deepcopy(method.state_dict())
    figure = method.figure(views(method, clouds(6, images)))
    if figure is not None:
        assert figure.values.ndim == 2
        assert np.isfinite(figure.values).all()
        assert all((figure.title, figure.rows, figure.columns))
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return run_ranks(every_method, 2, tmp_path_factory.mktemp("ranks"))


@by_case
def test_two_ranks_of_eight_are_one_of_sixteen(name, images, ranks):
    expected = method_step(ALONE, name, images)
    assert all(grad is not None for grad in expected["grads"].values())
    for rank in ranks:
        found = rank[f"{name} {images}"]
        for part in ("means", "grads", "state"):
            assert found[part].keys() == expected[part].keys()
            for key, value in expected[part].items():
                torch.testing.assert_close(
                    torch.as_tensor(found[part][key]), torch.as_tensor(value), rtol=1e-9, atol=1e-9,
                    msg=lambda text, key=key: f"{key}: {text}",
                )  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_clouds(tmp_path_factory.mktemp("clouds"))


def pretrain(root, run_dir, name, images, **changes):
    """A run of two epochs of three steps."""
    given = options(root, run_dir, backbone="tiny:PointMlp", backbone_arg=(), k=None)
    given |= {"method": name, "method_arg": small_arguments(name), "projection": None}
    given |= {"image_encoder": "tiny:PictureNet" if images else "none"}
    return run(PretrainConfig(**{**given, **changes}))


def small_arguments(name):
    return tuple(f"{key}={value}" for key, value in SMALL[name].items())


@by_case
def test_a_run_that_was_stopped_ends_with_the_same_weights(name, images, root, tmp_path):
    pretrain(root, tmp_path / "whole", name, images)
    for _ in range(2):
        with pytest.raises(Stopped):
            pretrain(root, tmp_path / "parts", name, images, max_time=0.0)
    pretrain(root, tmp_path / "parts", name, images)
    assert_same_run(tmp_path / "parts", tmp_path / "whole")
    assert (tmp_path / "whole" / "loss_curves.png").exists()
    rows = read_metrics(tmp_path / "whole")
    assert len(rows) == 2
    metadata = load_checkpoint(tmp_path / "whole" / "checkpoints" / "last.pt")["facts"]
    assert metadata["method"] == name
    assert metadata["method_args"].items() >= SMALL[name].items()
    assert not set(metadata["method_args"]) & set(INPUTS)


def test_weight_decay_can_spare_biases_norms_and_tokens(root, tmp_path):
    """A run whose gradients are zero shrinks what decays and leaves the rest as it was."""
    given = {"weight_decay": 0.5, "optimizer": "sgd", "lr": 0.1, "decay_all": False, "epochs": 1}
    given |= {"method": "method_jobs:Still", "method_arg": (), "image_encoder": "none"}
    path = pretrain(root, tmp_path, "crosspoint", False, **given)
    weights = load_checkpoint(path)["method"]
    assert float(weights["head.weight"].max()) < 0.9
    for spared in ("head.bias", "norm.weight", "norm.bias", "token"):
        assert torch.equal(weights[spared], torch.ones_like(weights[spared])), spared
    path = pretrain(root, tmp_path / "all", "crosspoint", False, **{**given, "decay_all": True})
    weights = load_checkpoint(path)["method"]
    assert all(float(weights[name].max()) < 0.9 for name in ("head.bias", "norm.weight", "token"))


@pytest.mark.parametrize("name", METHODS)
def test_options_are_checked(name):
    with pytest.raises(UsageError, match=f"method '{name}' has no argument 'projectoin', did you"):
        build_method(name, PointMlp(), projectoin=8)
    with pytest.raises(UsageError, match=f"method '{name}': projection = 'wide', expected a value"):
        build_method(name, PointMlp(), projection="wide")
    with pytest.raises(UsageError, match=r"within_weight=-1\.0: must be at least 0"):
        build_method(name, PointMlp(), within_weight=-1.0)


@pytest.mark.parametrize("name", METHODS)
def test_a_frozen_image_encoder_does_not_move(name):
    if method_class(name).images == "none":
        return
    torch.manual_seed(0)
    method = build_method(name, PointMlp(), PictureNet(), freeze_image=True, **SMALL[name]).train()
    before = copy.deepcopy(method.image_encoder.state_dict())
    method(views(method, clouds(4, True)))["loss"].backward()
    assert not method.image_encoder.training
    assert all(p.grad is None for p in method.image_encoder.parameters())
    for key, value in method.image_encoder.state_dict().items():
        assert torch.equal(value, before[key]), key


@by_case
def test_half_precision_gives_a_loss_in_full(name, images):
    method = small_method(name, images).train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = method(views(method, clouds(8, images)))
    assert outputs["loss"].dtype == torch.float32
    exact = small_method(name, images).train()
    exact_loss = exact(views(exact, clouds(8, images)))["loss"].item()
    assert outputs["loss"].item() == pytest.approx(exact_loss, rel=0.1, abs=0.05)


def test_a_plain_module_is_a_method():
    method = build_method("method_jobs:Own", PointMlp(), temperature=0.25)
    assert isinstance(method, Own)
    assert "loss" in method(views(method, clouds(4, False)))
    assert method_class("method_jobs:Own").default_image_encoder == "resnet50"
