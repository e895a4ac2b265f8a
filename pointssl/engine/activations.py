"""Activation checkpointing: a block's insides are computed anew in the backward pass.

Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost. Of every block its inputs alone
are kept. The numbers are the same: dropout draws the same, and the second time batch norms count
on copies of their running statistics.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Buffers = list[tuple[nn.Module, str, Tensor]]


def checkpoint_blocks(network: nn.Module) -> int:
    """Let the blocks of ``network`` forget what happens inside them; the number of blocks.

    A block is an entry of a list or sequence of modules, as the stages' blocks of a ResNet or the
    layers of a transformer. State dict and hooks stay as they are.
    """
    found = blocks_of(network)
    for block in found:
        block.forward = partial(forgetful, block, block.forward)
    return len(found)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The outermost entries of lists and sequences of modules that have modules of their own."""
    listed = isinstance(network, (nn.ModuleList, nn.Sequential))
    found: list[nn.Module] = []
    for child in network.children():
        is_block = listed and not isinstance(child, (nn.ModuleList, nn.Sequential))
        if not is_block:
            found += blocks_of(child)
        elif next(child.children(), None) is not None:
            found.append(child)
    return found


def forgetful(block: nn.Module, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """``forward(*inputs)``; when it learns, its insides are computed twice."""
    if not (block.training and torch.is_grad_enabled()):
        return forward(*inputs, **named)
    return checkpoint(
        forward,
        *inputs,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), copied_buffers(block)),
        **named,
    )


@contextlib.contextmanager
def copied_buffers(module: nn.Module) -> Iterator[None]:
    """What is written into the module's buffers meanwhile is lost."""
    own: Buffers = [
        (part, name, value)
        for part in module.modules()
        for name, value in part._buffers.items()
        if value is not None
    ]
    for part, name, value in own:
        part._buffers[name] = value.clone()
    try:
        yield
    finally:
        for part, name, value in own:
            part._buffers[name] = value
