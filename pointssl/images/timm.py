"""Image encoders of timm (PyTorch Image Models): DINOv2, DINOv3, PE-core, CLIP and the others.

``--image-encoder timm:NAME`` is any model of timm's registry, without its classifier: pooled
embeddings of pictures in [0, 1]. The model's own mean and standard deviation are taken out inside.
It is built and loaded as published; then it is fitted to the size of our pictures, and cut.
"""

import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointssl.images.weights import fit_weights, load_weights
from pointssl_datasets.base.errors import UsageError, UserError


class Normalised(nn.Module):
    """``model`` of pictures in [0, 1], from which its ``mean`` and ``std`` are taken out here.

    Args:
        model: ``(B, 3, H, W) -> (B, dim)``.
        mean, std: of red, green and blue.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, model: nn.Module, dim: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.model, self.dim = model, dim
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (B, dim) of ``images`` (B, 3, H, W), RGB in [0, 1].

        Raises:
            TypeError: the pictures are integers; divide uint8 by 255 first.
        """
        if not images.is_floating_point():
            raise TypeError(f"pictures are {images.dtype}; expected floats in [0, 1]")
        embeddings: Tensor = self.model((images - self.mean) / self.std)
        return embeddings


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
        size: side of the pictures, to which position embeddings are interpolated; None: its own.
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
    return Normalised(model, dim, facts["mean"], facts["std"])


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
    """Interpolate position embeddings to pictures of ``size``, where the model has such.

    Raises:
        UsageError: the patches do not divide the size, or the model can't be resized.
    """
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    patch = patch[0] if isinstance(patch, (tuple, list)) else patch
    # timm would let the last pixels of each row fall under the table.
    if patch and size % patch:
        near = max(1, round(size / patch)) * patch
        raise UsageError(
            f"--image-size {size}: timm:{name} cuts pictures into patches of {patch} px, which do "
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
        f"--image-size {size}: timm:{name} does not take pictures of that size "
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
    """Channels of the embedding of one black picture: what a model says of itself may be stale.

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
            f"--image-encoder timm:{name}: gives features {tuple(features.shape)} of a picture; "
            "expected one embedding"
        )
    return int(features.shape[1])


def _line(error: Exception) -> str:
    """The first line of what went wrong."""
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()),
                type(error).__name__)  # fmt: skip
