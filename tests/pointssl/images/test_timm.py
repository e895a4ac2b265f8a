"""Image encoders of timm: what needs no timm everywhere, real models where it can be imported."""

import copy
import importlib
import math
import subprocess
import sys

import pytest
import torch
from in_process import call, refused, worked
from moving_square import cells_that_react
from processes import ENV, pointssl
from safetensors.torch import save_file
from tiny import flags, options, write_clouds
from torch import nn
from torch.nn import functional as F

from pointssl.checkpoints.file import load_checkpoint
from pointssl.images import build_image_encoder
from pointssl.images.timm import (
    Normalised,
    check_name,
    fit_size,
    import_timm,
    keep_layers,
    matching_torchvision,
    measured_dim,
)
from pointssl.images.tokens import image_tokens, token_dim
from pointssl_datasets.base.errors import UsageError, UserError


def why_not():
    """Why timm can't be imported here; empty where it can."""
    try:
        importlib.import_module("timm")
    except Exception as error:
        return f"timm can't be imported: {error}".splitlines()[0]
    return ""


WHY_NOT = why_not()
needs_timm = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

SMALL = ["test_vit", "test_vit3", "test_resnet", "test_convnext", "vit_pe_core_tiny_patch16_384"]
LARGE = [
    "vit_small_patch14_dinov2.lvd142m", "vit_small_patch16_dinov3.lvd1689m",
    "vit_pe_core_base_patch16_224.fb", "vit_base_patch16_clip_224.openai",
    "vit_base_patch16_siglip_224.webli", "eva02_tiny_patch14_224", "resnet50.a1_in1k",
    "swin_tiny_patch4_window7_224", "convnext_atto",
]  # fmt: skip


def encoder(name, **arguments):
    return build_image_encoder(f"timm:{name}", **arguments)


def model_of(name, **arguments):
    return importlib.import_module("timm").create_model(name, num_classes=0, **arguments)


# What needs no timm.


def test_mean_and_std_are_taken_out():
    net = Normalised(nn.Identity(), 3, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    images = torch.rand(2, 3, 4, 5)
    out = net(images)
    for channel, (mean, std) in enumerate([(0.1, 0.5), (0.2, 1.0), (0.3, 2.0)]):
        torch.testing.assert_close(out[:, channel], (images[:, channel] - mean) / std)
    assert not net.state_dict()
    with pytest.raises(TypeError, match="uint8"):
        net(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))


class Patches(nn.Module):
    """An image cut into patches, as timm's transformers have it."""

    def __init__(self, patch, output=8):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, output, patch, patch)
        self.patch_embed.patch_size = (patch, patch)

    def forward(self, images):
        return self.patch_embed(images)

    def reset_classifier(self, classes, pool):
        assert (classes, pool) == (0, "avg")
        self.forward = lambda images: self.patch_embed(images).mean((2, 3))


def test_patches_must_divide_the_size():
    fit_size(Patches(14), "vit", 112, 112)
    with pytest.raises(UsageError, match=r"^--image-size 100: timm:vit .* 14 px.*: try 98$"):
        fit_size(Patches(14), "vit", 100, 224)
    with pytest.raises(UsageError, match="try 14"):
        fit_size(Patches(14), "vit", 8, 224)


def test_size_that_a_model_refuses():
    with pytest.raises(UsageError, match=r"--image-size 8: timm:net does not take.*its own is 32"):
        measured_dim(nn.Conv2d(3, 8, 9), "net", 8, 32)


def test_a_map_is_pooled_and_measured():
    net = Patches(8, output=5).train()
    assert measured_dim(net, "net", 32, 32) == 5
    assert net.training
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 5)


def test_a_model_without_feature_maps_has_no_tokens():
    net = Normalised(Patches(8), 5, mean=(0, 0, 0), std=(1, 1, 1), name="timm:net", size=32)
    assert net.token_dim is None
    for ask in (net.tokens, lambda images: image_tokens(net, images), lambda _: token_dim(net)):
        with pytest.raises(UsageError, match=r"^--image-encoder timm:net: .* no tokens"):
            ask(torch.rand(1, 3, 32, 32))


def test_a_model_that_cannot_be_cut():
    with pytest.raises(UsageError, match="--image-layers 2: timm can't cut net"):
        keep_layers(nn.Identity(), "net", 2)


def test_unknown_names():
    models, published = ["vit_small", "vit_base", "resnet9"], ["vit_small.dino", "vit_small.clip"]
    for name in (*models, *published):
        check_name(name, models, published)
    with pytest.raises(UsageError, match=r"'timm:vit_smal': .* did you mean vit_small"):
        check_name("vit_smal", models, published)
    tags = r"did you mean vit_small\.dino or vit_small\.clip\?"
    with pytest.raises(UsageError, match=tags):
        check_name("vit_small.in1k", models, published)
    with pytest.raises(UsageError, match=r"no such model\. timm.list_models"):
        check_name("", models, published)


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("2.13.0+cpu", "torchvision 0.28 of the build +cpu, which goes with torch 2.13.0+cpu;"),
        ("2.4.1+cu121", "torchvision 0.19 of the build +cu121, which"),
        ("2.5.1", "torchvision 0.20, which goes with torch 2.5.1;"),
        ("3.0.0", "torchvision, which goes with torch 3.0.0;"),
    ],
)
def test_the_torchvision_that_fits(version, told):
    assert told in matching_torchvision(version)


MISSING = "import torchvision_that_is_missing"
BROKEN = "raise RuntimeError('operator torchvision::nms is not there')"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (None, "timm is not installed"),
        (MISSING, "timm can't be imported (No module named 'torchvision_that_is_missing'): it"),
        (BROKEN, "timm can't be imported (operator torchvision::nms is not there): it needs torch"),
    ],
)
def test_where_timm_cannot_be_imported_the_line_says_what_to_install(
    tmp_path, monkeypatch, source, told
):
    if source is None:
        monkeypatch.setitem(sys.modules, "timm", None)
    else:
        monkeypatch.delitem(sys.modules, "timm", raising=False)
        (tmp_path / "timm.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as caught:
        build_image_encoder("timm:resnet18")
    assert told in str(caught.value)
    assert "pip install 'pointssl[timm]'" in str(caught.value)


@pytest.mark.skipif(not WHY_NOT, reason="timm can be imported")
def test_from_the_command_line_without_timm(tmp_path, capfd):
    words = flags(options(tmp_path, tmp_path / "run", data="shapes", image_encoder="timm:test_vit"))
    line = refused(capfd, 1, "pretrain", *words, "--size", 8, "--data-root", tmp_path)
    assert "timm" in line
    assert "pip install 'pointssl[timm]'" in line


def test_options_that_are_for_timm_alone(tmp_path):
    with pytest.raises(UsageError, match=r"--image-layers: is for timm:NAME, not .* resnet18"):
        build_image_encoder("resnet18", layers=2)
    with pytest.raises(UsageError, match="--image-pretrained: is for timm:NAME"):
        build_image_encoder("resnet18", pretrained=True)
    with pytest.raises(UsageError, match="choose one of them"):
        build_image_encoder("timm:test_vit", tmp_path / "x.pth", pretrained=True)


# Real models, with random weights.


@needs_timm
@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
)
def test_same_embeddings_as_timm_and_gradients_everywhere(name):
    data = importlib.import_module("timm.data")
    ours, theirs = encoder(name, seed=1), model_of(name).eval()
    theirs.load_state_dict(ours.model.state_dict())
    facts = data.resolve_model_data_config(theirs)
    mean, std = (torch.tensor(facts[part]).view(3, 1, 1) for part in ("mean", "std"))
    assert torch.equal(ours.mean, mean)
    assert torch.equal(ours.std, std)

    images = torch.rand(2, 3, *facts["input_size"][1:])
    expected = theirs((images - mean) / std)
    assert ours.training
    torch.testing.assert_close(ours.eval()(images), expected)
    assert expected.shape == (2, ours.dim)

    torch.manual_seed(0)
    ours.train()(images).square().sum().backward()
    without = [key for key, value in ours.named_parameters() if value.grad is None]
    assert not without


@needs_timm
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("test_vit", 96),
        ("vit_pe_core_tiny_patch16_384", 64),
        ("test_resnet", 64),
        pytest.param("vit_small_patch14_dinov2", 224, marks=pytest.mark.slow),
        pytest.param("vit_small_patch16_dinov3", 64, marks=pytest.mark.slow),
        pytest.param("swin_tiny_patch4_window7_224", 96, marks=pytest.mark.slow),
    ],
)
def test_images_of_another_size(name, size):
    ours, own = encoder(name, size=size, seed=2), encoder(name, seed=2)
    assert ours.eval()(torch.rand(2, 3, size, size)).shape == (2, own.dim)
    state, before = ours.model.state_dict(), own.model.state_dict()
    for key, value in before.items():
        if key != "pos_embed":
            if "relative_position" not in key and "attn_mask" not in key:  # of swin's windows
                assert torch.equal(state[key], value), key
            continue
        cells = size // own.model.patch_embed.patch_size[0]
        others = value.shape[1] - own.model.patch_embed.num_patches  # class token, registers
        grid = math.isqrt(own.model.patch_embed.num_patches)
        square = value[:, others:].unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
        square = F.interpolate(square, (cells, cells), mode="bicubic", antialias=True)
        expected = torch.cat((value[:, :others], square.flatten(2).transpose(1, 2)), 1)
        torch.testing.assert_close(state[key], expected)


@needs_timm
@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
)
def test_tokens_are_what_the_model_has_before_its_pool(name):
    net = encoder(name, seed=1)
    assert net.training
    channels = net.token_dim
    assert all(module.training for module in net.modules())
    images = torch.rand(2, 3, net.size, net.size)
    with torch.no_grad():
        pooled, tokens, grid = image_tokens(net.eval(), images)
        features = net.model.forward_features((images - net.mean) / net.std)
        assert torch.equal(pooled, net(images))
    assert tokens.shape == (2, grid[0] * grid[1], channels)
    if features.dim() == 3:
        features = features[:, net.model.num_prefix_tokens :]
    else:
        layout = str(getattr(net.model, "output_fmt", "NCHW")).rpartition(".")[2]
        features = features.flatten(1, 2) if layout == "NHWC" else features.flatten(2).mT
    torch.testing.assert_close(tokens, features)
    if name in ("test_resnet", "vit_small_patch16_dinov3.lvd1689m", "resnet50.a1_in1k"):
        torch.testing.assert_close(tokens.mean(1), pooled)


@needs_timm
@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
def test_tokens_of_every_stage(name):
    net = encoder(name, size=64, seed=1).eval()
    images = torch.rand(2, 3, 64, 64)
    for stage in range(1, len(net.token_dims) + 1):
        pooled, tokens, grid = image_tokens(net, images, stage)
        assert tokens.shape == (2, grid[0] * grid[1], token_dim(net, stage=stage))
        torch.testing.assert_close(pooled, net(images))
    with pytest.raises(UsageError, match=rf"image tokens of stage {stage + 1}: timm:{name} has"):
        net.tokens(images, stage=stage + 1)
    cut = encoder(name, size=64, seed=1, layers=stage - 1).eval()
    torch.testing.assert_close(
        image_tokens(cut, images).tokens, image_tokens(net, images, stage - 1).tokens
    )


@needs_timm
@pytest.mark.parametrize("name", ["test_vit", "vit_pe_core_tiny_patch16_384"])
@pytest.mark.parametrize(("height", "width"), [(96, 96), (64, 128)])
def test_a_bright_square_moves_along_the_patches(name, height, width):
    net = encoder(name, size=96, seed=0).eval()
    assert net.token_dim == net.dim  # measured at the size that it was built for
    net.model.set_input_size((height, width))
    grid = (height // 16, width // 16)
    expected = torch.arange(grid[0] * grid[1]).view(grid)
    assert torch.equal(cells_that_react(net, height, width, grid), expected)


@needs_timm
def test_sizes_that_do_not_fit():
    with pytest.raises(UsageError, match=r"--image-size 100: timm:test_vit cuts .* 16 px.*try 96"):
        encoder("test_vit", size=100)
    with pytest.raises(UsageError, match=r"mixer_s32_224 does not take .*; its own is 224"):
        encoder("mixer_s32_224", size=96)


@needs_timm
@pytest.mark.parametrize("name", ["test_vit", "test_vit3", "vit_pe_core_tiny_patch16_384"])
def test_first_blocks_are_those_of_the_whole(name):
    cut, whole = encoder(name, size=96, layers=2, seed=3), encoder(name, size=96, seed=3)
    count = sum(p.numel() for p in whole.parameters())
    assert sum(p.numel() for p in cut.parameters()) < count
    images = torch.rand(2, 3, 96, 96)
    slow = copy.deepcopy(whole)
    slow.model.blocks = slow.model.blocks[:2]
    torch.testing.assert_close(cut.eval()(images), slow.eval()(images))
    assert not torch.allclose(cut(images), whole.eval()(images))
    cut.train()(images).square().sum().backward()
    assert all(p.grad is not None for p in cut.parameters())


@needs_timm
def test_first_stages_of_a_convolutional_network_are_pooled():
    cut, whole = encoder("test_resnet", layers=3, seed=3), encoder("test_resnet", seed=3)
    seen = {}
    whole.model.layer2.register_forward_hook(lambda _m, _i, out: seen.update(out=out))
    images = torch.rand(2, 3, 64, 64)
    whole.eval()(images)
    torch.testing.assert_close(cut.eval()(images), seen["out"].mean((2, 3)))
    assert cut.dim == seen["out"].shape[1] < whole.dim
    with pytest.raises(UsageError, match="--image-layers 6: timm:test_resnet has 5 blocks"):
        encoder("test_resnet", layers=6)


@needs_timm
def test_initialisation_comes_from_the_seed_alone():
    before = torch.get_rng_state()
    state = encoder("test_vit", seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    again, other = (encoder("test_vit", seed=seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(state[key], again[key]) for key in state)
    assert not torch.equal(state["model.pos_embed"], other["model.pos_embed"])


@needs_timm
def test_names():
    with pytest.raises(UsageError, match="did you mean vit_small_patch14_dinov2 or"):
        encoder("vit_smal_patch14_dinov2")
    with pytest.raises(UsageError, match=r"did you mean vit_small_patch14_dinov2\.lvd142m\?"):
        encoder("vit_small_patch14_dinov2.foo")
    assert import_timm() is sys.modules["timm"]


@needs_timm
@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
@pytest.mark.parametrize("classes", [None, 7, 0])
def test_weights_from_a_file(tmp_path, name, classes):
    """Of the published model, of one fine-tuned to 7 classes, of one without a classifier."""
    timm = importlib.import_module("timm")
    torch.manual_seed(9)
    published = timm.create_model(name, **({} if classes is None else {"num_classes": classes}))
    state = published.state_dict()
    torch.save(state, tmp_path / "w.pth")
    save_file(state, tmp_path / "w.safetensors")
    for suffix in ("pth", "safetensors"):
        loaded = encoder(name, weights=tmp_path / f"w.{suffix}", size=64).model
        assert all(
            torch.equal(value, state[key])
            for key, value in loaded.state_dict().items()
            if key != "pos_embed"
        )
        assert not any("head.weight" in key or "fc." in key for key in loaded.state_dict())


@needs_timm
def test_weights_of_another_model(tmp_path):
    torch.save(model_of("test_vit3").state_dict(), tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth: not the weights .*; the keys are timm's\.$"):
        encoder("test_vit", weights=tmp_path / "other.pth")
    state = model_of("test_vit").state_dict()
    del state["blocks.3.attn.qkv.weight"]
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(UserError, match=r"1 key missing \(blocks\.3\.attn\.qkv\.weight\)"):
        encoder("test_vit", weights=tmp_path / "less.pth")


@needs_timm
def test_published_weights_from_the_cache_of_the_hub(tmp_path):
    """A process that is offline: they are there, are another model's, are not there."""
    timm = importlib.import_module("timm")
    torch.manual_seed(9)
    cfg = timm.models.get_pretrained_cfg("test_vit")
    folder = tmp_path / "hub" / f"models--{cfg.hf_hub_id.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("a" * 40)
    (folder / "snapshots" / ("a" * 40)).mkdir(parents=True)
    file = folder / "snapshots" / ("a" * 40) / "model.safetensors"
    state = timm.create_model("test_vit").state_dict()
    save_file(state, file)
    script = (
        "import sys, torch\nfrom pointssl.images import build_image_encoder\n"
        "net = build_image_encoder('timm:test_vit', pretrained=True)\n"
        "torch.save(net.model.state_dict(), sys.argv[1])"
    )
    env = {**ENV, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}

    def fetched(**more):
        program = [sys.executable, "-c", script, str(tmp_path / "got.pth")]
        return subprocess.run(program, env=env | more, capture_output=True, text=True)

    ended = fetched()
    assert ended.returncode == 0, ended.stderr
    got = torch.load(tmp_path / "got.pth", weights_only=True)
    assert set(state) - set(got) == {"head.weight", "head.bias"}
    assert all(torch.equal(value, state[key]) for key, value in got.items())

    save_file({key: v for key, v in state.items() if key != "norm.bias"}, file)
    assert "did not come (Error(s) in loading" in fetched().stderr.splitlines()[-1]
    last = fetched(HF_HOME=str(tmp_path / "empty")).stderr.splitlines()[-1]
    assert "fetch model.safetensors of the hub's timm/test_vit.r160_in1k" in last
    assert "--image-weights" in last


@needs_timm
def test_a_model_without_published_weights():
    with pytest.raises(
        UserError, match="there are no published weights of timm:efficientnet_lite1"
    ):
        encoder("efficientnet_lite1", pretrained=True)


@needs_timm
def test_pretraining_with_a_frozen_teacher_and_continuing(tmp_path, capfd):
    root = write_clouds(tmp_path / "clouds")
    torch.manual_seed(5)
    torch.save(model_of("test_vit").state_dict(), tmp_path / "teacher.pth")
    changes = {
        "image_encoder": "timm:test_vit", "image_size": 32, "image_layers": 3,
        "image_weights": tmp_path / "teacher.pth", "freeze_image": True, "image_augment": "none",
    }  # fmt: skip
    words = flags(options(root, tmp_path / "run", **changes))
    stopped = call(capfd, "pretrain", *words, "--max-time", "0")
    assert stopped.code == 0
    assert "features of 24 images of folder: computed" in stopped.out
    assert "warning" not in stopped.out
    told = worked(capfd, "pretrain", *words)
    assert "features of 24 images of folder: read from the cache" in told
    saved = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["method"]
    teacher = torch.load(tmp_path / "teacher.pth")
    assert torch.equal(
        saved["image_encoder.model.blocks.2.mlp.fc1.weight"], teacher["blocks.2.mlp.fc1.weight"]
    )
    assert not any(key.startswith("image_encoder.model.blocks.3") for key in saved)
    words = flags(options(root, tmp_path / "random", **{**changes, "image_weights": None}))
    assert "warning: the image encoder is frozen with random" in worked(capfd, "pretrain", *words)


@needs_timm
def test_trained_on_two_processes(tmp_path):
    """Every parameter takes part, or the processes would not agree on the gradients."""
    root = write_clouds(tmp_path / "clouds")
    changes = {"image_encoder": "timm:test_vit", "image_size": 32, "epochs": 1}
    ended = pointssl("pretrain", *flags(options(root, tmp_path / "run", **changes)), ranks=2)
    assert ended.returncode == 0, ended.stderr
