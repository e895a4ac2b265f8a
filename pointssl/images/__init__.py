"""Image encoders: images (B, 3, H, W) in [0, 1] -> one embedding each, (B, D), and tokens.

Tokens are optional, see :func:`~pointssl.images.tokens.image_tokens`.
"""

from pathlib import Path

import torch
from torch import nn

from pointssl.images.weights import load_weights
from pointssl_datasets.base.errors import UsageError
from pointssl_datasets.base.resolve import resolve

IMAGE_ENCODERS: dict[str, str] = {
    "resnet18": "pointssl.images.resnet:resnet18",
    "resnet34": "pointssl.images.resnet:resnet34",
    "resnet50": "pointssl.images.resnet:resnet50",
}

TIMM = "timm:"  # prefix of the models of timm


def build_image_encoder(
    name: str,
    weights: Path | None = None,
    seed: int = 0,
    *,
    size: int | None = None,
    layers: int | None = None,
    pretrained: bool = False,
) -> nn.Module:
    """The image encoder ``name``: (B, 3, H, W) float in [0, 1] -> (B, D), D = ``.dim``.

    Args:
        name: a key of :data:`IMAGE_ENCODERS`, ``timm:NAME``, or ``package.module:Class`` (called
            without arguments).
        weights: a state dict as ``.pth``, ``.pt`` or ``.safetensors``; see
            :func:`~pointssl.images.weights.load_weights`.
        seed: of the initialisation; the global random state is left as it was.
        size, layers, pretrained: of a model of timm's; see
            :func:`~pointssl.images.timm.timm_encoder`.

    Raises:
        UsageError: no such encoder, or it has no integer attribute ``dim``.
        UserError: the weights can't be read or do not fit.
    """
    if pretrained and weights is not None:
        raise UsageError(f"--image-pretrained and --image-weights {weights}: choose one of them")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not CUDA's, which fork_rng leaves out
        if name.startswith(TIMM):
            from pointssl.images.timm import timm_encoder

            timm_name = name.removeprefix(TIMM)
            return timm_encoder(timm_name, weights, size=size, layers=layers, pretrained=pretrained)
        encoder = resolve(name, IMAGE_ENCODERS, "image encoder")()
    for flag, given in (("--image-layers", layers is not None), ("--image-pretrained", pretrained)):
        if given:
            raise UsageError(
                f"{flag}: is for {TIMM}NAME, not for --image-encoder {name}; "
                "give a file of weights with --image-weights"
            )
    if not isinstance(encoder, nn.Module) or not isinstance(getattr(encoder, "dim", None), int):
        raise UsageError(
            f"image encoder {name!r}: expected an nn.Module with an integer attribute `dim`, "
            "the channels of its output."
        )
    if weights is not None:
        load_weights(encoder, weights)
    return encoder
