"""The fast edge convolutions against their readable twins: values, gradients, statistics."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pointssl.ops import double_edge_conv as double_edge_conv_module
from pointssl.ops import gather
from pointssl.ops.cpu import double_edge_conv as compiled_double
from pointssl.ops.edge_conv import double_edge_conv, edge_conv
from pointssl.ops.neighbours import knn_reference
from pointssl.ops.reference import double_edge_conv_reference, edge_conv_reference

pytestmark = pytest.mark.usefixtures("backend")

PAIRS = {
    "single": (edge_conv, edge_conv_reference),
    "double": (double_edge_conv, double_edge_conv_reference),
}
C, HIDDEN, P = 5, 11, 13  # channels in, of the first layer, of the second


class Layer(nn.Module):
    """Weights and norms for either convolution, with scales of both signs."""

    def __init__(self, kind: str, **norm: float | None) -> None:
        super().__init__()
        self.weight1 = nn.Parameter(torch.randn(HIDDEN, 2 * C))
        self.norm1 = nn.BatchNorm1d(HIDDEN, **norm)
        if kind == "double":
            self.weight2 = nn.Parameter(torch.randn(P, HIDDEN))
            self.norm2 = nn.BatchNorm1d(P, **norm)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)

    def run(self, conv: Callable[..., Tensor], x: Tensor, idx: Tensor, **options: float) -> Tensor:
        layers = [self.weight1, self.norm1]
        if hasattr(self, "weight2"):
            layers += [self.weight2, self.norm2]
        return conv(x, idx, *layers, **options)


def outcome(layer: Layer, conv: Callable[..., Tensor], x: Tensor, idx: Tensor, **options) -> dict:
    """Everything that a call gives: output, gradients and buffers."""
    layer, x = copy.deepcopy(layer), x.detach().requires_grad_()
    y = layer.run(conv, x, idx, **options)
    cotangent = torch.arange(y.numel(), dtype=y.dtype).cos().view_as(y)
    y.backward(cotangent)
    found = {"y": y.detach(), "grad x": x.grad}
    found |= {f"grad {name}": p.grad for name, p in layer.named_parameters()}
    return found | dict(layer.named_buffers())


def assert_same(ours: dict, reference: dict, tolerance: float, gradients: float | None = None):
    assert ours.keys() == reference.keys()
    for name, value in reference.items():
        if not value.is_floating_point():
            assert torch.equal(ours[name], value), name
            continue
        allowed = gradients if gradients and name.startswith("grad") else tolerance
        error = float((ours[name] - value).norm() / value.norm().clamp_min(1e-6))
        assert error < allowed, (name, error)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize(
    ("clouds", "points", "k"), [(3, 40, 7), (1, 40, 7), (2, 12, 12), (2, 30, 1), (2, 2, 2)]
)
def test_equals_the_reference(kind: str, training: bool, clouds: int, points: int, k: int):
    layer = Layer(kind).double().train(training)
    x = torch.randn(clouds, points, C, dtype=torch.float64)
    idx = knn_reference(x, k)
    fast, slow = PAIRS[kind]
    assert_same(outcome(layer, fast, x, idx), outcome(layer, slow, x, idx), 1e-10)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
def test_zero_scales(kind: str, training: bool):
    layer = Layer(kind).double().train(training)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter[::3] = 0
    x = torch.randn(2, 30, C, dtype=torch.float64)
    idx = knn_reference(x, 5)
    fast, slow = (outcome(layer, conv, x, idx) for conv in PAIRS[kind])
    # All edges of such a channel are equal, so the scale's gradient depends on which one is said
    # to win: any is right. Everything else is the same.
    last = "grad norm2.weight" if kind == "double" else "grad norm1.weight"
    for found in (fast, slow):
        assert found[last].isfinite().all()
        found[last][::3] = 0
    assert_same(fast, slow, 1e-10)


def at(conv: Callable[..., Tensor], chosen: list[int]) -> Callable[..., Tensor]:
    """``conv`` with these points as centres."""
    return lambda x, *others, **options: conv(x, *others, centres=x[:, chosen], **options)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("slope", [0.0, 0.2])
@pytest.mark.parametrize("chosen", [[7, 3, 12, 0], [5], [9, *range(30), 9]])
def test_centres_are_a_few_of_the_points(
    kind: str, training: bool, slope: float, chosen: list[int], monkeypatch: pytest.MonkeyPatch
):
    """Or one, or more than there are points."""
    for module in (gather, double_edge_conv_module, compiled_double):
        monkeypatch.setattr(module, "BLOCK", 500)
    layer = Layer(kind).double().train(training)
    x = torch.randn(3, 30, C, dtype=torch.float64)
    idx = knn_reference(x, 6)[:, chosen]
    ours, reference = (
        outcome(layer, at(conv, chosen), x, idx, slope=slope) for conv in PAIRS[kind]
    )
    assert ours["y"].shape[:2] == (3, len(chosen))
    assert_same(ours, reference, 1e-10)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("slope", [0.0, 0.01, 0.5])
def test_slopes(kind: str, slope: float):
    layer = Layer(kind).double()
    x = torch.randn(2, 30, C, dtype=torch.float64)
    idx = knn_reference(x, 5)
    ours, reference = (outcome(layer, conv, x, idx, slope=slope) for conv in PAIRS[kind])
    if slope == 0:  # ties at zero: their edges get no gradient either way
        assert float(ours["y"].min()) == 0
    assert_same(ours, reference, 1e-10)


@pytest.mark.parametrize("kind", PAIRS)
def test_duplicates_among_the_points(kind: str):
    """As augmentation makes them: many points equal to the first."""
    layer = Layer(kind).double()
    x = torch.randn(2, 40, C, dtype=torch.float64)
    x[:, 20:] = x[:, :1]
    idx = knn_reference(x, 8)
    ours, reference = (outcome(layer, conv, x, idx) for conv in PAIRS[kind])
    # Of equal neighbours either may win, so what they get is compared together.
    for found in (ours, reference):
        grad = found["grad x"]
        found["grad x"] = torch.cat((grad[:, 1:20], (grad[:, :1] + grad[:, 20:].sum(1, True))), 1)
    assert_same(ours, reference, 1e-10)


@pytest.mark.parametrize("kind", PAIRS)
def test_momentum_none_averages_all_batches(kind: str):
    ours = Layer(kind, momentum=None).double()
    reference = copy.deepcopy(ours)
    fast, slow = PAIRS[kind]
    for _ in range(3):
        x = torch.randn(2, 20, C, dtype=torch.float64)
        idx = knn_reference(x, 4)
        ours.run(fast, x, idx), reference.run(slow, x, idx)
    for (name, a), b in zip(ours.named_buffers(), reference.buffers(), strict=True):
        assert torch.allclose(a.double(), b.double(), rtol=1e-10, atol=1e-12), name


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("training", [True, False])
def test_input_that_is_not_contiguous(kind: str, training: bool):
    layer = Layer(kind).double().train(training)
    x = torch.randn(C, 2, 30, 2, dtype=torch.float64)[..., 0].permute(1, 2, 0)
    idx = knn_reference(x, 10)[..., ::2]
    assert not x.is_contiguous()
    assert not idx.is_contiguous()
    ours, reference = (outcome(layer, conv, x, idx) for conv in PAIRS[kind])
    assert_same(ours, reference, 1e-10)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
def test_many_blocks(kind: str, training: bool, monkeypatch: pytest.MonkeyPatch):
    """The last one not full."""
    for module in (gather, double_edge_conv_module, compiled_double):
        monkeypatch.setattr(module, "BLOCK", 1000)
    layer = Layer(kind).double().train(training)
    x = torch.randn(3, 41, C, dtype=torch.float64)
    idx = knn_reference(x, 7)
    ours, reference = (outcome(layer, conv, x, idx) for conv in PAIRS[kind])
    assert_same(ours, reference, 1e-10)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
def test_float32(kind: str, training: bool):
    layer = Layer(kind).train(training)
    x = torch.randn(4, 300, C)
    idx = knn_reference(x, 20)
    ours, reference = (outcome(layer, conv, x, idx) for conv in PAIRS[kind])
    assert_same(ours, reference, 1e-5, gradients=1e-3)


@pytest.mark.parametrize("kind", PAIRS)
def test_statistics_far_from_zero(kind: str):
    """A large common offset must not cost the variance its digits."""
    layer = Layer(kind)
    x = torch.randn(4, 300, C) + 300
    idx = knn_reference(x, 20)
    ours = outcome(layer, PAIRS[kind][0], x, idx)
    exact = outcome(layer.double(), PAIRS[kind][1], x.double(), idx)
    for name in ("norm1.running_var", "norm1.running_mean"):
        assert torch.allclose(ours[name].double(), exact[name], rtol=1e-3), name


@pytest.mark.parametrize("kind", PAIRS)
def test_more_neighbours_than_fit_a_byte(kind: str):
    layer = Layer(kind).double()
    x = torch.randn(1, 300, C, dtype=torch.float64)
    idx = knn_reference(x, 300).flip(-1)
    ours, reference = (outcome(layer, conv, x, idx) for conv in PAIRS[kind])
    assert_same(ours, reference, 1e-10)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
def test_gradcheck(kind: str, training: bool):
    layer = Layer(kind).double().train(training)
    x = torch.randn(1, 6, C, dtype=torch.float64, requires_grad=True)
    idx = knn_reference(x.detach(), 3)

    def run(x: Tensor, *_: Tensor) -> Tensor:
        return layer.run(PAIRS[kind][0], x, idx)

    assert torch.autograd.gradcheck(
        run, (x, *layer.parameters()), eps=1e-7, atol=1e-5, fast_mode=True
    )

    def run_elsewhere(x: Tensor, centres: Tensor, *_: Tensor) -> Tensor:
        return layer.run(PAIRS[kind][0], x, idx[:, :4], centres=centres)

    centres = torch.randn(1, 4, C, dtype=torch.float64, requires_grad=True)  # not of the points
    assert torch.autograd.gradcheck(
        run_elsewhere, (x, centres, *layer.parameters()), eps=1e-7, atol=1e-5, fast_mode=True
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
def test_never_keeps_an_edge_tensor(kind: str, training: bool):
    layer = Layer(kind).train(training)
    clouds, points, k = 2, 200, 20
    x = torch.randn(clouds, points, C, requires_grad=True)
    idx = knn_reference(x, k)
    edges = clouds * points * k * min(HIDDEN, P)

    def largest_saved(conv: Callable[..., Tensor]) -> int:
        sizes = [0]

        def note(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            layer.run(conv, x, idx)
        return max(sizes)

    fast, slow = PAIRS[kind]
    assert largest_saved(slow) >= edges  # the test can tell
    if kind == "single" or training:
        assert largest_saved(fast) < edges / 5
