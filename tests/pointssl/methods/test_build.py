"""Options of a method: flags, ``--method-arg``, defaults, and what a run leaves to its method."""

import pytest
import yaml
from tiny import PictureNet, PointMlp

from pointssl.augment import crosspoint_view, scale_shift_view
from pointssl.config.options import make, to_yaml
from pointssl.config.pretrain import METHOD_FLAGS, PretrainConfig
from pointssl.methods import METHODS
from pointssl.methods.build import (
    augmentation_arguments,
    build_augmentation,
    build_method,
    method_arguments,
    method_class,
    with_method_defaults,
)
from pointssl_datasets.base.errors import UsageError


def test_crosspoint_has_the_defaults_that_its_flags_always_had():
    config = with_method_defaults(PretrainConfig())
    flags = {name: getattr(config, name) for name in METHOD_FLAGS}
    assert flags == {
        "temperature": 0.1, "within_weight": 1.0, "cross_weight": 1.0, "projection": 256
    }  # fmt: skip
    assert config.image_encoder == "resnet50"
    assert config.augment == "crosspoint"
    assert config.rotate == "up"
    assert with_method_defaults(config) == config


def test_a_flag_and_method_arg_say_the_same():
    flag = PretrainConfig(temperature=0.2, projection=64)
    argument = PretrainConfig(method_arg=("temperature=0.2", "projection=64"))
    assert method_arguments(flag) == method_arguments(argument)
    assert method_arguments(flag)["temperature"] == 0.2
    assert method_arguments(flag)["point_hidden"] == 1024
    both = PretrainConfig(temperature=0.2, method_arg=("temperature=2e-1",))
    assert method_arguments(both) == method_arguments(PretrainConfig(temperature=0.2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0.2, "method_arg": ("temperature=0.3",)},
         "--temperature 0.2 and --method-arg temperature=0.3: give one of them"),
        ({"method": "vicreg", "temperature": 0.2}, "method 'vicreg' has no argument 'temperature'"),
        ({"method": "vicreg", "method_arg": ("varaince=1",)}, "did you mean 'variance'"),
        ({"method_arg": ("temperature",)}, "--method-arg 'temperature': expected KEY=VALUE"),
        ({"method_arg": ("temperature=[",)}, "expected a plain value"),
        ({"method_arg": ("temperature=warm",)}, "temperature = 'warm', expected a value like 0.1"),
        ({"method_arg": ("encoder=3",)}, "has no argument 'encoder'"),
        ({"method_arg": ("freeze_image=true",)}, "has no argument 'freeze_image'"),
        ({"method": "crosspiont"}, "unknown method 'crosspiont', did you mean 'crosspoint'?"),
        ({"augment": "scaleshift"}, "unknown augmentation 'scaleshift', did you mean"),
        ({"augment_arg": ("drop=much",)}, "augmentation 'crosspoint': drop = 'much'"),
        ({"augment_arg": ("rotate=left",)}, "rotate = 'left', choose one of up, so3, none"),
        ({"augment": "strl", "rotate": "up"}, "augmentation 'strl' has no argument 'rotate'"),
        ({"augment": "none", "rotate": "so3"}, "augmentation 'none' has no argument 'rotate'"),
        ({"rotate": "so3", "augment_arg": ("rotate=none",)}, "give one of them"),
    ],
)  # fmt: skip
def test_bad_options_are_one_clear_line(options, words):
    with pytest.raises(UsageError) as caught:
        with_method_defaults(PretrainConfig(**options))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_in_yaml_are_a_mapping_or_a_list(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("method: vicreg\nmethod_arg: {variance: 10.0, hidden: 64}\n")
    config = make(PretrainConfig, {}, file)
    assert method_arguments(config)["variance"] == 10
    assert method_arguments(config)["hidden"] == 64
    file.write_text(to_yaml(config))
    assert make(PretrainConfig, {}, file) == config
    assert yaml.safe_load(file.read_text())["method_arg"] == ["variance=10.0", "hidden=64"]


def test_a_method_that_takes_no_image_asks_for_none():
    for name in METHODS:
        config = with_method_defaults(PretrainConfig(method=name))
        assert config.image_encoder == ("resnet50" if name == "crosspoint" else "none")
        own = with_method_defaults(PretrainConfig(method=name, image_encoder="resnet18"))
        assert own.image_encoder == "resnet18"


def test_images_for_a_method_that_takes_none_are_refused():
    with pytest.raises(UsageError, match="takes no images: leave --image-encoder out"):
        build_method("method_jobs:NoImages", PointMlp(), PictureNet())


def test_augmentations_by_name():
    config = with_method_defaults(PretrainConfig(augment="scale-shift"))
    assert config.rotate == "none"
    assert build_augmentation(config).func is scale_shift_view
    config = PretrainConfig(augment_arg=("drop=0.0", "scale=[0.8,1.25]"), rotate="so3")
    config = with_method_defaults(config)
    arguments = augmentation_arguments(config)
    assert arguments["drop"] == 0
    assert arguments["scale"] == [0.8, 1.25]
    assert arguments["rotate"] == "so3"
    assert arguments["jitter"] == 0.01
    assert build_augmentation(config).func is crosspoint_view


def test_files_of_runs_on_clouds_as_they_are_still_hold():
    """They say ``augment: none`` and ``rotate: up``, which has no effect."""
    old = PretrainConfig(augment="none", rotate="up")
    assert with_method_defaults(old).rotate == "up"
    assert with_method_defaults(PretrainConfig(augment="none")).rotate == "up"


def test_own_methods():
    assert method_class("method_jobs:Own").images == "vector"
    with pytest.raises(UsageError, match="expected a class derived from"):
        method_class("method_jobs:small_method")
