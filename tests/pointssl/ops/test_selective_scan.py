"""The selective scan against the recurrence written out, and against autograd through it."""

import pytest
import torch
from torch import Tensor

from pointssl.ops import selective_scan as module
from pointssl.ops.selective_scan import (
    scan_by_doubling,
    selective_scan,
    selective_scan_reference,
)

LENGTHS = [1, 2, 15, 16, 17, 50]  # chunks have 16 steps


def inputs(
    length: int, dtype: torch.dtype, clouds: int = 3, d: int = 5, n: int = 4
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, b, c = drawn(clouds, length, d), drawn(clouds, length, n), drawn(clouds, length, n)
    dt, a = drawn(clouds, length, d).exp(), -drawn(d, n).exp()  # from hardly any decay to all
    return [value.to(dtype).requires_grad_() for value in (x, dt, a, b, c, drawn(d))]


def relative(ours: Tensor, exact: Tensor) -> float:
    return float((ours - exact).detach().norm() / exact.detach().norm())


def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The states by doubling and all clouds at once, as on a GPU."""
    monkeypatch.setattr(module, "is_cpu", lambda value: False)


@pytest.fixture(params=["cpu", "gpu"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "gpu":
        on_a_gpu(monkeypatch)
    return request.param


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_equals_the_recurrence(way: str, length: int, dtype: torch.dtype, near: float):
    ours, exact = inputs(length, dtype), inputs(length, torch.float64)
    y, expected = selective_scan(*ours, chunk=16), selective_scan_reference(*exact)
    assert y.dtype == dtype
    assert relative(y, expected) < near
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    (y * weight).sum().backward()
    (expected * weight).sum().backward()
    for value, other in zip(ours, exact, strict=True):
        assert value.grad is not None
        assert other.grad is not None
        if other.grad.norm() > 0:  # at length 1 the rates do nothing
            assert relative(value.grad, other.grad) < 100 * near
        else:
            assert value.grad.norm() == 0


@pytest.mark.parametrize("chunk", [1, 3, 7, 64])
def test_chunks_do_not_change_the_result(way: str, chunk: int):
    values = inputs(50, torch.float64)
    expected = selective_scan_reference(*values)
    assert torch.allclose(selective_scan(*values, chunk=chunk), expected, rtol=1e-12, atol=1e-13)


def test_gradcheck(way: str):
    values = inputs(7, torch.float64, clouds=2, d=2, n=3)
    assert torch.autograd.gradcheck(lambda *v: selective_scan(*v, chunk=3), values)


def test_blocks_of_clouds(monkeypatch: pytest.MonkeyPatch):
    values = inputs(20, torch.float64)
    whole = selective_scan(*values)
    grads = torch.autograd.grad(whole.square().sum(), values)
    monkeypatch.setattr(module, "BLOCK", 40)  # two clouds, then one
    parts = selective_scan(*values)
    assert torch.allclose(parts, whole, rtol=1e-13)
    for one, other in zip(torch.autograd.grad(parts.square().sum(), values), grads, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)


def test_extreme_decay_rates():
    """Quotients of decays, as sums of logarithms would need them, are 0 / 0 or overflow here."""
    x, dt, a, b, c, skip = (value.detach() for value in inputs(50, torch.float32))
    for rates in (torch.full_like(a, -1e4), torch.full_like(a, -1e-8)):
        ours = selective_scan(x, dt, rates, b, c, skip)
        assert relative(ours, selective_scan_reference(x, dt, rates, b, c, skip)) < 1e-5


def test_the_scan_is_causal():
    values = [value.detach() for value in inputs(50, torch.float64)]
    whole = selective_scan(*values)
    x, dt, a, b, c, skip = values
    part = selective_scan(x[:, :21], dt[:, :21], a, b[:, :21], c[:, :21], skip)
    assert torch.allclose(whole[:, :21], part, rtol=1e-12)


def test_parallel_scan():
    decay, taken = torch.rand(13, 4), torch.randn(13, 4)
    rows = [taken[0]]
    for t in range(1, 13):
        rows.append(decay[t] * rows[-1] + taken[t])
    assert torch.allclose(scan_by_doubling(decay, taken), torch.stack(rows), atol=1e-6)


def test_autocast_is_disabled_inside():
    values = inputs(20, torch.float32)
    expected = selective_scan(*values)
    half = [value.bfloat16() if value.dim() == 3 else value for value in values]
    with torch.autocast("cpu", torch.bfloat16):
        found = selective_scan(*half)
        assert torch.equal(selective_scan(*values), expected)
    assert found.dtype == torch.float32
    assert relative(found, expected) < 2e-2


def test_the_twin_for_export(monkeypatch: pytest.MonkeyPatch):
    values = inputs(50, torch.float64)
    expected = selective_scan_reference(*values)
    monkeypatch.setattr(module, "is_exporting", lambda: True)
    assert torch.allclose(selective_scan(*values), expected, rtol=1e-12, atol=1e-13)
