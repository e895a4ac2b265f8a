"""Features of unchanging images, computed once, against the encoder run at every step."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from image_jobs import both_ways, features, some_encoder, some_images
from in_process import call, refused, worked
from PIL import Image
from processes import run_ranks
from tiny import flags, options, write_clouds

from pointssl.augment import crosspoint_view, drawing, float_images, two_views, unchanged_view
from pointssl.checkpoints.file import load_checkpoint
from pointssl.config.pretrain import PretrainConfig
from pointssl.engine.distributed import World
from pointssl.engine.loading import seeded
from pointssl.engine.stopping import Stopped
from pointssl.features.cache import FeatureCache, weights_hash
from pointssl.images import features as module
from pointssl.images.features import image_features, serve_image_features
from pointssl.methods.crosspoint import CrossPoint
from pointssl.recipes.pretrain import run
from pointssl.recipes.pretrain_images import images_are_fixed
from pointssl.runs.trackers import read_metrics
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.serving.dataset import load_dataset

FROZEN = {"freeze_image": True, "image_augment": "none"}
ALONE = World(0, 0, 1, torch.device("cpu"))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def root(tmp_path):
    """Six clouds a class, each with two images."""
    root = write_clouds(tmp_path / "clouds", per_class=6)
    for number, image in enumerate(sorted(root.rglob("*.png"))):
        flat = Image.new("RGB", (16, 16), (7 * number % 256, 90, 200))
        flat.save(image.with_name(f"{image.stem}_1.png"))
    return root


def pretrain(root, run_dir, **changes):
    run(PretrainConfig(**options(root, run_dir, **{**FROZEN, **changes})))
    return load_checkpoint(run_dir / "checkpoints" / "last.pt")


def kept(root):
    return sorted((root / "cache" / "features").glob("*.safetensors"))


def assert_close(checkpoint, other, run_dir, other_dir):
    for name, value in other["method"].items():
        torch.testing.assert_close(checkpoint["method"][name], value, rtol=1e-5, atol=1e-6)
    rows, others = read_metrics(run_dir), read_metrics(other_dir)
    assert len(rows) == len(others) > 1
    for row, expected in zip(rows, others, strict=True):
        for name in ("loss", "loss_within", "loss_cross", "embedding_std"):
            assert row[name] == pytest.approx(expected[name], rel=1e-6), name


@pytest.mark.parametrize("count", [1, 9, 23])
def test_features_one_image_at_a_time(count, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 2)  # several exchanges
    encoder, images = some_encoder(), some_images(count)
    found = image_features(encoder, images, ALONE, batch_size=4)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    slow = torch.cat([encoder(pixel[None]) for pixel in pixels])
    torch.testing.assert_close(torch.from_numpy(found), slow.detach())
    assert found.dtype == np.float32


@pytest.mark.parametrize("count", [2, 23])
def test_features_on_three_ranks_are_those_of_one(count, tmp_path):
    alone = image_features(some_encoder(), some_images(count), ALONE, batch_size=4)
    for ranks in run_ranks(features, 3, tmp_path, count, 4):
        torch.testing.assert_close(ranks, torch.from_numpy(alone))


def test_the_same_image_of_the_same_cloud(root):
    """Every epoch serves the feature of the very image that it would have served."""
    load = {"points": 8, "image_size": 16, "cache_dir": root / "cache", "seed": 3}
    images, rows = (load_dataset("folder", root, "train", **load) for _ in range(2))
    stored = np.load(rows.images_folder / "images.npy")
    rows.replace_images(stored.reshape(len(stored), -1).astype(np.float32))
    served = set()
    for epoch in range(3):
        images.set_epoch(epoch)
        rows.set_epoch(epoch)
        for index in range(len(rows)):
            image, row = images[index], rows[index]
            assert "image" not in row
            assert torch.equal(image["xyz"], row["xyz"])
            expected = image["image"].permute(1, 2, 0).flatten().float()
            assert torch.equal(row["image_feature"], expected)
            served.add((index, expected.numpy().tobytes()))
    assert len(served) > len(rows)  # of some clouds, both images


def test_same_losses_as_the_encoder_at_every_step(root, tmp_path):
    slow = pretrain(root, tmp_path / "slow", image_cache=False)
    assert not kept(root)
    fast = pretrain(root, tmp_path / "fast")
    assert len(kept(root)) == 1
    assert_close(fast, slow, tmp_path / "fast", tmp_path / "slow")
    assert fast["method"].keys() == slow["method"].keys()


def test_mixture(root, tmp_path):
    mixed = {"data": f"concat:folder@{root}+folder@{tmp_path / 'more'}*0.5", "data_root": None}
    write_clouds(tmp_path / "more", per_class=4)
    slow = pretrain(root, tmp_path / "slow", **mixed, image_cache=False)
    fast = pretrain(root, tmp_path / "fast", **mixed)
    assert len(kept(root)) == 2
    assert_close(fast, slow, tmp_path / "fast", tmp_path / "slow")


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_on_two_ranks(root, tmp_path, amp):
    changes = {**FROZEN, "amp": amp}
    for losses in run_ranks(both_ways, 2, tmp_path, root, tmp_path, changes):
        assert losses.shape == (2, 2, 2)
        torch.testing.assert_close(
            losses[1], losses[0], rtol=1e-5 if amp == "off" else 1e-2, atol=0
        )


def test_stopped_and_continued(root, tmp_path):
    whole = pretrain(root, tmp_path / "whole")
    with pytest.raises(Stopped):
        pretrain(root, tmp_path / "run", max_time=0.0)
    continued = pretrain(root, tmp_path / "run")
    for name, value in whole["method"].items():
        assert torch.equal(continued["method"][name], value), name


def test_continued_with_the_weights_of_the_checkpoint(root, tmp_path):
    """Not with those that the encoder is built with, which may have changed since."""
    with pytest.raises(Stopped):
        pretrain(root, tmp_path / "run", max_time=0.0)
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    checkpoint = load_checkpoint(path)
    checkpoint["method"]["image_encoder.conv.weight"] *= -2
    torch.save(checkpoint, path)
    shutil.copytree(tmp_path / "run", tmp_path / "slow")
    slow = pretrain(root, tmp_path / "slow", image_cache=False)
    assert_close(pretrain(root, tmp_path / "run"), slow, tmp_path / "run", tmp_path / "slow")


def test_from_the_command_line(root, tmp_path, capfd):
    """Read the second time; computed again for other images, or from a damaged file."""
    images = "features of 36 images of folder: "

    def told(run_dir, **changes):
        words = flags(options(root, tmp_path / run_dir, **{**FROZEN, "epochs": 1, **changes}))
        return worked(capfd, "pretrain", *words)

    assert images + "computed" in told("first")
    assert images + "read from the cache" in told("second", seed=1, projection=4)
    assert images + "computed" in told("larger", image_size=32)
    assert images + "computed" in told("precision", amp="bf16")
    assert "features of" not in told("whenever", image_cache=False)
    assert "features of" not in told("augmented", image_augment=None)
    assert "features of" not in told("trained", freeze_image=False)
    assert images + "read from the cache" in told("neither", image_augment=None, augment="none")
    assert len(kept(root)) == 3
    for file in kept(root):
        file.write_bytes(file.read_bytes()[:-8])
    words = flags(options(root, tmp_path / "damaged", **FROZEN, epochs=1))
    ended = call(capfd, "pretrain", *words)
    assert ended.code == 0
    assert images + "computed" in ended.out
    assert ended.err.count("\n") == 1
    assert "not used" in ended.err


def test_the_key_of_the_cache_is_what_it_always_was(root):
    """Features that were computed before are found."""
    data = load_dataset("folder", root, "train", points=8, image_size=16, cache_dir=root / "cache")
    cache = FeatureCache(root / "cache" / "features")
    serve_image_features(some_encoder(), {"name": "mine"}, data, ALONE, cache, batch_size=4)
    weights = weights_hash(some_encoder().state_dict())
    key = {
        "encoder": {"amp": "off", "name": "mine", "weights": weights},
        "feature_version": 1,
        "kind": "picture features",
        "pictures": data.images_folder.name,
    }
    text = json.dumps(key, separators=(",", ":"))
    (file,) = kept(root)
    assert file.stem == hashlib.sha256(text.encode()).hexdigest()


def test_features_that_are_not_finite(root, tmp_path, capfd):
    state = some_encoder().state_dict()
    state["conv.weight"][0, 0, 0, 0] = torch.nan
    torch.save(state, tmp_path / "nan.pth")
    words = flags(options(root, tmp_path / "run", **FROZEN, image_weights=tmp_path / "nan.pth"))
    line = refused(capfd, 1, "pretrain", *words)
    assert line.startswith("the feature of image 0 of folder is not finite")
    assert not kept(root)


def test_a_method_that_wants_images_gets_them():
    class Mine(torch.nn.Module):
        pass

    config = PretrainConfig(freeze_image=True, image_augment="none")
    assert not images_are_fixed(config, Mine())
    assert images_are_fixed(config, CrossPoint.__new__(CrossPoint))


@pytest.mark.parametrize("augment", ["crosspoint", "none"])
def test_images_are_augmented_apart_from_clouds(augment):
    batch = {
        "xyz": torch.rand(4, 20, 3),
        "image": torch.from_numpy(some_images(4)).permute(0, 3, 1, 2),
        "index": torch.arange(4),
    }
    function = crosspoint_view if augment == "crosspoint" else unchanged_view

    def views(given, image):
        draw = drawing(given, seeded("cpu", 1), 0, 1)
        return float_images(two_views(given, draw, function), draw, image)

    plain, changed, rows = (
        views(given, image)
        for given, image in [
            (batch, "none"),
            (batch, "crosspoint"),
            ({**batch, "image_feature": torch.ones(4, 8)}, "none"),
        ]
    )
    assert torch.equal(plain["image"], batch["image"] / 255)
    assert not torch.allclose(changed["image"], plain["image"])
    assert torch.equal(rows["image_feature"], torch.ones(4, 8))
    for name in ("xyz1", "xyz2"):
        assert torch.equal(plain[name], changed[name])
        assert torch.equal(plain[name], batch["xyz"]) == (augment == "none")
    with pytest.raises(UsageError, match="--image-augment 'strong'"):
        PretrainConfig(image_augment="strong")


def test_options_of_an_image_encoder_that_is_not_there(root, tmp_path, capfd):
    for change, said in [
        ({"image_layers": 2}, "--image-layers 2: there is no image encoder to cut"),
        ({"image_pretrained": True}, "--image-pretrained: there is no image encoder to load"),
    ]:
        given = options(root, tmp_path / "run", image_encoder="none", **change)
        assert said in refused(capfd, 2, "pretrain", *flags(given))
