"""Entropy of attention weights: how widely the attention of each layer spreads."""

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pointssl.features.hooks import hooked
from pointssl.inspection.profile import whole_layers


class Entropies(NamedTuple):
    """Attention entropies of one call, in nats, averaged over queries ``(B, H)``, and the number of
    keys."""

    values: Tensor
    keys: int


EntropiesByName = dict[str, list[Entropies]]


def entropies(weights: Tensor) -> Entropies:
    """Compute the entropies of attention weights ``(B, H, M, K)``, whose rows are normalised."""
    share = weights.float().clamp(min=0)
    share = share / share.sum(-1, keepdim=True).clamp(min=1e-30)
    return Entropies(torch.special.entr(share).sum(-1).mean(-1).cpu(), weights.shape[-1])


def summarise_entropies(calls: list[Entropies]) -> dict[str, Any]:
    """Return the mean, the mean of each head, and the entropy of uniform weights."""
    together = torch.cat([call.values for call in calls]).double()
    return {
        "mean": float(together.mean()),
        "heads": together.mean(0).tolist(),
        "uniform": math.log(max(call.keys for call in calls)),
    }


@contextmanager
def watched_attention(encoder: nn.Module) -> Iterator[EntropiesByName]:
    """Record the attention entropies of every forward pass in a ``with`` block, by module name.

    Covered are modules with a method ``weights`` that takes the inputs of ``forward`` and returns
    ``(B, H, M, K)``; ``scaled_dot_product_attention``, whose weights are recomputed from queries
    and keys; and torch's ``MultiheadAttention``.
    """
    recorded: EntropiesByName = {}
    open_: list[tuple[str, bool]] = []  # running modules, and whether they have a method `weights`
    busy = False  # computing weights, which is not part of the pass

    def has_weights_method(module: nn.Module) -> bool:
        return inspect.ismethod(getattr(module, "weights", None))

    def before(name: str, module: nn.Module, inputs: Any) -> None:
        open_.append((name, has_weights_method(module)))

    def after(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal busy
        open_.pop()
        if not has_weights_method(module) or busy:
            return
        busy = True
        try:
            args, kwargs = inputs
            weights = module.weights(*args, **kwargs)  # type: ignore[operator]
        finally:
            busy = False
        if isinstance(weights, Tensor) and weights.dim() == 4:
            recorded.setdefault(name, []).append(entropies(weights))

    class Watch(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            call, named = func, kwargs or {}
            if busy or any(own_weights for _, own_weights in open_):
                return call(*args, **named)
            name = open_[-1][0] if open_ else ""
            if func is F.scaled_dot_product_attention:
                recorded.setdefault(name, []).append(_product_entropies(*args, **named))
            elif func is F.multi_head_attention_forward:
                with_weights = {**named, "need_weights": True, "average_attn_weights": False}
                output, weights = call(*args, **with_weights)
                headed = weights if weights.dim() == 4 else weights[None]
                recorded.setdefault(name, []).append(entropies(headed))
                if not named.get("need_weights", True):
                    return output, None
                average = named.get("average_attn_weights", True)
                return output, weights.mean(-3) if average else weights
            return call(*args, **named)

    with whole_layers(), hooked(encoder, after, before), Watch():
        yield recorded


def _product_entropies(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Entropies:
    """Compute the entropies of ``scaled_dot_product_attention``, which does not return its weights.

    Args:
        query, key: ``(..., H, M, D)`` and ``(..., H, K, D)``.
    """
    queries, keys = query.shape[-2], key.shape[-2]
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    if is_causal:
        attn_mask = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None:
        attn_mask = attn_mask.expand(*query.shape[:-1], keys)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    parts = [_headed(t) for t in (query, key, attn_mask) if t is not None]
    values = []
    for q, k, *mask in zip(*parts, strict=True):  # by cloud, as the weights are H x M x K numbers
        logits = scale * (q.float() @ k.float().mT)
        if mask and mask[0].dtype == torch.bool:
            logits = logits.masked_fill(~mask[0], -torch.inf)
        elif mask:
            logits = logits + mask[0]
        values.append(entropies(logits.softmax(-1).nan_to_num()[None]).values)
    return Entropies(torch.cat(values), keys)


def _headed(value: Tensor) -> Tensor:
    """Reshape ``(..., H, M, D)`` or ``(B, M, D)`` to ``(B, H, M, D)``."""
    return value[:, None] if value.dim() == 3 else value.flatten(0, -4)
