"""Sums and maxima over neighbours against loops over every row and neighbour."""

import pytest
import torch
from torch import Tensor

from pointssl.ops import gather

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    return values, torch.randint(0, 30, (30, 7), generator=generator)


def test_flat_index():
    idx = torch.tensor([[[0, 1], [1, 0], [2, 2]], [[0, 0], [1, 2], [2, 1]]])
    expected = [[0, 1], [1, 0], [2, 2], [3, 3], [4, 5], [5, 4]]
    assert gather.flat_index(idx).tolist() == expected


def test_neighbour_sum(rows):
    values, idx = rows
    expected = torch.stack([sum(values[j] for j in row) for row in idx])
    assert torch.allclose(gather.neighbour_sum(values, idx), expected)


def test_in_degree_and_reverse_sum(rows):
    values, idx = rows
    degree, expected = torch.zeros(30, dtype=torch.float64), torch.zeros_like(values)
    for i, row in enumerate(idx):
        for j in row:
            degree[j] += 1
            expected[j] += values[i]
    assert torch.equal(gather.in_degree(idx, 30, torch.float64), degree)
    assert torch.allclose(gather.reverse_neighbour_sum(values, idx), expected)


def test_rows_without_incoming_edges():
    values, idx = torch.randn(4, 3), torch.zeros(4, 2, dtype=torch.int64)
    total = gather.reverse_neighbour_sum(values, idx)
    assert torch.allclose(total[0], 2 * values.sum(0), atol=1e-6)
    assert torch.equal(total[1:], torch.zeros(3, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("block", [8, 1 << 20])
def test_neighbour_max(rows, dtype, block, monkeypatch):
    monkeypatch.setattr(gather, "BLOCK", block)  # many blocks, or one
    values, idx = rows[0].to(dtype), rows[1]
    best, slot = gather.neighbour_max(values, idx)
    expected, winner = values[idx].max(dim=1)
    assert torch.equal(best, expected)
    assert torch.equal(gather._max_only(values, idx), expected)
    source = gather.slot_rows(idx, slot)
    assert torch.equal(values.gather(0, source), expected)
    assert torch.equal(source, idx.gather(1, winner))


def test_first_of_equal_neighbours_wins():
    values = torch.tensor([[1.0], [1.0], [0.0]])
    _, slot = gather.neighbour_max(values, torch.tensor([[2, 1, 0], [0, 1, 2], [2, 2, 2]]))
    assert slot.flatten().tolist() == [1, 0, 0]


def test_more_neighbours_than_fit_a_byte():
    values = torch.arange(400.0)[:, None]
    idx = torch.arange(400).expand(400, 400)
    _, slot = gather.neighbour_max(values, idx)
    assert slot.unique().tolist() == [399]


def test_max_of_slices():
    edges = torch.randn(6, 11, 3, generator=torch.Generator().manual_seed(0))
    before = edges.clone()
    best, slot = gather.max_of_slices(edges)
    expected = edges.max(dim=0)
    assert torch.equal(best, expected.values)
    assert torch.equal(slot.long(), expected.indices)
    assert torch.equal(edges, before)


def test_gradient_of_the_maximum(rows):
    values, idx = rows
    values.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: gather.NeighbourMax.apply(x, idx), (values,))
