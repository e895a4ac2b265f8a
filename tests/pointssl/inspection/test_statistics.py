"""Numbers about layers, on features of which the answer is known."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.inspection.attention import summarise_entropies, watched_attention
from pointssl.inspection.statistics import LayerSums, effective_rank


def of(*batches):
    sums = LayerSums()
    for batch in batches:
        sums.add(batch)
    return sums.statistics()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0], 1.0),
        ([2.0, 2.0, 2.0, 2.0], 4.0),
        ([5.0, 0.0, 0.0], 1.0),
        ([3.0, 1.0], math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))),
        ([0.0, 0.0], 0.0),
    ],
)
def test_effective_rank_of_known_spectra(values, expected):
    assert effective_rank(torch.tensor(values)) == pytest.approx(expected)


def test_statistics_equal_those_of_all_features_at_once():
    features = noise(6, 50, 12) * torch.linspace(0.1, 3, 12) + 0.3
    features[1] += 1
    found = of(features[:1], features[1:4], features[4:])
    rows = features.double().flatten(0, 1)
    norms = rows.norm(dim=1)
    assert found["norm"]["mean"] == pytest.approx(float(norms.mean()))
    assert found["norm"]["std"] == pytest.approx(float(norms.std(correction=0)))
    assert found["norm"]["median"] == pytest.approx(float(norms.median()))
    assert found["rank"] == pytest.approx(effective_rank(torch.linalg.svdvals(rows)))
    variance = rows.var(0, correction=0).sum()
    assert found["spread"] == pytest.approx(math.sqrt(variance / rows.square().sum(1).mean()))
    between = features.double().mean(1).var(0, correction=0).sum() / variance
    assert found["between"] == pytest.approx(float(between))
    assert (found["places"], found["channels"]) == (50, 12)


def test_collapse_shows_in_the_statistics():
    point = of(noise(1, 1, 16).expand(3, 40, 16))
    assert point["rank"] == pytest.approx(1, abs=1e-3)
    assert point["spread"] < 1e-6
    assert point["between"] is None
    line = of(noise(3, 40, 1) * noise(1, 1, 16, seed=1))
    assert line["rank"] == pytest.approx(1, abs=1e-3)
    assert line["spread"] > 0.9
    clouds = of(noise(4, 1, 16).expand(4, 30, 16))  # alike within each cloud
    assert clouds["between"] == pytest.approx(1)
    assert 1.5 < clouds["rank"] <= 4.001
    nothing = of(torch.zeros(2, 5, 4))
    assert (nothing["rank"], nothing["spread"], nothing["norm"]["largest_ratio"]) == (0, 0, None)


def test_outliers_are_found_where_they_are_planted():
    features = F.normalize(noise(4, 64, 32), dim=-1)
    assert of(features)["outliers"]["count"] == 0
    features[2, 7] *= 10
    features[3, 60] *= 4
    features[0, 0] *= 2.9
    found = of(features)
    assert found["outliers"] == {"count": 2, "share": 2 / 256}
    assert found["norm"]["largest_ratio"] == pytest.approx(10, rel=1e-4)


class Telling(nn.Module):
    """Attention with weights of its own making."""

    def __init__(self, sharp: bool) -> None:
        super().__init__()
        self.sharp = sharp

    def weights(self, x: Tensor) -> Tensor:
        batch, rows = x.shape[:2]
        alike = torch.ones(batch, 2, rows, rows) / rows
        return torch.eye(rows).expand_as(alike) if self.sharp else alike

    def forward(self, x: Tensor) -> Tensor:
        return self.weights(x).mean(1) @ x


class Fused(nn.Module):
    """``scaled_dot_product_attention`` with four heads."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        heads = x.unflatten(-1, (4, -1)).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads, **self.options)


def seen(module, *inputs):
    with torch.no_grad(), watched_attention(module) as found:
        module(*inputs)
    return {name: summarise_entropies(calls) for name, calls in found.items()}


def test_uniform_attention_has_the_entropy_log_m():
    network = nn.Sequential(Telling(sharp=False), Telling(sharp=True))
    found = seen(network, noise(2, 11, 8))
    assert found["0"]["mean"] == pytest.approx(math.log(11), rel=1e-5)
    assert found["0"]["uniform"] == pytest.approx(math.log(11))
    assert found["1"]["mean"] == pytest.approx(0, abs=1e-6)
    assert len(found["1"]["heads"]) == 2
    zeros = seen(Fused(), torch.zeros(2, 11, 8))
    assert zeros[""]["mean"] == pytest.approx(math.log(11), rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": 2.0},
        {"is_causal": True},
        {"attn_mask": noise(3, 1, 9, 9, seed=4)},
        {"attn_mask": noise(9, 9, seed=5) + torch.eye(9) * 9 > 0},
    ],
)
def test_entropy_of_fused_attention_equals_that_of_its_weights(options):
    x = 2 * noise(3, 9, 16)
    found = seen(Fused(**options), x)[""]
    heads = x.unflatten(-1, (4, -1)).transpose(1, 2).double()
    logits = heads @ heads.mT * options.get("scale", 0.5)
    mask = options.get("attn_mask")
    if options.get("is_causal"):
        mask = torch.ones(9, 9).tril().bool()
    if mask is not None:
        logits = logits.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else logits + mask
    share = logits.softmax(-1)
    expected = -torch.special.xlogy(share, share).sum(-1).mean((0, 2))
    torch.testing.assert_close(
        torch.tensor(found["heads"]).double(), expected, rtol=1e-4, atol=1e-5
    )


def test_fused_attention_of_groups_and_of_shared_heads():
    x = noise(2, 5, 3, 9, 4)  # clouds, windows, heads
    with watched_attention(nn.Identity()) as found:
        F.scaled_dot_product_attention(x, x, x)
    assert found[""][0].values.shape == (10, 3)
    query, key = noise(2, 4, 9, 8), noise(2, 2, 7, 8)
    with watched_attention(nn.Identity()) as found:
        F.scaled_dot_product_attention(query, key, key, enable_gqa=True)
        F.scaled_dot_product_attention(query, key.repeat_interleave(2, 1), key.repeat(1, 2, 1, 1))
    shared, spelled_out = found[""]
    assert shared.keys == 7
    torch.testing.assert_close(shared.values, spelled_out.values)


def test_torchs_attention_is_recorded_and_its_output_unchanged():
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = noise(3, 7, 8)
    plain, plain_weights = attention(x, x, x)
    with torch.no_grad(), watched_attention(attention) as found:
        output, weights = attention(x, x, x)
        assert attention(x, x, x, need_weights=False)[1] is None
    torch.testing.assert_close(output, plain)
    torch.testing.assert_close(weights, plain_weights)
    each = attention(x, x, x, average_attn_weights=False)[1].detach().double()
    expected = -(each * each.log()).sum(-1).mean()
    assert len(found[""]) == 2
    assert summarise_entropies(found[""])["mean"] == pytest.approx(float(expected), rel=1e-5)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    assert list(seen(layer, x)) == ["self_attn"]


def test_modules_without_attention_are_ignored():
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.ParameterList([nn.Parameter(torch.ones(3))])

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weights[0]

    assert seen(Weighted(), noise(2, 5, 3)) == {}
