"""Masked trunks from files with the public key names."""

import pytest
import torch
from in_process import refused
from torch import Tensor, nn

import pointssl
from pointssl.backbones.build import build_encoder
from pointssl.checkpoints.zoo import masked, point_mamba
from pointssl.checkpoints.zoo.family import Weights
from pointssl.checkpoints.zoo.opening import open_checkpoint

SIZES = {"groups": 8, "group_size": 6, "depth": 3, "taps": (1, 2, 3), "start": "first"}
GIVEN = {"groups": 8, "group_size": 6, "start": "first"}  # what shapes don't tell
TRANSFORMER = ("patch_transformer", {**SIZES, "embedding": 128, "heads": 2})
BRIDGED = ("patch_transformer", {**TRANSFORMER[1], "class_token": True, "group_channels": 16})
MAMBA = ("mamba", {**SIZES, "embedding": 32, "state": 4, "conv": 3})
HILBERT = ("mamba", {**MAMBA[1], "order": "hilbert"})


def seen(module: nn.Module) -> nn.Module:
    """As after some training: no parameter or statistic is zero or one."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in (*module.parameters(), *module.buffers()):
            if value.is_floating_point():
                value.add_(0.1 * torch.rand(value.shape, generator=generator))
    return module.eval()


def public(ours: nn.Module, keys, prefix: str = "") -> dict[str, Tensor]:
    """Our weights under their names, in the shapes of their layers."""
    state = ours.state_dict()
    counters = [key for key in state if key.endswith("num_batches_tracked")]
    theirs: Weights = {  # what the key functions look at
        **{f"blocks.blocks.{i}.attn.qkv.weight": state["norm.weight"] for i in range(3)}
    } if "norm.weight" in state else {
        f"blocks.layers.{i}.mixer.A_log": state["norm.0.weight"] for i in range(3)
    }  # fmt: skip
    if "patches.bridge.weight" in state:
        theirs = {**theirs, "reduce_dim.weight": state["patches.bridge.weight"]}
    if "serialise.scales.0" in state:
        theirs = {**theirs, "OrderScale_gamma_1": state["serialise.scales.0"]}
    table = keys(theirs)
    assert set(table) == set(state) - set(counters)
    found = {}
    for our, their in table.items():
        value = state[our].clone()
        if "_conv." in their and value.dim() == 2:
            value = value[..., None]
        if their.startswith("cls_"):
            value = value[None, None]
        found[prefix + their] = value
    return found


def rows(*names: str) -> dict[str, Tensor]:
    return {name: torch.ones(2, 2) for name in names}


CONTRAST = ("attn_contrast.q.weight", "norm1_contrast.weight", "mlp_contrast.fc1.weight")
CASES = {
    "point-mae": (
        TRANSFORMER, masked.transformer_keys, "module.MAE_encoder.",
        rows("module.mask_token", "module.MAE_decoder.norm.weight"),
    ),
    "point-mae-cls": (
        ("patch_transformer", {**TRANSFORMER[1], "class_token": True}), masked.keys_with_token,
        "", rows("cls_head_finetune.0.weight"),
    ),
    "point-mae-partseg": (
        TRANSFORMER, masked.transformer_keys, "module.",
        rows("module.label_conv.0.weight", "module.propagation_0.mlp_convs.0.weight"),
    ),
    "point-bert": (
        BRIDGED, masked.keys_with_token, "module.transformer_q.",
        rows("module.transformer_q.lm_head.weight", "module.dvae.encoder.first_conv.0.weight"),
    ),
    "point-bert-finetuned": (
        BRIDGED, masked.keys_with_token, "module.", rows("module.cls_head_finetune.0.weight")
    ),
    "recon": (
        ("patch_transformer", {**TRANSFORMER[1], "normed_residual": True}),
        masked.transformer_keys, "MAE_encoder.",
        rows("MAE_encoder.cls_token", *(f"MAE_encoder.blocks.blocks.0.{k}" for k in CONTRAST)),
    ),
    "recon-cls": (
        ("patch_transformer", {**TRANSFORMER[1], "normed_residual": True}),
        masked.transformer_keys, "",
        rows("cls_token", "cls_head_finetune.0.weight",
             *(f"blocks.blocks.0.{k}" for k in CONTRAST)),
    ),
    "point-mamba": (MAMBA, point_mamba.mamba_keys, "MAE_encoder.", rows("MAE_decoder.norm.weight")),
    "point-mamba-cls": (MAMBA, point_mamba.mamba_keys, "", rows("cls_head_finetune.0.weight")),
    "point-mamba-partseg": (MAMBA, point_mamba.mamba_keys, "", rows("label_conv.0.weight")),
    "point-mamba-hilbert": (HILBERT, point_mamba.mamba_keys, "MAE_encoder.", rows("mask_token")),
    "point-mamba-hilbert-cls": (
        HILBERT, point_mamba.mamba_keys, "", rows("cls_head_finetune.0.weight")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_public_file_gives_the_same_network(tmp_path, name):
    (backbone, arguments), keys, prefix, others = CASES[name]
    ours = seen(build_encoder(backbone, seed=0, **arguments))
    torch.save({"base_model": public(ours, keys, prefix) | others}, tmp_path / "theirs.pth")
    facts = open_checkpoint(tmp_path / "theirs.pth")["facts"]
    assert facts["imported"]["family"] == name
    assert sum(facts["imported"]["left"].values()) == len(others)
    loaded = pointssl.load_encoder(tmp_path / "theirs.pth", **GIVEN)
    xyz = torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for one, other in zip(loaded(xyz), ours(xyz), strict=True):
            assert torch.equal(one, other)


def test_names_of_a_mamba_block():
    """As mamba_ssm has them, inside PointMamba's list of layers."""
    mixer = [f"mixer.{name}" for name in ("A_log", "D", "in_proj.weight", "x_proj.weight")]
    mixer += ["mixer.conv1d.weight", "mixer.conv1d.bias", "mixer.out_proj.weight"]
    block = [*mixer, "mixer.dt_proj.weight", "mixer.dt_proj.bias", "norm.weight", "norm.bias"]
    names = {f"blocks.layers.0.{name}" for name in block}
    around = {"blocks.norm_f.weight", "blocks.norm_f.bias"}
    one = {"blocks.layers.0.mixer.A_log": torch.ones(1)}
    found = set(point_mamba.mamba_keys(one).values())
    patches = set(masked.patches_keys({}).values())
    assert found == {*names, *around, *patches, "norm.weight", "norm.bias"}
    scales = {f"OrderScale_{kind}_{i}" for kind in ("gamma", "beta") for i in (1, 2)}
    found = set(point_mamba.mamba_keys(one | dict.fromkeys(scales, torch.ones(1))).values())
    assert found == {*names, *around, *patches, *scales}


def test_every_family_has_a_case():
    assert {family.name for family in (*masked.FAMILIES, *point_mamba.FAMILIES)} == {
        *CASES,
        "pointgpt",
    }


def test_the_query_network_of_point_bert_is_taken(tmp_path):
    arguments = BRIDGED[1]
    query, key = (seen(build_encoder(BRIDGED[0], seed=seed, **arguments)) for seed in (0, 1))
    weights = {}
    for network, name in ((query, "q"), (key, "k")):
        weights |= public(network, masked.keys_with_token, f"transformer_{name}.")
        weights[f"transformer_{name}.lm_head.weight"] = torch.ones(2, 2)
    torch.save(weights, tmp_path / "bert.pth")
    checkpoint = open_checkpoint(tmp_path / "bert.pth")
    assert torch.equal(checkpoint["encoder"]["token"], query.token)
    assert checkpoint["facts"]["imported"]["notes"][1:] == [
        "the file holds 2 such networks: 'transformer_q.' was taken"
    ]


def test_pointgpt_is_known_and_refused(tmp_path, capfd):
    keys = ("blocks.layers.0.ln_1.weight", "blocks.sos", "encoder.first_conv.0.weight")
    torch.save(rows(*(f"GPT_Transformer.{key}" for key in keys)), tmp_path / "gpt.pth")
    line = refused(capfd, 1, "import", tmp_path / "gpt.pth", tmp_path / "out.pt")
    assert "PointGPT (Chen et al. 2023). It is another network" in line
    assert "causal" in line
    assert not (tmp_path / "out.pt").exists()
