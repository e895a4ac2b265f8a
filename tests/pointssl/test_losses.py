"""NT-Xent against the reference implementation's numbers and against a plain loop."""

import math

import pytest
import torch
from golden import load_golden
from shared import needs_shared
from torch import Tensor

from pointssl.losses import embedding_std, nt_xent


def rows(count: int, dim: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def nt_xent_loop(a: Tensor, b: Tensor, temperature: float) -> float:
    """The formula, one similarity at a time."""
    z = [row / math.sqrt(sum(float(x) ** 2 for x in row)) for row in (*a, *b)]
    count, total = len(a), 0.0
    for i in range(2 * count):
        partner = (i + count) % (2 * count)
        terms = [
            math.exp(float((z[i] * z[j]).sum()) / temperature) for j in range(2 * count) if j != i
        ]
        positive = math.exp(float((z[i] * z[partner]).sum()) / temperature)
        total -= math.log(positive / sum(terms))
    return total / (2 * count)


@needs_shared
@pytest.mark.parametrize("case", [0, 1, 2])
def test_golden_loss_and_gradients(case: int):
    golden = load_golden("nt_xent")
    a, b = (golden[f"{case}.{name}"].requires_grad_() for name in "ab")
    contrast = nt_xent(a, b, float(golden[f"{case}.temperature"]))
    contrast.loss.backward()
    assert contrast.loss.item() == pytest.approx(float(golden[f"{case}.loss"]), rel=1e-5)
    for value, name in ((a, "grad_a"), (b, "grad_b")):
        expected = golden[f"{case}.{name}"]
        assert float((value.grad - expected).norm() / expected.norm()) < 1e-4


@pytest.mark.parametrize("temperature", [0.07, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_equals_a_plain_loop(count: int, temperature: float):
    a, b = rows(count, 5), rows(count, 5, seed=1)
    ours = float(nt_xent(a, b, temperature).loss)
    assert ours == pytest.approx(nt_xent_loop(a, b, temperature), rel=1e-12, abs=1e-12)


def test_gradcheck():
    a, b = rows(4, 3).requires_grad_(), rows(4, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.3).loss, (a, b))


def test_norms_and_order_of_the_inputs_do_not_matter():
    a, b = rows(6, 5), rows(6, 5, seed=1)
    loss = float(nt_xent(a, b).loss)
    assert float(nt_xent(b, a).loss) == pytest.approx(loss)
    assert float(nt_xent(a * 7, b * 0.01).loss) == pytest.approx(loss)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite(dtype: torch.dtype):
    """Rows as short as 1e-4, whose squares underflow in half precision."""
    a, b = (1e-4 * rows(8, 64, seed, torch.float32) for seed in (0, 1))
    half = a.to(dtype).requires_grad_()
    loss = nt_xent(half, b.to(dtype), 0.1).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert half.grad.isfinite().all()
    exact = float(nt_xent(half.detach().double(), b.to(dtype).double(), 0.1).loss)
    assert loss.item() == pytest.approx(exact, rel=1e-4)


def test_autocast_does_not_reach_the_loss():
    a, b = rows(8, 64).float(), rows(8, 64, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = nt_xent(a, b).loss
    assert inside.dtype == torch.float32
    assert torch.equal(inside, nt_xent(a, b).loss)


def test_a_row_of_zeros_is_finite():
    a = rows(4, 8).float()
    a[0] = 0
    a.requires_grad_()
    loss = nt_xent(a, rows(4, 8, seed=1).float()).loss
    loss.backward()
    assert loss.isfinite()
    assert a.grad.isfinite().all()


def test_retrieval_and_negatives():
    z = torch.eye(6) + 0.01 * rows(6, 6).float()
    perfect = nt_xent(z, z)
    assert float(perfect.retrieval) == 1
    assert perfect.negatives == 10  # 2B - 2
    assert float(nt_xent(z, z.roll(1, 0)).retrieval) == 0
    half = torch.cat((z[:3], z[3:].roll(1, 0)))
    assert float(nt_xent(z, half).retrieval) == 0.5
    assert float(perfect.loss) < float(nt_xent(z, half).loss) < float(nt_xent(z, z.roll(1, 0)).loss)


def test_loss_of_embeddings_that_are_all_the_same():
    z = torch.ones(5, 3)
    assert float(nt_xent(z, z).loss) == pytest.approx(math.log(9), rel=1e-5)


def test_embedding_std():
    assert float(embedding_std(torch.ones(16, 32))) == pytest.approx(0, abs=1e-5)
    assert float(embedding_std(rows(4096, 64))) == pytest.approx(1, abs=0.02)
    line = rows(4096, 1) @ rows(1, 64, seed=1)  # two points on the sphere
    collapsed = 3 * torch.ones(64) + 0.01 * rows(256, 64)
    assert float(embedding_std(collapsed)) < 0.02 < float(embedding_std(line))
