"""VICReg, Barlow Twins and SimSiam: their losses against the papers' formulas, one number at a
time, and the methods from their pieces."""

import copy
import math

import pytest
import torch
from method_jobs import clouds, small_method, views
from torch import Tensor

from pointssl.losses import barlow_among, cross_correlation, negative_cosine, vicreg_among
from pointssl.methods.base import both_views
from pointssl.methods.simsiam import predict_each_other


def embeddings(rows: int = 7, channels: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, rows, channels, generator=generator, dtype=torch.float64)
    return a, 0.7 * a + 0.5 * b + 0.3


def slow_vicreg(a: list[list[float]], b: list[list[float]]) -> tuple[float, float, float]:
    """Equations 1 to 4 of the paper; the invariance is a mean over channels, as in the code."""
    n, d = len(a), len(a[0])
    invariance = sum((a[i][j] - b[i][j]) ** 2 for i in range(n) for j in range(d)) / (n * d)
    variance = covariance = 0.0
    for z in (a, b):
        mean = [sum(row[j] for row in z) / n for j in range(d)]
        c = [
            [sum((row[j] - mean[j]) * (row[k] - mean[k]) for row in z) / (n - 1) for k in range(d)]
            for j in range(d)
        ]
        variance += sum(max(0.0, 1 - math.sqrt(c[j][j] + 1e-4)) for j in range(d)) / d / 2
        covariance += sum(c[j][k] ** 2 for j in range(d) for k in range(d) if j != k) / d
    return invariance, variance, covariance


def slow_barlow(a: list[list[float]], b: list[list[float]]) -> tuple[float, float]:
    """Equation 1 and 2 of the paper."""
    n, d = len(a), len(a[0])

    def standardised(z: list[list[float]]) -> list[list[float]]:
        mean = [sum(row[j] for row in z) / n for j in range(d)]
        std = [math.sqrt(sum((row[j] - mean[j]) ** 2 for row in z) / n + 1e-5) for j in range(d)]
        return [[(row[j] - mean[j]) / std[j] for j in range(d)] for row in z]

    a, b = standardised(a), standardised(b)
    c = [[sum(a[i][j] * b[i][k] for i in range(n)) / n for k in range(d)] for j in range(d)]
    invariance = sum((1 - c[j][j]) ** 2 for j in range(d))
    return invariance, sum(c[j][k] ** 2 for j in range(d) for k in range(d) if j != k)


def slow_simsiam(p1, z1, p2, z2) -> float:
    """Equation 1 and 2 of the paper, row by row."""

    def cosine(p, z):
        dot = sum(x * y for x, y in zip(p, z, strict=True))
        return dot / math.sqrt(sum(x * x for x in p) * sum(y * y for y in z))

    rows = zip(p1, z1, p2, z2, strict=True)
    return sum(-(cosine(a, d) + cosine(c, b)) / 2 for a, b, c, d in rows) / len(p1)


def test_vicreg_is_the_formula():
    a, b = embeddings()
    found = [float(term) for term in vicreg_among(0.5 * a, 0.5 * b)]
    assert found == pytest.approx(slow_vicreg((0.5 * a).tolist(), (0.5 * b).tolist()), rel=1e-12)
    assert min(found) > 0


def test_barlow_is_the_formula():
    a, b = embeddings()
    found = [float(term) for term in barlow_among(a, b)]
    assert found == pytest.approx(slow_barlow(a.tolist(), b.tolist()), rel=1e-12)
    assert min(found) > 0


def test_simsiam_is_the_formula():
    a, b = embeddings()
    found = float(predict_each_other(a, a + b, b, a - b))
    expected = slow_simsiam(a.tolist(), (a + b).tolist(), b.tolist(), (a - b).tolist())
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: sum(vicreg_among(0.5 * a, b)),
        lambda a, b: sum(barlow_among(a, b)),
        lambda a, b: cross_correlation(a, b).square().sum(),
        negative_cosine,
    ],
)
def test_gradients_are_those_of_small_differences(loss):
    a, b = (z.requires_grad_() for z in embeddings(5, 3))
    assert torch.autograd.gradcheck(loss, (a, b))


def test_simsiam_stops_the_gradient_at_its_targets():
    a, b = (z.requires_grad_() for z in embeddings())
    predict_each_other(a * 1, b, a * 2, b).backward()
    assert a.grad is not None
    assert b.grad is None


def test_collapsed_and_constant_channels_have_finite_losses():
    same = torch.ones(6, 4, requires_grad=True)
    for terms in (vicreg_among(same, same), barlow_among(same, same)):
        total = sum(terms)
        (gradient,) = torch.autograd.grad(total, same)
        assert torch.isfinite(total)
        assert torch.isfinite(gradient).all()
    variance = vicreg_among(same, same).variance.detach()
    assert float(variance) == pytest.approx(0.99)  # 1 - sqrt(1e-4)
    assert float(barlow_among(same, same).invariance.detach()) == pytest.approx(4)


def test_vicreg_from_its_pieces():
    method = small_method("vicreg", True).double()
    batch = {k: v.double() for k, v in views(method, clouds(6, True)).items() if k != "index"}
    pieces = copy.deepcopy(method)
    outputs = method(batch)
    z1, z2 = pieces.head(both_views(pieces.encoder, batch)).chunk(2)
    z_image = pieces.image_head(pieces.image_encoder(batch["image"]))
    weights = (25.0, 25.0, 1.0)
    within = sum(w * t for w, t in zip(weights, slow_vicreg(z1.tolist(), z2.tolist()), strict=True))
    mean = ((z1 + z2) / 2).tolist()
    terms = slow_vicreg(mean, z_image.tolist())
    cross = sum(w * t for w, t in zip(weights, terms, strict=True))
    assert outputs["loss"].item() == pytest.approx(within + cross, rel=1e-9)
    assert outputs["loss_cross"].item() == pytest.approx(cross, rel=1e-9)


def test_barlow_from_its_pieces():
    method = small_method("barlow", True).double()
    batch = {k: v.double() for k, v in views(method, clouds(6, True)).items() if k != "index"}
    pieces = copy.deepcopy(method)
    outputs = method(batch)
    z1, z2 = pieces.head(both_views(pieces.encoder, batch)).chunk(2)
    z_image = pieces.image_head(pieces.image_encoder(batch["image"]))
    on, off = slow_barlow(z1.tolist(), z2.tolist())
    on_image, off_image = slow_barlow(((z1 + z2) / 2).tolist(), z_image.tolist())
    cross = on_image + 5e-3 * off_image
    assert outputs["loss"].item() == pytest.approx(on + 5e-3 * off + cross, rel=1e-9)
    assert outputs["redundancy_within"].item() == pytest.approx(off, rel=1e-9)


def test_simsiam_from_its_pieces():
    method = small_method("simsiam", True).double().eval()  # norms see the same in every order
    batch = {k: v.double() for k, v in views(method, clouds(6, True)).items() if k != "index"}
    outputs = method(batch)
    z1, z2 = method.head(both_views(method.encoder, batch)).chunk(2)
    p1, p2 = method.predictor(z1), method.predictor(z2)
    within = slow_simsiam(p1.tolist(), z1.tolist(), p2.tolist(), z2.tolist())
    z, z_image = (z1 + z2) / 2, method.image_head(method.image_encoder(batch["image"]))
    p, p_image = method.predictor(z), method.image_predictor(z_image)
    cross = slow_simsiam(p.tolist(), z.tolist(), p_image.tolist(), z_image.tolist())
    assert outputs["loss"].item() == pytest.approx(within + cross, rel=1e-9)


def test_weights_of_the_terms():
    for name in ("vicreg", "barlow", "simsiam"):
        method = small_method(name, True)
        batch = views(method, clouds(6, True))
        whole = copy.deepcopy(method)(batch)
        method.cross_weight = 0.0
        within = copy.deepcopy(method)(batch)["loss"].item()
        assert whole["loss"].item() == pytest.approx(within + whole["loss_cross"].item(), rel=1e-5)
