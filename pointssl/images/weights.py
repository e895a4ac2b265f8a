"""Weights of an image encoder from a file, strictly; nothing in the file is executed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from pointssl.checkpoints.file import COUNTER
from pointssl.checkpoints.reading import read_file
from pointssl_datasets.base.errors import UserError


def load_weights(
    encoder: nn.Module, path: Path, heads: Sequence[str] = ("fc",), whose: str = "torchvision's"
) -> None:
    """Load the state dict in a file as :func:`fit_weights` does.

    Raises:
        UserError: the file can't be read, or the keys or shapes are not the encoder's.
    """
    fit_weights(encoder, _read_tensors(path), str(path), heads, whose)


def fit_weights(
    encoder: nn.Module, state: Mapping[str, Tensor], where: str, heads: Sequence[str], whose: str
) -> None:
    """Load ``state`` strictly; only a classifier may be left over.

    Batch norm's ``num_batches_tracked``, which torchvision's oldest files lack, may be missing:
    it is a counter that nothing here reads.

    Args:
        where: the weights come from, for the message.
        heads: names of the modules that classify.
        whose: keys they must have, for the message.

    Raises:
        UserError: the keys or shapes are not the encoder's.
    """
    own = encoder.state_dict()
    counters = {key for key in own if key.endswith(COUNTER)}
    left_over = [key for key in state if key not in own]
    problems = {
        "missing": [key for key in own if key not in state and key not in counters],
        "unexpected": [key for key in left_over if key.partition(".")[0] not in heads],
        "of another shape": [k for k in own if k in state and state[k].shape != own[k].shape],
    }
    if any(problems.values()):
        found = "; ".join(_first(keys, how) for how, keys in problems.items() if keys)
        raise UserError(
            f"{where}: not the weights of this image encoder: {found}. "
            f"Choose the --image-encoder they belong to; the keys are {whose}."
        )
    encoder.load_state_dict({key: state.get(key, own[key]) for key in own})


def _first(keys: list[str], how: str) -> str:
    """``"5 keys missing (conv1.weight, bn1.weight, bn1.bias, ...)"``."""
    more = ", ..." if len(keys) > 3 else ""
    return f"{len(keys)} key{'s'[: len(keys) != 1]} {how} ({', '.join(keys[:3])}{more})"


def _read_tensors(path: Path) -> Mapping[str, Tensor]:
    """A file of named tensors; nothing in it is executed."""
    try:
        state = read_file(path)
    except UserError as error:
        raise UserError(f"--image-weights: {error}") from None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(
            f"--image-weights: {path}: expected a state dict (key: tensor), got something else. "
            "Save the image encoder's state_dict() alone."
        )
    return state
