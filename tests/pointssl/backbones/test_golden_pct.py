"""PCT against PCT_Pytorch's outputs, through the zoo's keys, and its attention against loops."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from golden import load, load_golden, pick, relative
from shared import needs_shared

from pointssl.backbones.build import build_encoder
from pointssl.backbones.pct import OffsetAttention
from pointssl.checkpoints.zoo.recognise import recognise
from pointssl.heads import MlpHead
from pointssl_datasets.base.errors import UsageError

HEAD = {"linears.0": "linear1", "norms.0": "bn6", "linears.1": "linear2", "norms.1": "bn7"}
HEAD |= {"out": "linear3"}


@needs_shared
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_network(dtype: torch.dtype):
    golden = load_golden("pct_cls")
    weights = {k.removeprefix("weights."): v for k, v in golden.items() if k.startswith("weights.")}
    found = recognise(weights, Path("pct_cls"))
    assert found.family.name == "pct-cls"
    heads = {"linear1": 1, "linear2": 2, "linear3": 2, "bn6": 4, "bn7": 4}
    assert found.left == heads  # the head is left, and nothing else
    assert found.arguments == {
        "k": 32, "centres": [512, 256], "start": "first", "in_channels": 3, "channels": [64, 64],
        "local_channels": [128, 256], "attentions": 4, "embedding": 1024,
    }  # fmt: skip
    encoder = build_encoder("pct", **found.arguments).to(dtype).eval()
    load(encoder, {key: value.to(dtype) for key, value in found.weights.items()})
    head = MlpHead(1024, (512, 256), 40).to(dtype).eval()
    names = [key for key in head.state_dict() if not key.endswith("num_batches_tracked")]
    table = {key: HEAD[key.rpartition(".")[0]] + "." + key.rpartition(".")[2] for key in names}
    load(head, pick(golden, "weights", table, dtype))
    with torch.no_grad():
        logits = head(encoder(golden["xyz"].to(dtype)).cloud)
    assert relative(logits, golden["eval.logits"]) < 1e-5


def test_attention_as_the_public_code_has_it():
    """Over channels first: a softmax over the columns, divided by the sums over the rows."""
    torch.manual_seed(0)
    layer, x = OffsetAttention(8).double().eval(), torch.randn(2, 5, 8, dtype=torch.float64)
    layer.requires_grad_(False)
    for cloud, ours, given in zip(x, layer(x), layer.weights(x), strict=True):
        places = range(len(cloud))
        query = [layer.query(point) for point in cloud]
        energy = torch.tensor(
            [[float((query[i] * query[j]).sum()) for j in places] for i in places]
        )
        share = torch.stack([row.exp() / row.exp().sum() for row in energy.double()])
        for j in places:
            column = share[:, j] / (1e-9 + share[:, j].sum())
            attended = sum(column[i] * layer.value(cloud[i]) for i in places)
            lbr = F.relu(layer.layer(cloud[j] - attended))
            assert torch.allclose(ours[j], cloud[j] + lbr, rtol=1e-5)
            assert torch.allclose(given[0, j], column, rtol=1e-5)
    assert torch.allclose(layer.weights(x).sum(-1), torch.ones(2, 1, 5, dtype=torch.float64))


def test_the_embedding_pools_neighbours_of_its_centres_alone():
    """The centres are the ends of the line, each with one more neighbour."""
    small = {"k": 2, "embedding": 8, "channels": [16], "local_channels": [16], "centres": [2]}
    encoder = build_encoder("pct", seed=0, **small).eval()

    def cloud(*line: float) -> torch.Tensor:
        return encoder(torch.tensor([[[x, 0.0, 0.0] for x in line]])).cloud

    before = cloud(0, 1, 4, 9, 10)
    assert torch.equal(cloud(0, 1, 5, 9, 10), before)
    assert not torch.equal(cloud(0, 1.5, 4, 9, 10), before)
    assert not torch.equal(cloud(0, 1, 4, 8.5, 10), before)


@pytest.mark.parametrize(("centres", "local"), [([8], [8, 8]), ([8, 4, 2], [8, 8])])
def test_as_many_centres_as_embeddings(centres: list[int], local: list[int]):
    with pytest.raises(UsageError, match="expected one of each for every neighbour embedding"):
        build_encoder("pct", centres=centres, local_channels=local)
