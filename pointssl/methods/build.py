"""Make a method, with options that are checked, and fill in what a run leaves to it."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

from torch import nn

from pointssl.augment import AUGMENTATIONS, Augmentation
from pointssl.config.arguments import check_arguments, defaults_of, parse_arguments
from pointssl.config.pretrain import METHOD_FLAGS, PretrainConfig
from pointssl.methods import METHODS
from pointssl.methods.base import INPUTS, Method
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import resolve

DRAWN = ("xyz", "normals", "draw")  # parameters of an augmentation that are not options


def method_class(name: str) -> type[Method]:
    """The class of ``--method``: a key of :data:`pointssl.methods.METHODS`, or
    ``package.module:Class``.

    Raises:
        UsageError: no such method.
    """
    found = resolve(name, METHODS, "method", nn.Module)
    if issubclass(found, Method):
        return cast(type[Method], found)
    # A module of the user's own with nothing but `forward(batch)`: it gets the other members, takes
    # images as CrossPoint does, and what it says of `takes_image_features` holds.
    members = {"images": "vector", "default_image_encoder": "resnet50"}
    return cast(type[Method], type(found.__name__, (found, Method), members))


def build_method(
    name: str,
    encoder: nn.Module,
    image_encoder: nn.Module | None = None,
    *,
    freeze_image: bool = False,
    **arguments: Any,
) -> Method:
    """A method around an encoder, with weights of its heads from torch's global generator.

    Args:
        name: see :func:`method_class`.
        image_encoder: None for a method that takes no images, or for its terms without them.
        freeze_image: leave the image encoder as it is.
        arguments: options of the method's class, e.g. ``temperature=0.1``.

    Raises:
        UsageError: no such method, an unknown argument (the nearest is named), a value that it
            can't have, or an image encoder for a method that takes no images.
    """
    make = method_class(name)
    check_arguments("method", name, make, arguments, flag="--method-arg", inputs=INPUTS)
    if image_encoder is not None and make.images == "none":
        raise UsageError(f"method {name!r} takes no images: leave --image-encoder out, or none")
    given = (
        {"freeze_image": freeze_image}
        if "freeze_image" in inspect.signature(make).parameters
        else {}
    )
    return make(encoder, image_encoder, **given, **arguments)


def method_arguments(config: PretrainConfig) -> dict[str, Any]:
    """Every option of the method with its value: from its flag, ``--method-arg`` or its default.

    Raises:
        UsageError: a flag that the method has no use for, or that says another thing than
            ``--method-arg``.
    """
    make = method_class(config.method)
    arguments = parse_arguments(config.method_arg, "--method-arg")
    for name in METHOD_FLAGS:
        value, flag = getattr(config, name), f"--{name.replace('_', '-')}"
        if value is None:
            continue
        if arguments.setdefault(name, value) != value:
            raise UsageError(
                f"{flag} {value:g} and --method-arg {name}={arguments[name]}: give one of them"
            )
    check_arguments("method", config.method, make, arguments, flag="--method-arg", inputs=INPUTS)
    return {**defaults_of(make, INPUTS), **arguments}


def augmentation_arguments(config: PretrainConfig) -> dict[str, Any]:
    """Every option of the clouds' augmentation with its value, as :func:`method_arguments`."""
    function = resolve(config.augment, AUGMENTATIONS, "augmentation")
    arguments = parse_arguments(config.augment_arg, "--augment-arg")
    defaults = defaults_of(function, DRAWN)
    without_effect = ("auto",) if "rotate" in defaults else ("auto", _without_rotation(config))
    rotate = arguments.get("rotate", config.rotate)
    if config.rotate not in without_effect:
        arguments["rotate"] = config.rotate
    if config.rotate != "auto" and rotate != config.rotate:
        raise UsageError(
            f"--rotate {config.rotate} and --augment-arg rotate={rotate}: give one of them"
        )
    check_arguments(
        "augmentation", config.augment, function, arguments, flag="--augment-arg", inputs=DRAWN
    )
    return {**defaults, **arguments}


def build_augmentation(config: PretrainConfig) -> Augmentation:
    """The augmentation of the clouds with its options."""
    function = resolve(config.augment, AUGMENTATIONS, "augmentation")
    return cast(Augmentation, partial(function, **augmentation_arguments(config)))


def with_method_defaults(config: PretrainConfig) -> PretrainConfig:
    """``config`` with what it leaves to its method filled in: image encoder, augmentation,
    rotation, and the flags of options that the method has.

    Raises:
        UsageError: as :func:`method_arguments` and :func:`augmentation_arguments`.
    """
    make = method_class(config.method)
    if config.image_encoder == "auto":
        config = replace(config, image_encoder=make.default_image_encoder)
    if config.augment == "auto":
        config = replace(config, augment=make.default_augment)
    arguments = method_arguments(config)
    flags: Mapping[str, Any] = {name: arguments.get(name) for name in METHOD_FLAGS}
    rotate = augmentation_arguments(config).get("rotate", _without_rotation(config))
    return replace(config, **flags, rotate=rotate)


def _without_rotation(config: PretrainConfig) -> str:
    """What ``rotate`` says where the augmentation has no such option: files of runs on clouds as
    they are have always said ``up``."""
    return "up" if config.augment == "none" else "none"
