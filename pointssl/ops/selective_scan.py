"""The recurrence of a selective state space model (Mamba), computed in chunks.

Gu and Dao 2023 (arXiv 2312.00752). Each of D channels has N states::

    h_t = exp(dt_t a) h_{t-1} + dt_t x_t b_t          (D, N)
    y_t = h_t c_t + skip x_t                          (D,)

The decays and inputs of a whole sequence would be several tensors of L x D x N numbers. So the
sequence is processed in chunks: a chunk's decays and inputs are computed at once, then its states,
and only the last state is passed to the next chunk. Backward keeps the inputs and the states
between chunks, and recomputes the states within a chunk.

Within a chunk, a CPU computes the states step by step, each one pass over D x N numbers in cache. A
GPU uses a parallel scan by doubling (Hillis and Steele 1986), which avoids L small kernels: it
combines (decay, state) of neighbours, then of pairs, then of fours. Decays are at most 1 and are
only multiplied, so nothing overflows; ratios of decays, as in cumulative sums of logarithms, can.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointssl.ops.exporting import is_exporting

CHUNK = 16  # steps per chunk on a CPU
GPU_CHUNK = 64
BLOCK = 1 << 14  # states per block of clouds, so that a chunk of them stays in a CPU's cache


def selective_scan(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor, chunk: int = 0
) -> Tensor:
    """Compute ``y_t = h_t c_t + skip x_t``, ``h_t = exp(dt_t a) h_{t-1} + dt_t x_t b_t``, ``h_0 =
    0``.

    Equals :func:`selective_scan_reference` in values and gradients. Half-precision autocast is
    disabled inside: everything runs in the dtype of ``a``.

    Args:
        x: ``(B, L, D)``.
        dt: ``(B, L, D)`` step sizes, above 0.
        a: ``(D, N)`` rates, below 0.
        b, c: ``(B, L, N)``, input and output weights of the states.
        skip: ``(D,)``.
        chunk: steps per chunk; 0 for a default that suits the device. It changes only rounding.

    Returns:
        ``(B, L, D)`` in the dtype of ``a``.
    """
    with torch.autocast(x.device.type, enabled=False):
        x, dt, b, c = (value.to(a.dtype) for value in (x, dt, b, c))
        if is_exporting():
            return torch.addcmul(_scan_twin(x, dt, a, b, c), skip, x)
        return torch.addcmul(_Scan.apply(x, dt, a, b, c, chunk), skip, x)


def selective_scan_reference(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, skip: Tensor
) -> Tensor:
    """Reference for :func:`selective_scan`: the formula step by step; slow."""
    state = x.new_zeros(len(x), *a.shape)
    outputs = []
    for t in range(x.shape[1]):
        decay = torch.exp(dt[:, t, :, None] * a)
        state = decay * state + (dt[:, t] * x[:, t])[..., None] * b[:, t, None]
        outputs.append((state * c[:, t, None]).sum(-1) + skip * x[:, t])
    return torch.stack(outputs, dim=1)


class _Scan(torch.autograd.Function):
    """The scan without the skip term."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk: int
    ) -> Tensor:
        chunk = chunk or (CHUNK if is_cpu(x) else GPU_CHUNK)
        x, dt, b, c = (_steps_first(value) for value in (x, dt, b, c))
        y = torch.empty_like(x)
        starts = x.new_zeros(-(-len(x) // chunk) + 1, x.shape[1], *a.shape)
        for clouds in _blocks(x, a):
            for number, start in enumerate(range(0, len(x), chunk)):
                part = slice(start, start + chunk), clouds
                _, states = _states(x[part], dt[part], a, b[part], starts[number, clouds])
                y[part] = (states[1:] @ c[part][..., None])[..., 0]
                starts[number + 1, clouds] = states[-1]
        ctx.save_for_backward(x, dt, a, b, c, starts)
        ctx.chunk = chunk
        return y.transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, dt, a, b, c, starts = ctx.saved_tensors
        grad_y = _steps_first(grad_y)
        grad_x, grad_dt, grad_b, grad_c = (torch.empty_like(value) for value in (x, dt, b, c))
        grad_a = torch.zeros_like(a)
        for clouds in _blocks(x, a):
            carry = torch.zeros_like(starts[0, clouds])  # gradient of the last state, from later
            for number in reversed(range(len(starts) - 1)):
                part = slice(number * ctx.chunk, (number + 1) * ctx.chunk), clouds
                decay, states = _states(x[part], dt[part], a, b[part], starts[number, clouds])
                grads = grad_y[part][..., None] * c[part][:, :, None]
                grads[-1] += carry
                _scan_backwards(decay, grads)
                carry = decay[0] * grads[0]
                grad_c[part] = (grad_y[part][:, :, None] @ states[1:])[:, :, 0]
                grad_b[part] = ((x[part] * dt[part])[:, :, None] @ grads)[:, :, 0]
                grad_input = (grads @ b[part][..., None])[..., 0]  # of dt_t x_t
                grads.mul_(states[:-1]).mul_(decay)  # of dt_t a
                grad_x[part] = grad_input * dt[part]
                grad_dt[part] = torch.einsum("tbdn,dn->tbd", grads, a).addcmul_(grad_input, x[part])
                grad_a += torch.einsum("tbdn,tbd->dn", grads, dt[part])
        grad_x, grad_dt, grad_b, grad_c = (
            grad.transpose(0, 1) for grad in (grad_x, grad_dt, grad_b, grad_c)
        )
        return grad_x, grad_dt, grad_a, grad_b, grad_c, None


def _scan_twin(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Compute the whole sequence by one parallel scan: a short graph, for export."""
    x, dt, b, c = (value.transpose(0, 1) for value in (x, dt, b, c))
    inputs = (dt * x)[..., None] * b[:, :, None]
    states = scan_by_doubling(torch.exp(dt[..., None] * a), inputs)
    return (states @ c[..., None])[..., 0].transpose(0, 1)


def _steps_first(value: Tensor) -> Tensor:
    """Transpose ``(B, L, C)`` to ``(L, B, C)``."""
    return value.transpose(0, 1).contiguous()


def is_cpu(value: Tensor) -> bool:
    return value.device.type == "cpu"


def _blocks(x: Tensor, a: Tensor) -> Iterator[slice]:
    """Return slices of the clouds that are processed together; all of them on a GPU."""
    clouds = x.shape[1]
    step = max(1, BLOCK // a.numel()) if is_cpu(x) else clouds
    return (slice(start, start + step) for start in range(0, clouds, step))


def _states(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Compute decays ``(T, B, D, N)`` and states ``(T + 1, B, D, N)``, beginning with ``start``."""
    decay = (dt[..., None] * a).exp_()
    states = x.new_empty(len(x) + 1, *start.shape)
    states[0] = start
    torch.mul((dt * x)[..., None], b[:, :, None], out=states[1:])
    if is_cpu(x):
        for t, step in enumerate(decay):
            states[t + 1].addcmul_(step, states[t])
    else:
        states[1].addcmul_(decay[0], start)
        states[1:] = scan_by_doubling(decay, states[1:])
    return decay, states


def _scan_backwards(decay: Tensor, grads: Tensor) -> None:
    """Compute ``grads_t += decay_{t+1} grads_{t+1}`` in place, from the last but one step down."""
    if is_cpu(grads):
        for t in reversed(range(len(grads) - 1)):
            grads[t].addcmul_(decay[t + 1], grads[t + 1])
    else:
        grads.copy_(scan_by_doubling(decay.roll(-1, 0).flip(0), grads.flip(0)).flip(0))


def scan_by_doubling(decay: Tensor, inputs: Tensor) -> Tensor:
    """Compute all ``h_t = decay_t h_{t-1} + inputs_t``, ``h_0 = inputs_0``, in log2(T) passes.

    Args:
        decay, inputs: ``(T, ...)``; the first decay is not used.
    """
    states = inputs
    reach = 1  # each row combines its last `reach` steps
    while reach < len(states):
        states = torch.cat(
            (states[:reach], torch.addcmul(states[reach:], decay[reach:], states[:-reach]))
        )
        decay = torch.cat((decay[:reach], decay[reach:] * decay[:-reach]))
        reach *= 2
    return states
