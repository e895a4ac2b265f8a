"""CKA against its definition by Gram matrices, and what it must not depend on."""

import math

import pytest
import torch

from pointssl.inspection.cka import cka, cka_matrix, cka_reference


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("rows", "c", "d"), [(40, 5, 9), (30, 64, 3), (4, 2, 2)])
def test_cka_equals_the_version_with_gram_matrices(rows, c, d):
    x = noise(rows, c) + 3
    y = noise(rows, d, seed=1) + x[:, :1]
    # The unbiased estimate is the same for centred features, though its terms are not.
    assert cka(x, y) == pytest.approx(cka_reference(x, y), abs=1e-9)


def test_cka_ignores_rotation_scale_and_shift():
    x = noise(200, 10).double()
    turn = torch.linalg.qr(noise(10, 10, seed=2).double()).Q
    assert cka(x, x) == pytest.approx(1)
    assert cka(x, 7 * x @ turn + 5) == pytest.approx(1)
    assert cka(x, torch.cat((x, 0 * x), 1)) == pytest.approx(1)
    stretched = x * torch.linspace(0.05, 4, 10)
    assert cka(x, stretched) < 0.9  # not to any linear map


def test_cka_of_independent_wide_layers_is_small():
    x, y = noise(100, 400), noise(100, 300, seed=1)
    assert abs(cka(x, y)) < 0.1
    centred = [part - part.mean(0) for part in (x, y)]
    biased = (centred[0].mT @ centred[1]).norm() ** 2
    biased = biased / math.prod(float((part.mT @ part).norm()) for part in centred)
    assert biased > 0.7  # what the plain estimate would say


def test_cka_is_symmetric_and_nan_for_constant_features():
    x, y = noise(50, 4), noise(50, 6, seed=1) + noise(50, 1, seed=2)
    assert cka(x, y) == pytest.approx(cka(y, x))
    constant = torch.full((50, 3), 0.7)
    assert math.isnan(cka(x, constant))
    assert math.isnan(cka(x, constant + 1e-8 * noise(50, 3)))
    matrix = cka_matrix({"a": x, "b": y}, {"a": x, "c": constant})
    assert matrix[0][0] == pytest.approx(1)
    assert matrix[1][0] == pytest.approx(cka(y, x))
    assert all(math.isnan(row[1]) for row in matrix)
