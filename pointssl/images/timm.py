"""Image encoders of timm (PyTorch Image Models): DINOv2, DINOv3, PE-core, CLIP and the others.

``--image-encoder timm:NAME`` is any model of timm's registry, without its classifier: pooled
embeddings of images in [0, 1], and tokens where the model has feature maps. The model's own mean
and standard deviation are subtracted and divided out inside. It is built and loaded as published;
then it is fitted to the size of our images, and cut.
"""

import difflib
import importlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointssl.images.tokens import ImageTokens, token_dim, tokens_of_map
from pointssl.images.weights import fit_weights, load_weights
from pointssl_datasets.base.errors import UsageError, UserError


class Normalised(nn.Module):
    """``model`` for images in [0, 1]: its ``mean`` and ``std`` are subtracted and divided out here.

    Args:
        model: ``(B, 3, H, W) -> (B, dim)``.
        mean, std: of red, green and blue.
        name: of the model, for messages.
        size: side of an image that the model takes, to measure its tokens with.

    Attributes:
        dim: channels of the embedding.
        token_dim: channels of the tokens of the last block or stage; None: the model has none.
        token_dims: channels of the tokens of each block or stage; empty where it has none.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        dim: int,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        name: str = "model",
        size: int = 224,
    ) -> None:
        super().__init__()
        self.model, self.dim, self.name, self.size = model, dim, name, size
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (B, dim) of ``images`` (B, 3, H, W), RGB in [0, 1].

        Raises:
            TypeError: the images are integers; divide uint8 by 255 first.
        """
        embeddings: Tensor = self.model(self._normalised(images))
        return embeddings

    def tokens(self, images: Tensor, stage: int | None = None) -> ImageTokens:
        """The embeddings, and the tokens of a block (of a transformer) or stage.

        Tokens of a transformer are those of its patches, after its final norm where timm can apply
        it to them; class and register tokens are left out. Tokens of a convolutional network are
        the cells of its feature map.

        Args:
            images: as for :meth:`forward`.
            stage: 1 to ``len(token_dims)``, as timm counts; None: the last one.

        Returns:
            ``pooled`` (B, dim), ``tokens`` (B, rows * columns, C), ``grid``.

        Raises:
            TypeError: as :meth:`forward`.
            UsageError: the model has no feature maps, or no such stage.
        """
        token_dim(self, stage=stage)
        wanted = 1 if stage is None else [stage - 1]  # timm: a number means so many of the last
        final, maps = self._maps(self._normalised(images), wanted)
        head: Any = self.model.forward_head
        pooled: Tensor = head(final)
        return ImageTokens(pooled, *tokens_of_map(maps[-1]))

    @property
    def token_dim(self) -> int | None:
        return self.token_dims[-1] if self.token_dims else None

    @cached_property
    def token_dims(self) -> tuple[int, ...]:
        """Measured on a black image: what a model says of itself may be stale."""
        if not all(hasattr(self.model, name) for name in ("forward_intermediates", "forward_head")):
            return ()
        modes = [module.training for module in self.model.modules()]
        self.model.eval()
        try:
            with torch.no_grad():
                maps = self._maps(self.mean.new_zeros(1, 3, self.size, self.size), None)[1]
        finally:
            for module, mode in zip(self.model.modules(), modes, strict=True):
                module.training = mode
        return tuple(features.shape[1] for features in maps)

    def _maps(self, pixels: Tensor, wanted: int | list[int] | None) -> tuple[Tensor, list[Tensor]]:
        """What the model's head takes, and feature maps (B, C, H, W) of the stages ``wanted``."""
        forward: Any = self.model.forward_intermediates
        try:
            final, maps = forward(pixels, indices=wanted, norm=True, output_fmt="NCHW")
        except AssertionError:  # a few models refuse to normalise what is not their last output
            final, maps = forward(pixels, indices=wanted, norm=False, output_fmt="NCHW")
        return final, maps

    def _normalised(self, images: Tensor) -> Tensor:
        if not images.is_floating_point():
            raise TypeError(f"images are {images.dtype}; expected floats in [0, 1]")
        return (images - self.mean) / self.std


def timm_encoder(
    name: str,
    weights: Path | None = None,
    *,
    size: int | None = None,
    layers: int | None = None,
    pretrained: bool = False,
) -> Normalised:
    """The model ``name`` of timm's registry, e.g. ``vit_small_patch14_dinov2.lvd142m``.

    Args:
        weights: a state dict with timm's keys, such as ``model.safetensors`` of its repository
            on the hub; a classifier in it is left out.
        size: side of the images, to which position embeddings are interpolated; None: its own.
        layers: keep the first blocks (of a transformer) or stages, and the final norm and pool.
        pretrained: fetch the published weights from the hub, or from its cache on this machine.

    Raises:
        UsageError: no such model, or it does not take this size or number of layers.
        UserError: timm can't be imported; the weights can't be had or do not fit.
    """
    timm = import_timm()
    check_name(name, timm.list_models(), timm.list_pretrained())
    model = timm.create_model(name, num_classes=0)
    classifier = model.pretrained_cfg.get("classifier") or ()
    if isinstance(classifier, str):
        classifier = (classifier,)
    # Of `head.fc` or `head_dist.linear`, whatever else is in that head.
    heads = tuple(head.partition(".")[0] for head in classifier)
    if weights is not None:
        load_weights(model, weights, heads, whose="timm's")
    elif pretrained:
        fit_weights(model, _published(timm, name, model), f"timm:{name}", heads, whose="timm's")
    facts = timm.data.resolve_model_data_config(model)
    own = facts["input_size"][-1]
    fit_size(model, name, size or own, own)
    if layers is not None:
        keep_layers(model, name, layers)
    dim = measured_dim(model, name, size or own, own)
    return Normalised(
        model, dim, facts["mean"], facts["std"], name=f"timm:{name}", size=size or own
    )


def import_timm() -> Any:
    """The package.

    Raises:
        UserError: it is not installed, or its torchvision is of another build than torch.
    """
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise UserError(_unusable(error)) from None
        raise UserError(
            "--image-encoder timm:...: timm is not installed: pip install 'pointssl[timm]'"
        ) from None
    except Exception as error:  # torchvision fails in whatever way its compiled half leads to
        raise UserError(_unusable(error)) from None


def _unusable(error: Exception) -> str:
    return f"timm can't be imported ({_line(error)}): {matching_torchvision(torch.__version__)}"


def matching_torchvision(version: str) -> str:
    """What to install beside torch ``version``: torchvision is released and built along with it."""
    release, _, build = version.partition("+")
    numbers = release.split(".")
    matching = f" 0.{int(numbers[1]) + 15}" if numbers[0] == "2" else ""  # 2.4 goes with 0.19
    of = f" of the build +{build}" if build else ""
    return (
        f"it needs torchvision{matching}{of}, which goes with torch {version}; install it from "
        "where this torch came from, then pip install 'pointssl[timm]'"
    )


def check_name(name: str, models: Sequence[str], published: Sequence[str]) -> None:
    """Raises UsageError unless ``name`` is a model, or a model with one of its tags.

    Args:
        models: names without a tag.
        published: names with the tag of their weights, ``model.tag``.
    """
    if name in models or name in published:
        return
    model = name.partition(".")[0]
    known = [full for full in published if full.startswith(f"{model}.")]
    near = known[:3] or difflib.get_close_matches(name, [*models, *published], n=3)
    meant = f", did you mean {' or '.join(near)}?" if near else "."
    raise UsageError(
        f"--image-encoder {'timm:' + name!r}: timm has no such model{meant} "
        "timm.list_models() and timm.list_pretrained() name all."
    )


def _published(timm: Any, name: str, model: Any) -> dict[str, Tensor]:
    """The weights that timm's authors put on the hub, loaded strictly with their classifier.

    Raises:
        UserError: there are none, or they can't be fetched.
    """
    try:
        state: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # of the network, the hub, or the file that came
        hub = model.pretrained_cfg.get("hf_hub_id")
        file = f"model.safetensors of the hub's {hub}" if hub else model.pretrained_cfg.get("url")
        if not file:
            raise UserError(
                f"--image-pretrained: there are no published weights of timm:{name}; "
                "timm.list_pretrained() names the models that have some"
            ) from None
        raise UserError(
            f"--image-pretrained: the weights of timm:{name} did not come ({_line(error)}). "
            f"Without internet, fetch {file} on another machine, and give it with --image-weights"
        ) from None
    return state


def fit_size(model: nn.Module, name: str, size: int, own: int) -> None:
    """Interpolate position embeddings to images of ``size``, where the model has such.

    Raises:
        UsageError: the patches do not divide the size, or the model can't be resized.
    """
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    patch = patch[0] if isinstance(patch, (tuple, list)) else patch
    # timm would let the last pixels of each row fall under the table.
    if patch and size % patch:
        near = max(1, round(size / patch)) * patch
        raise UsageError(
            f"--image-size {size}: timm:{name} cuts images into patches of {patch} px, which do "
            f"not divide it: try {near}"
        )
    if size == own or not hasattr(model, "set_input_size"):
        return
    try:
        model.set_input_size((size, size))  # type: ignore[operator]
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UsageError(_size_refused(name, size, own, error)) from None


def _size_refused(name: str, size: int, own: int, error: Exception) -> str:
    return (
        f"--image-size {size}: timm:{name} does not take images of that size "
        f"({_line(error)}); its own is {own}"
    )


def keep_layers(model: nn.Module, name: str, layers: int) -> None:
    """Drop what comes after the first ``layers`` blocks or stages, as timm counts them.

    Raises:
        UsageError: the model can't be cut, or has fewer.
    """
    if not hasattr(model, "prune_intermediate_layers"):
        raise UsageError(f"--image-layers {layers}: timm can't cut {name}: leave it out")
    count = len(model.feature_info)  # type: ignore[arg-type]
    if not 1 <= layers <= count:
        raise UsageError(f"--image-layers {layers}: timm:{name} has {count} blocks or stages")
    model.prune_intermediate_layers([layers - 1], prune_head=False)  # type: ignore[operator]


@torch.no_grad()
def measured_dim(model: nn.Module, name: str, size: int, own: int) -> int:
    """Channels of the embedding of one black image: what a model says of itself may be stale.

    A model that gives a map of features, as the first stages of a convolutional one do, gets the
    average pool that timm has for it.

    Raises:
        UsageError: the model does not take this size, or gives no embedding.
    """
    model.eval()
    black = torch.zeros(1, 3, size, size)
    try:
        features = model(black)
        if features.dim() != 2:
            model.reset_classifier(0, "avg")  # type: ignore[operator]
            features = model.eval()(black)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UsageError(_size_refused(name, size, own, error)) from None
    model.train()
    if features.dim() != 2:
        raise UsageError(
            f"--image-encoder timm:{name}: gives features {tuple(features.shape)} of an image; "
            "expected one embedding"
        )
    return int(features.shape[1])


def _line(error: Exception) -> str:
    """The first line of what went wrong."""
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()),
                type(error).__name__)  # fmt: skip
