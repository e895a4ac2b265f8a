"""Tokens of an image: features of the cells of a grid over it, beside the pooled vector."""

from typing import Any, NamedTuple

from torch import Tensor, nn

from pointssl_datasets.base.errors import UsageError


class ImageTokens(NamedTuple):
    """What an image encoder gives when it is asked for tokens.

    Attributes:
        pooled: ``(B, D)``, exactly what ``encoder(images)`` returns.
        tokens: ``(B, T, C)``, T = rows x columns, row-major: token ``row * columns + column`` is
            the cell in that row from the top and that column from the left. The cells divide the
            image evenly; class and register tokens are left out.
        grid: ``(rows, columns)``.
    """

    pooled: Tensor
    tokens: Tensor
    grid: tuple[int, int]


def tokens_of_map(features: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Tokens ``(B, H * W, C)`` of a feature map ``(B, C, H, W)``, and the grid ``(H, W)``."""
    return features.flatten(2).transpose(1, 2), (features.shape[2], features.shape[3])


def image_tokens(encoder: nn.Module, images: Tensor, stage: int | None = None) -> ImageTokens:
    """:class:`ImageTokens` of ``images`` (B, 3, H, W) in [0, 1].

    An encoder has tokens if it has a method ``tokens(images)`` that returns them, and an integer
    attribute ``token_dim``, their channels C.

    Args:
        stage: of the encoder, counted from 1, where it offers a choice; None: the last one.

    Raises:
        UsageError: the encoder gives no tokens, or has no such stage.
    """
    token_dim(encoder)
    options = {} if stage is None else {"stage": stage}
    return encoder.tokens(images, **options)  # type: ignore[operator, no-any-return]


def token_dim(encoder: nn.Module, name: str | None = None, stage: int | None = None) -> int:
    """Channels C of an encoder's tokens.

    Args:
        name: of the encoder, for the message; None: its attribute ``name``, or its class.
        stage: as for :func:`image_tokens`.

    Raises:
        UsageError: as :func:`image_tokens`.
    """
    name = name or str(getattr(encoder, "name", type(encoder).__name__))
    dim: Any = getattr(encoder, "token_dim", None)
    if not isinstance(dim, int) or not callable(getattr(encoder, "tokens", None)):
        raise UsageError(
            f"--image-encoder {name}: gives one vector of an image, and "
            "no tokens; choose one that does: resnet18, resnet34, resnet50, or a transformer or "
            "convolutional network of timm's"
        )
    if stage is None:
        return dim
    dims: tuple[int, ...] = getattr(encoder, "token_dims", (dim,))
    check_stage(stage, len(dims), name)
    return dims[stage - 1]


def check_stage(stage: int, count: int, name: str) -> None:
    """Raises UsageError unless ``stage`` is one of 1 to ``count``."""
    if not 1 <= stage <= count:
        raise UsageError(f"image tokens of stage {stage}: {name} has stages 1 to {count}")
