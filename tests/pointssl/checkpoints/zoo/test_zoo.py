"""Public checkpoints: recognised by their keys, loaded whole or not at all, never run."""

import json
import random
import time

import numpy as np
import pytest
import torch
from golden import load_golden
from in_process import refused, worked
from safetensors.torch import save_file
from shared import SHARED, needs_shared

import pointssl
from pointssl.backbones import BACKBONES
from pointssl.backbones.build import build_encoder, with_defaults
from pointssl.checkpoints.file import FORMAT, load_checkpoint
from pointssl.checkpoints.reading import read_file
from pointssl.checkpoints.zoo import families
from pointssl.checkpoints.zoo.dgcnn import CLS_MARKS, SEG_MARKS, cls_keys
from pointssl.checkpoints.zoo.opening import open_checkpoint
from pointssl.checkpoints.zoo.recognise import recognise
from pointssl.checkpoints.zoo.unwrap import NESTS, unwrapped
from pointssl.recipes.finetune.rooms import areas_of
from pointssl_datasets.base.errors import UserError

SMALL = {"embedding": 16, "channels": (8, 8, 8, 16)}


def public_dgcnn(seed=0):
    """A state dict with the field's usual keys: each norm twice, as public code registers it."""
    ours = build_encoder("dgcnn", seed=seed, **SMALL).state_dict()
    theirs = {}
    for our, their in cls_keys({}).items():
        value = ours[our].clone()
        if their.endswith(".0.weight"):
            value = value[..., None] if their.startswith("conv5") else value[..., None, None]
        theirs[their] = value
        if their.startswith("bn"):
            theirs[f"conv{their[2]}.1.{their.partition('.')[2]}"] = value
            theirs[f"bn{their[2]}.num_batches_tracked"] = torch.tensor(3)
    return theirs


def clouds():
    return torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(0))


def test_families_are_complete():
    names = [family.name for family in families()]
    assert len(set(names)) == len(names)
    for family in families():
        assert family.backbone in BACKBONES, family.name
        assert family.source.startswith("https://"), family.name
        assert {"points", "normalise", "up_axis"} <= set(family.serve), family.name
        assert family.marks, family.name


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ({"inv_head.0.weight": torch.randn(3, 3)}, "crosspoint-cls"),
        ({"folding1.0.weight": torch.randn(3, 3)}, "occo"),
        ({"projector.0.weight": torch.randn(3, 3)}, "strl"),
        ({"something.weight": torch.randn(3, 3)}, "dgcnn"),
    ],
)
@pytest.mark.parametrize(
    ("nest", "prefix"),
    [
        ((), ""),
        (("state_dict",), "module."),
        (("model",), "_orig_mod.module."),
        (("net", "state_dict"), "backbone.module."),
        (("base_model",), "module.backbone._orig_mod."),
    ],
)
def test_any_stack_of_wrappings(tmp_path, capsys, nest, prefix, head, name):
    content = {prefix + key: value for key, value in (public_dgcnn() | head).items()}
    for around in reversed(nest):
        content = {around: content, "epoch": 3, "optimizer": {"state": {0: torch.ones(2)}}}
    path = tmp_path / "theirs.pth"
    torch.save(content, path)
    encoder = pointssl.load_encoder(path, k=5)
    expected = build_encoder("dgcnn", seed=0, k=5, **SMALL).eval()
    assert torch.equal(encoder(clouds()).cloud, expected(clouds()).cloud)
    said = capsys.readouterr().out
    assert f"recognised {name}: " in said
    assert (
        f"loaded 25 tensors into dgcnn{', under' if nest or 'backbone' in prefix else ''}" in said
    )
    assert f"missing: none; left (tensors): {next(iter(head)).partition('.')[0]} (1)" in said
    assert ("taken from its recipe: k 15" if name == "crosspoint-cls" else "recipe: k ") in said


@pytest.mark.parametrize("suffix", [".t7", ".ckpt", ".pkl", ".pt", ".safetensors"])
def test_every_kind_of_file(tmp_path, suffix):
    path = tmp_path / f"theirs{suffix}"
    weights = {key: value.clone() for key, value in public_dgcnn().items()}
    if suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=suffix != ".t7")
    assert pointssl.load_encoder(path, k=5).cloud_dim == 32


def test_of_two_networks_the_one_that_is_trained(tmp_path, capsys):
    head = {"projector.0.weight": torch.zeros(2, 2)}
    both = {f"target_network.{k}": v for k, v in (public_dgcnn(1) | head).items()}
    both |= {f"online_network.{k}": v for k, v in (public_dgcnn(2) | head).items()}
    torch.save({"state_dict": both}, tmp_path / "byol.ckpt")
    encoder = pointssl.load_encoder(tmp_path / "byol.ckpt")
    expected = build_encoder("dgcnn", seed=2, **SMALL)
    assert torch.equal(encoder.last.linear.weight, expected.last.linear.weight)
    assert "the file holds 2 such networks: 'online_network.' was taken" in capsys.readouterr().out


def test_an_encoder_with_missing_keys_is_refused(tmp_path, capfd):
    weights = public_dgcnn()
    del weights["bn2.running_mean"], weights["conv2.0.weight"]
    torch.save(weights, tmp_path / "part.pth")
    line = refused(capfd, 1, "import", tmp_path / "part.pth", tmp_path / "out.pt")
    assert "recognised as dgcnn" in line
    assert "2 tensors of the encoder are missing (conv2.0.weight, bn2.running_mean)" in line
    assert not (tmp_path / "out.pt").exists()


def test_a_network_that_nobody_knows(tmp_path, capfd):
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "w.pth")
    line = refused(capfd, 1, "import", tmp_path / "w.pth", tmp_path / "out.pt")
    assert "1 tensors of no network that is known here (fc.weight, ...)" in line
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    line = refused(capfd, 1, "import", tmp_path / "w.pth", tmp_path / "out.pt")
    assert "holds no named tensors" in line
    assert "found epoch" in line


class Options:
    """What a training script leaves in its checkpoint."""


def test_objects_are_refused_and_named(tmp_path, capfd):
    torch.save({"state_dict": public_dgcnn(), "args": Options()}, tmp_path / "w.ckpt")
    line = refused(capfd, 1, "import", tmp_path / "w.ckpt", tmp_path / "out.pt")
    assert "holds Python objects" in line
    assert "Options), which could run code when loaded, and was refused" in line
    assert "save the tensors alone: torch.save(model.state_dict(), ...)" in line


def test_numpy_numbers_are_data(tmp_path):
    best = {"acc": np.float64(0.9), "epoch": np.int64(3)}
    torch.save({"model_state_dict": public_dgcnn(), **best}, tmp_path / "w.pth")
    found = read_file(tmp_path / "w.pth")
    assert found["acc"] == 0.9
    assert unwrapped(found, tmp_path / "w.pth")[1] == ("model_state_dict",)


def test_a_truncated_or_absent_file(tmp_path, capfd):
    torch.save(public_dgcnn(), tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    for name in ("cut.pth", "cut.safetensors", "empty.pth"):
        (tmp_path / name).write_bytes(whole[: len(whole) // 2 if "cut" in name else 0])
        line = refused(capfd, 1, "import", tmp_path / name, tmp_path / "out.pt")
        assert "truncated, or of another kind?" in line
    assert "no checkpoint at" in refused(capfd, 1, "import", tmp_path / "no", tmp_path / "o.pt")
    assert "is a folder" in refused(capfd, 1, "import", tmp_path, tmp_path / "o.pt")
    line = refused(capfd, 2, "import", tmp_path / "w.pth", tmp_path / "out.bin")
    assert "expected a name that ends in .pt or .safetensors" in line


@pytest.mark.parametrize("name", ["ours.pt", "ours.safetensors"])
def test_import_writes_one_of_ours(tmp_path, capfd, name):
    torch.save(public_dgcnn(), tmp_path / "w.pth")
    said = worked(
        capfd, "import", tmp_path / "w.pth", tmp_path / name, "--backbone-arg", "k=7",
        "--points", 64, "--up-axis", "z",
    )  # fmt: skip
    assert "taken from its recipe: k 7, 64 points, normalise unit-sphere, z up" in said
    checkpoint = open_checkpoint(tmp_path / name)
    if name.endswith(".pt"):
        assert load_checkpoint(tmp_path / name)["facts"] == checkpoint["facts"]
    facts = checkpoint["facts"]
    assert (facts["points"], facts["up_axis"], facts["backbone_args"]["k"]) == (64, "z", 7)
    encoder = pointssl.load_encoder(tmp_path / name)
    expected = build_encoder("dgcnn", seed=0, k=7, **SMALL).eval()
    assert torch.equal(encoder(clouds()).points, expected(clouds()).points)
    again = worked(capfd, "import", tmp_path / name, tmp_path / "again.safetensors")
    assert "recognised dgcnn" in again  # where it came from is kept
    assert open_checkpoint(tmp_path / "again.safetensors")["facts"] == facts


def test_foreign_facts_in_a_safetensors_file(tmp_path):
    for facts in ("{", "[]", json.dumps({"format": 1}), "[" * 100_000):
        save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors", {"pointssl_facts": facts})
        with pytest.raises(UserError, match="not a readable safetensors file"):
            open_checkpoint(tmp_path / "w.safetensors")


def test_damaged_facts_of_an_import(tmp_path):
    torch.save(public_dgcnn(), tmp_path / "w.pth")
    checkpoint = open_checkpoint(tmp_path / "w.pth")
    for broken in ({}, [], {**checkpoint["facts"]["imported"], "left": 3}):
        facts = {**checkpoint["facts"], "imported": broken}
        torch.save({**checkpoint, "facts": facts}, tmp_path / "ours.pt")
        with pytest.raises(UserError, match=r"imported is .*, expected facts of an import"):
            pointssl.load_encoder(tmp_path / "ours.pt")


@pytest.mark.parametrize("name", ["points", "normalise", "up_axis"])
def test_an_import_says_how_clouds_were_given(tmp_path, name):
    torch.save(public_dgcnn(), tmp_path / "w.pth")
    checkpoint = open_checkpoint(tmp_path / "w.pth")
    del checkpoint["facts"][name]
    torch.save(checkpoint, tmp_path / "ours.pt")
    with pytest.raises(UserError, match=rf"ours\.pt lacks {name}"):
        pointssl.load_encoder(tmp_path / "ours.pt")


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_tensors_of_any_shape_under_the_keys_of_a_family(tmp_path, family):
    draw = random.Random(0)

    def tensor():
        return torch.ones([draw.choice([0, 1, 2, 3]) for _ in range(draw.randint(0, 4))])

    for trial in range(8):
        weights = {key: tensor() for key in family.marks}
        if trial % 2 and not family.refused:  # and with what those seem to ask for
            for key in family.keys({**weights, **dict.fromkeys(family.marks, torch.ones(2, 2))}):
                weights.setdefault(key, tensor())
            for key in family.keys(dict.fromkeys(weights, torch.ones(2, 2))).values():
                weights.setdefault(key, tensor())
        torch.save(weights, tmp_path / "w.pth")
        with pytest.raises(UserError):
            pointssl.load_encoder(tmp_path / "w.pth")


def test_the_line_about_other_shapes(tmp_path):
    weights = public_dgcnn()
    torch.save({key: value.flatten()[0] for key, value in weights.items()}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="tensors of no network that is known"):
        open_checkpoint(tmp_path / "w.pth")  # a fifth layer that is no kernel is nobody's
    torch.save({**weights, "conv1.0.weight": torch.ones(8)}, tmp_path / "w.pth")
    line = r"recognised as dgcnn \(.*\), but its tensors have not the shapes of it$"
    with pytest.raises(UserError, match=line):
        open_checkpoint(tmp_path / "w.pth")


def nested(levels):
    content = public_dgcnn()
    for level in range(levels):
        content = {NESTS[level % len(NESTS)]: content}
    return content


def test_nests_within_nests(tmp_path):
    assert len(unwrapped(nested(4), tmp_path)[1]) == 4
    itself, shared = {}, {"epoch": 3}
    itself["model"] = itself
    for _ in range(12):
        shared = dict.fromkeys(NESTS, shared)
    for content in (nested(5), nested(3000), itself, shared):
        with pytest.raises(UserError, match="holds no named tensors"):
            unwrapped(content, tmp_path)


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("point-transformer-cls", "transition_downs.100000000.x"),
        ("point-transformer-cls", f"transition_downs.{'9' * 5000}.x"),
        ("point-transformer-cls", "transition_downs.999.x"),
        ("point-transformer-packed", "enc10000000.0.x"),
        ("point-transformer-packed", "enc1.999.x"),
        ("point-mae", "blocks.blocks.999.attn.qkv.weight"),
        ("point-mamba", "blocks.layers.999.mixer.A_log"),
    ],
)
def test_a_number_in_a_key_is_not_believed(tmp_path, family, key):
    marks = next(one.marks for one in families() if one.name == family)
    torch.save(dict.fromkeys((*marks, key), torch.ones(2, 2)), tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf"as {family} .* tensors of the encoder are missing"):
        open_checkpoint(tmp_path / "w.pth")


ODD = {
    "sparse": lambda value: value.to_sparse(),
    "without numbers": lambda value: value.to("meta"),
    "stretched": lambda value: torch.ones(1).expand(value.shape),
    "quantised": lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
    "nested": lambda value: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "whole": lambda value: value.long(),
    "complex": lambda value: value.to(torch.complex64),
}


@pytest.mark.filterwarnings("ignore")  # of torch, about nested and quantised tensors
@pytest.mark.parametrize("odd", ODD)
def test_only_plain_tensors_are_taken(tmp_path, odd):
    weights = public_dgcnn()
    value = ODD[odd](weights["bn5.weight"])
    torch.save({**weights, "bn5.weight": value}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"1 tensors .* no plain tensors .* \(bn5\.weight\)"):
        open_checkpoint(tmp_path / "w.pth")
    torch.save({**weights, "other.weight": value}, tmp_path / "w.pth")
    checkpoint = open_checkpoint(tmp_path / "w.pth")
    assert checkpoint["facts"]["imported"]["left"] == {"other": 1}
    if odd in ("quantised", "whole", "complex"):  # others: see test_task_facts.py
        checkpoint["encoder"]["last.norm.weight"] = value
        torch.save(checkpoint, tmp_path / "ours.pt")
        line = r"does not fit .*: 1 (no plain tensors|of no floating-point numbers) \(last\.norm"
        with pytest.raises(UserError, match=line):
            pointssl.load_encoder(tmp_path / "ours.pt")


@pytest.mark.parametrize(
    ("backbone", "changes", "said"),
    [
        ("patch_transformer", {"depth": 10**10}, "depth is 10000000000, which asks for more"),
        ("pct", {"attentions": 20000}, "attentions is 20000, which asks for more layers than its"),
        ("point_transformer", {"blocks": 2000}, "blocks is 2000, which asks for more layers"),
        ("point_transformer_packed", {"depths": [1, 1, 99999]}, "depths is [1, 1, 99999], which"),
        ("pointnet", {"channels": [1] * 50000}, "channels is [1, 1, 1, 1, 1, 1, ...], which asks"),
        ("mamba", {"order": [1]}, "order = [1], expected a value like 'xyz'"),
    ],
)
def test_arguments_that_no_file_could_fill(tmp_path, backbone, changes, said):
    arguments = with_defaults(backbone, changes)
    weights = {f"{i}": torch.ones(1) for i in range(99)}
    facts = {"backbone": backbone, "backbone_args": arguments}
    torch.save({"format": FORMAT, "encoder": weights, "facts": facts}, tmp_path / "w.pt")
    with pytest.raises(UserError) as error:
        pointssl.load_encoder(tmp_path / "w.pt")
    assert f"w.pt: {said}" in str(error.value).replace(f"backbone {backbone!r}: ", "")


def test_a_network_of_few_tensors_keeps_arguments_that_it_does_not_use(tmp_path):
    arguments = {"centres": [8], "radii": [[0.5]], "neighbours": [[4]], "channels": [[[8]]]}
    arguments = with_defaults("pointnet2", {**arguments, "group_all": False})
    weights = build_encoder("pointnet2", **arguments).state_dict()
    assert len(weights) < sum(len([widths, *widths]) for widths in arguments["decoder_channels"])
    facts = {"backbone": "pointnet2", "backbone_args": arguments}
    torch.save({"format": FORMAT, "encoder": weights, "facts": facts}, tmp_path / "w.pt")
    assert pointssl.load_encoder(tmp_path / "w.pt").cloud_dim == 8


def test_a_list_within_itself_is_no_endless_list(tmp_path):
    weights = {f"{i}": torch.ones(1) for i in range(99)}
    endless = [1]
    endless[0] = endless
    facts = {"backbone": "pointnet", "backbone_args": {"channels": endless}}
    torch.save({"format": FORMAT, "encoder": weights, "facts": facts}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"channels is .*, which asks for more layers"):
        pointssl.load_encoder(tmp_path / "w.pt")


def test_many_networks_in_a_file_take_time_for_each_once(tmp_path):
    """Quadratic time would be minutes."""
    weights = {f"net{i}.{key}": torch.ones(1, 1, 1) for i in range(8000) for key in CLS_MARKS}
    begun = time.process_time()
    with pytest.raises(UserError, match=r"recognised as dgcnn .* tensors of the encoder are miss"):
        recognise(weights, tmp_path)
    assert time.process_time() - begun < 5


def test_heads_are_said_to_be_assumed(tmp_path, capsys):
    encoder = build_encoder("patch_transformer", depth=1, taps=[1], embedding=128, heads=2)
    family = next(one for one in families() if one.name == "point-mae")
    assert "heads" not in family.recipe
    table = family.keys(dict.fromkeys(family.marks, torch.ones(1)))
    state = encoder.state_dict()
    torch.save({their: state[our] for our, their in table.items()}, tmp_path / "w.pth")
    assert pointssl.load_encoder(tmp_path / "w.pth").blocks[0].attention.heads == 2
    said = capsys.readouterr().out
    assert "taken from its recipe: group_size 32, groups 64, 1024 points" in said
    assert "heads are not in the file: its code gives each 64 channels" in said


def test_zoo_lists_every_family(capfd):
    text = worked(capfd, "zoo")
    entries = json.loads(worked(capfd, "zoo", "--json"))
    assert [entry["name"] for entry in entries] == [family.name for family in families()]
    for entry in entries:
        assert f"{entry['name']}: {entry['title'][:30]}" in text
    assert all(len(line) <= 100 or "http" in line for line in text.splitlines())


@needs_shared
def test_the_published_scene_network(tmp_path, capfd):
    path = SHARED / "weights" / "dgcnn_semseg_s3dis_model_6.t7"
    said = worked(capfd, "import", path, tmp_path / "s3dis.pt")
    assert "recognised dgcnn-pytorch-s3dis" in said
    assert "left (tensors): bn7 (4), bn8 (4), conv7 (5), conv8 (5), conv9 (1)" in said
    encoder = pointssl.load_encoder(tmp_path / "s3dis.pt")
    assert (encoder.k, encoder.in_channels, encoder.neighbour_channels) == (20, 9, [6, 7, 8])
    assert encoder.transform_net is None


@needs_shared
@pytest.mark.parametrize(
    ("golden", "name"),
    [
        ("crosspoint_dgcnn", "crosspoint-cls"),
        ("crosspoint_dgcnn_seg_pretrain", "crosspoint-seg"),
        ("dgcnn_cls", "dgcnn-pytorch-cls"),
    ],
)
def test_state_dicts_of_the_golden_files(tmp_path, golden, name):
    held = load_golden(golden)
    weights = {k.removeprefix("weights."): v for k, v in held.items() if k.startswith("weights.")}
    torch.save({"model": {f"module.{k}": v for k, v in weights.items()}}, tmp_path / "w.pth")
    checkpoint = open_checkpoint(tmp_path / "w.pth")
    assert checkpoint["facts"]["imported"]["family"] == name
    encoder = pointssl.load_encoder(tmp_path / "w.pth")
    counters = [key for key in encoder.state_dict() if "num_batches" in key]
    assert len(checkpoint["encoder"]) == len(encoder.state_dict()) - len(counters)
    assert all(mark in weights for mark in SEG_MARKS) == (encoder.__class__.__name__ == "DGCNNSeg")


def test_leakage_of_scene_weights_can_be_told():
    for family in families():
        if "s3dis" in family.trained_on.lower():
            assert areas_of({"dataset": family.trained_on}) in ("12346", "that are not named")
    told = {family.name for family in families() if family.trained_on.startswith("s3dis areas ")}
    assert {"dgcnn-pytorch-s3dis", "pointnet2-s3dis", "point-transformer-s3dis"} <= told
