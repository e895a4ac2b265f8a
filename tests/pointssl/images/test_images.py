"""Image encoders: torchvision's keys and counts, a slow twin of the blocks, bad weight files."""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from pointssl.images import IMAGE_ENCODERS, build_image_encoder
from pointssl.images.resnet import IMAGENET_MEAN, IMAGENET_STD, BasicBlock, Bottleneck
from pointssl.images.weights import load_weights
from pointssl_datasets.base.errors import UsageError, UserError

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
PARAMETERS = {"resnet18": 11_176_512, "resnet34": 21_284_672, "resnet50": 23_508_032}
DIM = {"resnet18": 512, "resnet34": 512, "resnet50": 2048}


def torchvision_keys(name: str) -> list[str]:
    """The keys of torchvision's state dict without ``fc``, written out by its rules."""
    bn_parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    keys = ["conv1.weight", *(f"bn1.{part}" for part in bn_parts)]
    convs = 3 if name == "resnet50" else 2
    for layer, depth in enumerate(DEPTHS[name], start=1):
        for block in range(depth):
            at = f"layer{layer}.{block}"
            for i in range(1, convs + 1):
                keys += [f"{at}.conv{i}.weight", *(f"{at}.bn{i}.{part}" for part in bn_parts)]
            if block == 0 and (layer > 1 or name == "resnet50"):
                keys.append(f"{at}.downsample.0.weight")
                keys += [f"{at}.downsample.1.{part}" for part in bn_parts]
    return keys


@pytest.mark.parametrize("name", DEPTHS)
def test_keys_parameters_and_stage_shapes(name: str) -> None:
    encoder = build_image_encoder(name)
    assert list(encoder.state_dict()) == torchvision_keys(name)
    assert sum(p.numel() for p in encoder.parameters()) == PARAMETERS[name]
    assert encoder.dim == DIM[name]

    shapes: dict[str, tuple[int, ...]] = {}
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        encoder.get_submodule(stage).register_forward_hook(
            lambda _m, _i, out, stage=stage: shapes.__setitem__(stage, tuple(out.shape))
        )
    out = encoder(torch.rand(2, 3, 64, 96))
    e = DIM[name] // 512
    assert shapes == {
        "layer1": (2, 64 * e, 16, 24),
        "layer2": (2, 128 * e, 8, 12),
        "layer3": (2, 256 * e, 4, 6),
        "layer4": (2, 512 * e, 2, 3),
    }
    assert out.shape == (2, DIM[name])
    out.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_registry_is_what_is_tested() -> None:
    assert set(IMAGE_ENCODERS) == set(DEPTHS)


def slow_conv(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A convolution as its definition has it: one output pixel at a time."""
    pad = weight.shape[-1] // 2
    x = F.pad(x, (pad, pad, pad, pad))
    size = weight.shape[-1]
    rows = range(0, x.shape[2] - size + 1, stride)
    cols = range(0, x.shape[3] - size + 1, stride)
    out = x.new_zeros(x.shape[0], weight.shape[0], len(rows), len(cols))
    for i, row in enumerate(rows):
        for j, col in enumerate(cols):
            patch = x[:, None, :, row : row + size, col : col + size]
            out[:, :, i, j] = (patch * weight).sum(dim=(2, 3, 4))
    return out


def slow_norm(x: Tensor, state: dict[str, Tensor], at: str) -> Tensor:
    """Batch norm in training: the statistics of this batch, biased variance."""
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    var = ((x - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
    scale, shift = (state[f"{at}.{part}"].view(1, -1, 1, 1) for part in ("weight", "bias"))
    return (x - mean) / (var + 1e-5).sqrt() * scale + shift


def slow_block(x: Tensor, state: dict[str, Tensor], strides: list[int]) -> Tensor:
    """A residual block from its state dict; ``strides`` of its convolutions in order."""
    y = x
    for i, stride in enumerate(strides, start=1):
        y = slow_norm(slow_conv(y, state[f"conv{i}.weight"], stride), state, f"bn{i}")
        if i < len(strides):
            y = y.clamp(min=0)
    if "downsample.0.weight" in state:
        x = slow_conv(x, state["downsample.0.weight"], max(strides))
        x = slow_norm(x, state, "downsample.1")
    return (y + x).clamp(min=0)


@pytest.mark.parametrize(
    ("block", "strides", "channels"),
    [
        (BasicBlock(4, 4, 1), [1, 1], 4),
        (BasicBlock(4, 6, 2), [2, 1], 4),
        (Bottleneck(8, 2, 1), [1, 1, 1], 8),
        (Bottleneck(6, 3, 2), [1, 2, 1], 6),
    ],
    ids=["basic", "basic stride 2", "bottleneck", "bottleneck stride 2"],
)
def test_blocks_against_a_slow_twin(block: nn.Module, strides: list[int], channels: int) -> None:
    block = block.double()
    generator = torch.Generator().manual_seed(0)
    for parameter in block.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    x = torch.randn(2, channels, 6, 8, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(block(x), slow_block(x, block.state_dict(), strides))


def test_whole_network_is_its_stages_and_takes_out_the_imagenet_mean() -> None:
    encoder = build_image_encoder("resnet18").double()
    images = torch.rand(3, 3, 64, 64, dtype=torch.float64)
    mean, std = torch.tensor(IMAGENET_MEAN).double(), torch.tensor(IMAGENET_STD).double()
    x = torch.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
    state = dict(encoder.state_dict())
    x = slow_norm(F.conv2d(x, state["conv1.weight"], stride=2, padding=3), state, "bn1")
    x = F.max_pool2d(x.clamp(min=0), 3, stride=2, padding=1)
    for layer in range(1, 5):
        for block in range(2):
            at = f"layer{layer}.{block}."
            part = {k.removeprefix(at): v for k, v in state.items() if k.startswith(at)}
            x = slow_block(x, part, [2 if layer > 1 and block == 0 else 1, 1])
    torch.testing.assert_close(encoder(images), x.mean(dim=(2, 3)))


@pytest.mark.parametrize("name", DEPTHS)
def test_same_outputs_as_torchvision(name: str) -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision is not importable")
    theirs = getattr(models, name)(weights=None).eval().double()
    theirs.fc = nn.Identity()
    ours = build_image_encoder(name).eval().double()
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    mean, std = ours.mean.flatten(), ours.std.flatten()
    normalised = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(ours(images), theirs(normalised))


def test_initialisation_is_torchvisions_and_comes_from_the_seed_alone() -> None:
    before = torch.get_rng_state()
    encoder = build_image_encoder("resnet18", seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    state, again = encoder.state_dict(), build_image_encoder("resnet18", seed=3).state_dict()
    assert all(torch.equal(state[key], again[key]) for key in state)
    other = build_image_encoder("resnet18", seed=4).state_dict()
    assert not torch.equal(state["conv1.weight"], other["conv1.weight"])

    for key, value in state.items():
        if value.dim() == 4:  # kaiming normal, fan out, ReLU: variance 2 / (C_out kh kw)
            out, _, h, w = value.shape
            assert value.var().item() == pytest.approx(2 / (out * h * w), rel=0.1), key
            assert abs(value.mean().item()) < 6 * (2 / (out * h * w) / value.numel()) ** 0.5
    assert torch.equal(state["layer2.0.bn2.weight"], torch.ones(128))
    assert torch.equal(state["layer2.0.bn2.bias"], torch.zeros(128))


def test_integer_images_are_refused() -> None:
    with pytest.raises(TypeError, match="uint8"):
        build_image_encoder("resnet18")(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_load_with_or_without_the_classifier(tmp_path: Path, suffix: str) -> None:
    state = build_image_encoder("resnet18", seed=1).state_dict()
    full = OrderedDict(state)
    full["fc.weight"], full["fc.bias"] = torch.zeros(1000, 512), torch.zeros(1000)
    for i, tensors in enumerate((state, full)):
        path = tmp_path / f"{i}{suffix}"
        if suffix == ".pth":
            torch.save(tensors, path)
        else:
            save_file(dict(tensors), path)
        loaded = build_image_encoder("resnet18", path, seed=2).state_dict()
        assert list(loaded) == list(state)
        assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_torchvisions_oldest_files_lack_the_batch_counters(tmp_path: Path) -> None:
    state = build_image_encoder("resnet18", seed=1).state_dict()
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    loaded = build_image_encoder("resnet18", tmp_path / "old.pth", seed=2).state_dict()
    assert all(torch.equal(loaded[key], old[key]) for key in old)


def test_weights_of_another_network_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "r18.pth"
    torch.save(build_image_encoder("resnet18").state_dict(), path)
    resnet50 = build_image_encoder("resnet50")
    before = {key: value.clone() for key, value in resnet50.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_weights(resnet50, path)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    missing = set(torchvision_keys("resnet50")) - set(torchvision_keys("resnet18"))
    counters = [key for key in missing if key.endswith("num_batches_tracked")]
    assert f"{len(missing) - len(counters)} keys missing (layer1.0.conv3.weight, " in line
    assert "of another shape (layer1.0.conv1.weight, " in line
    assert line.count("...)") == 2
    assert all(torch.equal(before[k], v) for k, v in resnet50.state_dict().items())


def test_prefixed_and_nested_and_broken_files(tmp_path: Path) -> None:
    state = build_image_encoder("resnet18").state_dict()
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "ddp.pth")
    with pytest.raises(UserError, match=r"keys unexpected \(module\.conv1\.weight, "):
        build_image_encoder("resnet18", tmp_path / "ddp.pth")

    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "nested.pth")
    with pytest.raises(UserError, match="expected a state dict"):
        build_image_encoder("resnet18", tmp_path / "nested.pth")

    torch.save(state, tmp_path / "whole.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:10_000])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.pth").write_text("<html>404 Not Found</html>")
    (tmp_path / "text.safetensors").write_text("<html>404 Not Found</html>")
    torch.save(Path("/"), tmp_path / "pickle.pth")  # an object: refused, never built
    for name, said in {
        "half.pth": "truncated, or of another kind",
        "empty.pth": "truncated, or of another kind",
        "text.pth": "truncated, or of another kind",
        "text.safetensors": "truncated, or of another kind",
        "pickle.pth": r"holds Python objects \(pathlib",
        "absent.pth": "no checkpoint at",
        "absent.safetensors": "no checkpoint at",
        "": "is a folder",
    }.items():
        with pytest.raises(UserError, match=rf"^--image-weights: .*{said}") as caught:
            build_image_encoder("resnet18", tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_unknown_and_unfit_encoders() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet50'"):
        build_image_encoder("resnet5")
    with pytest.raises(UsageError, match="attribute `dim`"):
        build_image_encoder("torch.nn:Identity")


def test_the_layout_in_memory_and_work_in_place_change_no_number() -> None:
    encoder = build_image_encoder("resnet50").double()
    images = torch.rand(3, 3, 64, 64, dtype=torch.float64)
    layouts = []
    stage = encoder.layer3
    stage.register_forward_hook(lambda _m, _i, out: layouts.append(out))
    found = encoder(images)
    assert layouts[0].is_contiguous(memory_format=torch.channels_last)
    found.square().mean().backward()
    grads = [p.grad for p in encoder.parameters()]

    encoder.zero_grad()
    with plain_layout():
        expected = encoder(images)
        expected.square().mean().backward()
    assert layouts[1].is_contiguous()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    for (name, parameter), grad in zip(encoder.named_parameters(), grads, strict=True):
        torch.testing.assert_close(grad, parameter.grad, rtol=1e-7, atol=1e-10, msg=name)
    assert all(p.is_contiguous() for p in encoder.parameters())


@contextlib.contextmanager
def plain_layout() -> Iterator[None]:
    """Nothing is laid out with its channels side by side."""
    asked = Tensor.contiguous
    Tensor.contiguous = lambda x, memory_format=None: asked(x)
    try:
        yield
    finally:
        Tensor.contiguous = asked


def test_bf16_is_near_on_a_cpu_and_has_gradients() -> None:
    encoder = build_image_encoder("resnet18")
    images = torch.rand(4, 3, 64, 64)
    exact = encoder(images)
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder(images)
    assert rough.dtype == torch.bfloat16
    assert torch.cosine_similarity(exact, rough.float()).min() > 0.99
    rough.float().square().mean().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in encoder.parameters())
