"""Load a point encoder with everything that its numbers depend on: ours, or a public one."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointssl.backbones import BACKBONES
from pointssl.backbones.build import build_encoder
from pointssl.checkpoints.file import check_weights, load_weights
from pointssl.checkpoints.metadata import encoder_metadata
from pointssl.checkpoints.zoo.opening import describe_import, open_checkpoint
from pointssl_datasets.base.errors import UserError


def load_encoder(path: str | Path, **overrides: Any) -> nn.Module:
    """The encoder of a checkpoint, in evaluation mode: ours, or a public one.

    Our files carry the backbone's name and arguments. Public files are recognised by their keys
    (:mod:`pointssl.checkpoints.zoo`): what was recognised, loaded and left out is printed, and
    arguments that the shapes do not reveal come from the recipe of the code that wrote the file.
    ``overrides`` replace arguments, e.g. ``k=40``.

    Raises:
        UserError: a file that is not known, damaged, or lacks a part of its encoder.
    """
    path = Path(path)
    checkpoint = open_checkpoint(path)
    metadata = encoder_metadata(checkpoint, path)
    for line in describe_import(metadata):
        print(line)
    arguments = {**metadata["backbone_args"], **overrides}
    make = partial(build_encoder, metadata["backbone"], **arguments)
    return build_fitting(make, metadata["backbone"], checkpoint["encoder"], path)


def build_fitting(
    make: Callable[[], nn.Module], backbone: str, weights: Mapping[str, Tensor], path: Path
) -> nn.Module:
    """What ``make`` builds, with the weights of a file and in evaluation mode.

    The arguments are the file's, so shapes are compared before any memory is taken for them; not
    with a backbone of the user's own, whose constructor may need the values of its tensors.

    Raises:
        UserError: it can't be built with such arguments, or the weights do not fit.
    """
    try:
        if backbone in BACKBONES:
            with torch.device("meta"):
                outline = make()
            check_weights(outline, weights, path)
        module = make()
    except UserError as error:
        said = str(error)
        raise type(error)(said if str(path) in said else f"{path}: {said}") from None
    except Exception as error:  # a constructor fails in whatever way its arguments lead to
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"{path}: the network that it describes can't be built: {said[:200]}"
        ) from None
    load_weights(module, weights, path)
    return module.eval()
