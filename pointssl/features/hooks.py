"""Hooks on all modules of a network: their inputs and outputs, observed from outside."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def hooked(
    network: nn.Module,
    after: Callable[[str, nn.Module, Any, Any], None],
    before: Callable[[str, nn.Module, Any], None] | None = None,
) -> Iterator[None]:
    """Calls ``before(name, module, inputs)`` before every call of a module, and ``after(name,
    module, inputs, output)`` after it; ``inputs`` are the arguments, ``(positional, keyword)``.
    """

    def watch(name: str, module: nn.Module) -> Iterator[Any]:
        if before is not None:
            yield module.register_forward_pre_hook(
                lambda m, given, named: before(name, m, (given, named)), with_kwargs=True
            )
        yield module.register_forward_hook(
            lambda m, given, named, output: after(name, m, (given, named), output),
            with_kwargs=True,
        )

    handles = [handle for name, module in network.named_modules() for handle in watch(name, module)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
