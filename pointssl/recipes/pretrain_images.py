"""The image encoder of `pretrain`: it is built here, and features that never change are cached."""

from typing import Literal, cast

from torch import nn

from pointssl.config.pretrain import PretrainConfig
from pointssl.engine.distributed import World, local_batch
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.serving.mixing import PointDataset


def image_encoder_of(config: PretrainConfig) -> nn.Module | None:
    """The image encoder that the options name, or None for ``none``.

    Raises:
        UsageError: options of an image encoder where there is none; or as
            :func:`~pointssl.images.build_image_encoder`.
        UserError: as there.
    """
    if config.image_encoder != "none":
        from pointssl.images import build_image_encoder

        return build_image_encoder(
            config.image_encoder,
            config.image_weights,
            size=config.image_size,
            layers=config.image_layers,
            pretrained=config.image_pretrained,
        )
    useless = {
        f"--image-weights {config.image_weights}": config.image_weights is not None,
        "--image-pretrained": config.image_pretrained,
        f"--image-layers {config.image_layers}": config.image_layers is not None,
    }
    for flag in [flag for flag, given in useless.items() if given]:
        verb = "cut" if "layers" in flag else "load them into"
        raise UsageError(
            f"{flag}: there is no image encoder to {verb}; "
            f"leave --image-encoder none out, or {flag.split()[0]}"
        )
    return None


def frozen_at_random(config: PretrainConfig) -> bool:
    """Whether the image encoder is frozen with random weights. One of the user's own may load
    weights itself and does not count."""
    from pointssl.images import IMAGE_ENCODERS, TIMM

    ours = config.image_encoder in IMAGE_ENCODERS or config.image_encoder.startswith(TIMM)
    weights = config.image_weights is not None or config.image_pretrained
    return ours and config.freeze_image and not weights


def image_augmentation(config: PretrainConfig) -> Literal["crosspoint", "none"]:
    """How the images are augmented."""
    if config.image_augment is not None:
        return config.image_augment
    return "none" if config.augment == "none" else "crosspoint"


def images_are_fixed(config: PretrainConfig, method: nn.Module) -> bool:
    """Whether an image has the same feature in every epoch and the method can take that instead."""
    return (
        config.image_encoder != "none"
        and config.freeze_image
        and config.image_cache
        and image_augmentation(config) == "none"
        and getattr(method, "takes_image_features", False)
    )


def serve_features(
    config: PretrainConfig, dataset: PointDataset, method: nn.Module, world: World
) -> None:
    """Serve the frozen encoder's features in place of the images, cached if they are there."""
    from pointssl.images.features import serve_image_features
    from pointssl.recipes.features import feature_cache

    cache = feature_cache(config)
    if not world.is_main:
        cache.say = lambda line: None  # the others read the same files
    serve_image_features(
        cast(nn.Module, method.image_encoder),
        {"name": config.image_encoder, "layers": config.image_layers},
        dataset,
        world,
        cache,
        batch_size=local_batch(config.batch_size, world),
        amp=config.amp,
        progress=config.progress,
    )
