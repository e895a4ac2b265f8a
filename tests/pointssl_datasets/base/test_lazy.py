"""A sequence whose items are made on demand, against the list of them."""

import pytest

from pointssl_datasets.base.lazy import Lazy


@pytest.mark.parametrize("count", [0, 1, 5])
def test_is_the_list(count):
    lazy, plain = Lazy(count, str), [str(i) for i in range(count)]
    assert list(lazy) == plain
    assert list(reversed(lazy)) == plain[::-1]
    assert [lazy[i] for i in range(-count, count)] == plain + plain
    assert lazy[1:4] == plain[1:4]
    assert lazy[::-2] == plain[::-2]
    assert ("4" in lazy) == ("4" in plain)
    for index in (count, -count - 1):
        with pytest.raises(IndexError):
            lazy[index]


def test_nothing_is_made_before_it_is_asked_for():
    made = []
    lazy = Lazy(10**12, made.append)
    assert len(lazy) == 10**12
    assert made == []
    lazy[-1]
    assert made == [10**12 - 1]
