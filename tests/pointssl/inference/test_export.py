"""`pointssl export`: files that compute what the network computes, or none."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from in_process import refused, worked
from networks import save_encoder, save_task
from torch import nn

from pointssl.backbones.base import Features
from pointssl.checkpoints.file import save_checkpoint
from pointssl.inference.network import load_network, random_inputs
from pointssl.inference.parity import agrees, open_onnx, open_torch
from pointssl.ops import edge_conv

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs the extra: pip install 'pointssl[export]'",
)
KINDS = {
    "encoder": lambda path: save_encoder(path, normals=True),
    "cls": lambda path: save_task(path, "cls"),
    "partseg": lambda path: save_task(path, "partseg", backbone="dgcnn_seg"),
    "semseg": lambda path: save_task(path, "semseg", feats=("colours", "place")),
}
CASES = [
    pytest.param("encoder", "onnx", marks=needs_onnx),
    pytest.param("cls", "onnx", marks=needs_onnx),
    pytest.param("semseg", "onnx", marks=needs_onnx),
    pytest.param("partseg", "onnx", marks=[needs_onnx, pytest.mark.slow]),
    pytest.param("partseg", "pt2"),
    *[pytest.param(kind, "pt2", marks=pytest.mark.slow) for kind in ("encoder", "cls", "semseg")],
]


@pytest.mark.parametrize(("kind", "suffix"), CASES)
def test_a_file_equals_its_network_for_any_number_of_clouds(tmp_path, capfd, kind, suffix):
    weights, out = KINDS[kind](tmp_path / "w.pt"), tmp_path / f"model.{suffix}"
    told = worked(capfd, "export", "--weights", weights, "--out", out)
    assert "any number of clouds of 32 points" in told
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["w.pt", out.name])
    network = load_network(weights)
    run, facts = (open_onnx if suffix == "onnx" else open_torch)(out)
    assert facts["preprocessing"] == {
        "points": 32, "normalise": "unit-sphere", "up_axis": "y",
        "channels": ["x", "y", "z", *network.channels],
        **({"block_size": 1.0} if kind == "semseg" else {}),
    }  # fmt: skip
    assert facts["classes"] == list(network.classes)
    assert facts["parts"] == list(network.parts)
    assert [tuple(numbers) for numbers in facts["parts_of"]] == list(network.parts_of)
    for size in (1, 2, 7):
        inputs = random_inputs(network, size, torch.Generator().manual_seed(9))
        with torch.no_grad():
            expected = network.outputs(**inputs)
        found = run(inputs)
        assert len(found) == len(facts["outputs"]) == len(expected)
        for name, values in zip(facts["outputs"], found, strict=True):
            right = expected[name].numpy()
            assert np.abs(values - right).max() < 1e-4 * np.abs(right).max()
            assert np.ptp(right.reshape(size, -1), axis=1).min() > 0  # not all the same


@needs_onnx
def test_onnx_says_what_it_takes(tmp_path, capfd):
    import onnx

    weights, out = save_task(tmp_path / "w.pt", "partseg", feats=("normals",)), tmp_path / "m.onnx"
    worked(capfd, "export", "--weights", weights, "--out", out)
    model = onnx.load(out)
    onnx.checker.check_model(model)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {
        "xyz": ["batch", 32, 3], "feats": ["batch", 32, 3], "category": ["batch"],
        "logits": ["batch", 32, 5],
    }  # fmt: skip
    assert (
        json.loads({p.key: p.value for p in model.metadata_props}["pointssl"])["task"] == "partseg"
    )


@pytest.mark.parametrize("suffix", [pytest.param("onnx", marks=needs_onnx), "pt2"])
def test_a_fixed_number_of_clouds(tmp_path, capfd, suffix):
    weights, out = save_task(tmp_path / "w.pt", "cls"), tmp_path / "model.bin"
    kind = {"onnx": "onnx", "pt2": "torch"}[suffix]
    told = worked(
        capfd, "export", "--weights", weights, "--out", out, "--format", kind,
        "--no-dynamic-batch", "--batch-size", 3,
    )  # fmt: skip
    assert "3 clouds of 32 points" in told
    network = load_network(weights)
    run, _ = (open_onnx if suffix == "onnx" else open_torch)(out)
    assert run(random_inputs(network, 3, torch.Generator()))[0].shape == (3, 3)
    with pytest.raises(Exception, match=r"(?i)dimension|shape|size|guard"):
        run(random_inputs(network, 2, torch.Generator()))


@pytest.mark.parametrize("suffix", [pytest.param("onnx", marks=needs_onnx), "pt2"])
def test_a_file_that_computes_something_else_is_not_kept(tmp_path, capfd, monkeypatch, suffix):
    right = edge_conv.edge_conv_twin
    monkeypatch.setattr(
        edge_conv, "edge_conv_twin", lambda u, v, flat, slope: right(u, v, flat, slope + 0.01)
    )
    weights, out = save_task(tmp_path / "w.pt", "cls"), tmp_path / f"model.{suffix}"
    out.write_text("before")
    line = refused(capfd, 1, "export", "--weights", weights, "--out", out)
    assert line.startswith("the exported file disagrees with the network: logits is off by")
    assert line.endswith("Nothing was written")
    assert out.read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("median", "share", "rows", "passes"),
    [
        (5e-6, 0.96, 1000, True),
        (5e-5, 1.0, 1000, False),  # wrong everywhere, by little
        (1e-6, 0.9, 1000, False),  # wrong in too many places
        (1e-6, 0.86, 8, True),  # in one of eight clouds another neighbour was taken
        (1e-6, 0.7, 8, False),
        (float("inf"), 0.0, 8, False),
    ],
)
def test_what_rounding_explains_passes_and_what_it_does_not_fails(median, share, rows, passes):
    own = {"median": 1e-6, "largest": 0.1, "share": 0.97}
    found = {"median": median, "largest": 0.2, "share": share}
    assert agrees({"rows": rows, "file": found, "network": own}) == passes


@pytest.mark.slow
def test_a_torch_program_runs_without_pointssl(tmp_path, capfd):
    weights, out = save_encoder(tmp_path / "w.pt"), tmp_path / "model.pt2"
    worked(capfd, "export", "--weights", weights, "--out", out)
    code = (
        "import sys, json, torch; extra = {'pointssl': ''}; "
        "program = torch.export.load(sys.argv[1], extra_files=extra); "
        "cloud, points = program.module()(torch.rand(4, 32, 3)); "
        "assert cloud.shape == (4, 32) and json.loads(extra['pointssl'])['task'] == 'encoder'; "
        "assert not any(name.startswith('pointssl') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(out)], check=True, cwd=tmp_path)


class Sorts(nn.Module):
    """An encoder whose shape of work depends on its data."""

    def __init__(self, embedding: int = 8) -> None:
        super().__init__()
        self.cloud_dim = self.point_dim = embedding
        self.linear = nn.Linear(3, embedding)

    def forward(self, xyz, feats=None):
        if (xyz > 3).any():
            xyz = xyz / 2
        points = self.linear(xyz)
        return Features(points.max(dim=1).values, points)


class Solves(Sorts):
    """An encoder with an operation that ONNX has not."""

    def forward(self, xyz, feats=None):
        points = self.linear(torch.linalg.eigh(xyz.mT @ xyz).eigenvectors[:, :1] + xyz)
        return Features(points.max(dim=1).values, points)


@pytest.mark.parametrize(
    ("kind", "suffix", "named"),
    [
        ("Sorts", "pt2", "torch.export: `if (xyz > 3).any():` in "),
        pytest.param("Solves", "onnx", "ONNX: operation aten.", marks=needs_onnx),
    ],
)
def test_what_can_not_be_drawn_is_said_in_one_line(tmp_path, capfd, kind, suffix, named):
    module = globals()[kind]
    facts = {
        "backbone": f"{__name__}:{kind}", "backbone_args": {}, "points": 16, "normals": False,
        "normalise": "unit-sphere",
    }  # fmt: skip
    weights, out = tmp_path / "w.pt", tmp_path / f"model.{suffix}"
    save_checkpoint(weights, {"encoder": module().state_dict(), "facts": facts})
    line = refused(capfd, 1, "export", "--weights", weights, "--out", out)
    assert line.startswith(f"the network can't be drawn as a graph for {named}")
    assert not out.exists()


def test_missing_packages_are_named_with_the_extra(tmp_path, capfd, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "onnxruntime" else find(name)
    )
    weights = save_task(tmp_path / "w.pt", "cls")
    line = refused(capfd, 1, "export", "--weights", weights, "--out", tmp_path / "m.onnx")
    assert "onnxruntime" in line
    assert "pip install 'pointssl[export]'" in line
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("--out", "model.bin"), 2, "expected a name that ends in .onnx or .pt2"),
        (("--out", "m.onnx", "--format", "onxx"), 2, "choose one of onnx, torch"),
        (("--out", "m.onnx", "--weights", "nowhere.pt"), 1, "no checkpoint at nowhere.pt"),
        ((), 2, "--out is missing"),
    ],
)
def test_wrong_options(tmp_path, capfd, monkeypatch, words, code, line):
    monkeypatch.chdir(tmp_path)
    save_task(tmp_path / "w.pt", "cls")
    words = words if "--weights" in words else ("--weights", "w.pt", *words)
    assert line in refused(capfd, code, "export", *words)
    assert len(list(tmp_path.iterdir())) == 1
