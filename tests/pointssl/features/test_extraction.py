"""Features of a set by any number of processes: every item once, in order."""

import numpy as np
import pytest
import rank_jobs
import torch
from processes import run_ranks
from tiny import PointMlp, write_clouds

from pointssl.engine.distributed import World
from pointssl.features.cache import FeatureCache
from pointssl.features.extraction import cached_features, extract
from pointssl_datasets.base.errors import UserError
from pointssl_datasets.serving.dataset import load_dataset

ALONE = World(rank=0, local_rank=0, size=1, device=torch.device("cpu"))
COUNTS = (23, 2, 1)  # odd, and fewer items than ranks


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_clouds(tmp_path_factory.mktemp("clouds"), pictures=False)


@pytest.fixture(scope="module")
def ranks(root, tmp_path_factory):
    place = tmp_path_factory.mktemp("ranks")
    load_dataset("folder", root, "train", points=32, cache_dir=root / "cache")  # packs it
    return run_ranks(rank_jobs.features_step, 3, place, root, COUNTS)


def serve(root, **choice):
    return load_dataset("folder", root, "train", points=32, cache_dir=root / "cache", **choice)


@pytest.mark.parametrize("count", COUNTS)
def test_three_ranks_count_every_item_once_and_in_order(root, ranks, count):
    expected = rank_jobs.features_step(ALONE, root, [count])[count]
    assert expected.shape == (count, 32)
    assert len(torch.unique(expected, dim=0)) == count
    for rank in ranks:
        torch.testing.assert_close(rank[count], expected, rtol=1e-5, atol=1e-6)


def test_features_are_those_of_each_cloud_alone(root):
    dataset = serve(root)
    encoder = rank_jobs.BACKBONES["dgcnn"]().eval()
    with torch.no_grad():
        expected = torch.cat([encoder(dataset[i]["xyz"][None]).cloud for i in range(len(dataset))])
    for batch_size in (1, 7, 100):
        encoder.train()
        before = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
        found = extract(encoder, dataset, ALONE, batch_size=batch_size)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)
        assert all(torch.equal(buffer, before[name]) for name, buffer in encoder.named_buffers())


def test_a_feature_that_is_not_finite_names_the_cloud(root):
    class Broken(PointMlp):
        def forward(self, xyz, feats=None):
            features = super().forward(xyz, feats)
            features.cloud[xyz.abs().sum((1, 2)) == worst] = float("nan")
            return features

    dataset = serve(root)
    worst = dataset[13]["xyz"].abs().sum()
    with pytest.raises(UserError, match=f"feature of {dataset.names[13]} .*not finite"):
        extract(Broken(), dataset, ALONE, batch_size=1)


def test_the_cache_is_read_when_everything_is_the_same(root, tmp_path):
    dataset, encoder = serve(root), PointMlp()
    cache = FeatureCache(tmp_path)
    first, read = cached_features(encoder, {"weights": "a"}, dataset, ALONE, cache)
    assert not read
    torch.nn.init.zeros_(encoder.linear.weight)  # a cached feature needs no network
    again, read = cached_features(encoder, {"weights": "a"}, dataset, ALONE, cache)
    assert read
    assert np.array_equal(first, again)
    assert np.abs(first).sum() > 0
    for facts, served in (
        ({"weights": "b"}, dataset),
        ({"weights": "a"}, serve(root, seed=1)),
        ({"weights": "a"}, serve(root, turn="so3")),
        ({"weights": "a"}, serve(root, sampling="first")),
    ):
        assert not cached_features(encoder, facts, served, ALONE, cache)[1]
    assert not cached_features(encoder, {"weights": "a"}, dataset, ALONE, None)[1]


def test_cached_features_of_another_number_of_items_are_not_used(root, tmp_path):
    dataset, cache = serve(root), FeatureCache(tmp_path)
    facts = {"weights": "a"}
    key = {"kind": "cloud features", "encoder": facts, "data": dataset.facts()}
    cache.save(key, {"features": np.zeros((3, 16), np.float32)})
    features, read = cached_features(PointMlp(), facts, dataset, ALONE, cache)
    assert not read
    assert features.shape == (24, 16)
