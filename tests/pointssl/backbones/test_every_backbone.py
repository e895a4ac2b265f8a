"""Each backbone through the whole of it: pretrained by CrossPoint, fine-tuned, evaluated."""

import json

import pytest
from small_backbones import SMALL
from tiny import options, write_clouds

from pointssl.backbones import BACKBONES
from pointssl.config.finetune import FinetunePartsegConfig
from pointssl.config.pretrain import PretrainConfig
from pointssl.probes.build import eval_config
from pointssl.recipes import evaluate, pretrain
from pointssl.recipes.finetune import partseg as finetune_partseg

MACHINE = {"device": "cpu", "threads": 1, "progress": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_clouds(tmp_path_factory.mktemp("data"), per_class=4)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", BACKBONES)
def test_pretrain_finetune_evaluate(name: str, data, cache, tmp_path, capsys):
    arguments = tuple(f"{key}={json.dumps(value)}" for key, value in SMALL[name].items())
    small = {"backbone": name, "backbone_arg": arguments, "k": None, "embedding": None}
    small |= {"batch_size": 6, "epochs": 1, "cache_dir": cache}
    weights = pretrain.run(PretrainConfig(**options(data, tmp_path / "pretrain", **small)))
    assert "nan" not in capsys.readouterr().out

    config = FinetunePartsegConfig(
        weights=weights, size=16, points=32, batch_size=8, epochs=1, pictures=False,
        cache_dir=cache, run_dir=tmp_path / "parts", **MACHINE,
    )  # fmt: skip
    (parts,) = finetune_partseg.run(config)["runs"]
    assert parts["backbone"] == name
    assert 0 <= parts["test"]["masked"]["instance_miou"] <= 1

    config = eval_config("svm")(
        weights=weights, data="folder", data_root=data, cache_dir=cache, seeds=1,
        out=tmp_path / "svm", **MACHINE,
    )  # fmt: skip
    results = evaluate.run(config)
    assert set(results) == {"pretrained", "random init"}
    for row in results.values():
        assert 0 <= row["accuracy"]["mean"] <= 1
        assert row["backbone"] == name
