"""Orders of points: the Hilbert curve is one, and no order depends on how the points stood."""

import pytest
import torch

from pointssl.ops.serialise import BITS, ORDERS, hilbert_index, serial_orders
from pointssl_datasets.base.errors import UsageError


def grid(bits):
    return torch.cartesian_prod(*[torch.arange(2**bits)] * 3)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_the_curve_visits_every_cell_once_and_never_jumps(bits):
    cells = grid(bits)
    index = hilbert_index(cells, bits)
    assert torch.equal(index.sort().values, torch.arange(8**bits))
    path = cells[index.argsort()]
    assert (path[1:] - path[:-1]).abs().sum(1).eq(1).all()


def test_octants_are_visited_one_after_the_other():
    cells = grid(3)
    path = cells[hilbert_index(cells, 3).argsort()]
    octants = (path >> 2).view(8, 64, 3)
    assert (octants == octants[:, :1]).all()


def test_a_small_grid_is_ordered_alike_by_more_bits():
    assert torch.equal(hilbert_index(grid(4)), hilbert_index(grid(4), 4))  # 16 and 4: threes apart
    corner = torch.full((3,), 2**BITS - 1)
    assert 0 <= int(hilbert_index(corner)) < 8**BITS


@pytest.mark.parametrize("order", ORDERS)
def test_orders_do_not_depend_on_the_order_of_the_points(order):
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(2, 50, 3, generator=generator)
    shuffle = torch.randperm(50, generator=generator)
    for cloud, shuffled in zip(places, places[:, shuffle], strict=True):
        one = cloud[serial_orders(cloud[None], order)[0]]
        other = shuffled[serial_orders(shuffled[None], order)[0]]
        assert one.shape == (ORDERS[order], 50, 3)
        assert torch.equal(one, other)


def test_along_the_axes():
    places = torch.tensor([[[0.0, 5, 2], [1, 4, 9], [2, 3, -1]]])
    assert serial_orders(places, "xyz")[0].tolist() == [[0, 1, 2], [2, 1, 0], [2, 0, 1]]


def test_along_the_curve():
    places = 0.02 * grid(2)[None] + 7.01  # anywhere: the grid starts at the lowest cell
    straight, turned = serial_orders(places, "hilbert")[0]
    steps = places[0, straight].diff(dim=0).abs().sum(1)
    assert torch.allclose(steps, torch.full_like(steps, 0.02), atol=1e-5)
    assert torch.allclose(places[0, turned][:, [1, 0, 2]], places[0, straight])


def test_equals_keep_their_order():
    places = torch.zeros(1, 4, 3)
    for order, count in ORDERS.items():
        assert serial_orders(places, order)[0].tolist() == [[0, 1, 2, 3]] * count


def test_wrong_input():
    with pytest.raises(UsageError, match="order 'z': expected one of xyz, hilbert"):
        serial_orders(torch.zeros(1, 2, 3), "z")
    with pytest.raises(UsageError, match="cell 0: expected an edge length above 0"):
        serial_orders(torch.zeros(1, 2, 3), "hilbert", cell=0)
