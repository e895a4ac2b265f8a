"""Batch norm with statistics over all processes, on CPU and GPU.

torch's own SyncBatchNorm rejects CPU tensors, and EdgeConv needs the statistics of edges that it
never materialises; one sum over the ranks serves both.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from pointssl.ops.collectives import sum_over_ranks, world_size


class SyncBatchNorm(_BatchNorm):
    """Batch norm over dimension 1 with the statistics of all ranks.

    Ioffe and Szegedy 2015. The gradient through the shared statistics is exact. Parameters and
    state-dict keys are those of ``nn.BatchNorm``.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected (rows, channels, ...), got {tuple(input.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(R, C, ...)``, keeping its shape."""
        self._check_input_dim(x)
        if not (self.training and is_synced(self)):
            return super().forward(x)
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if not self.affine:
            weight, bias = x.new_ones(self.num_features), x.new_zeros(self.num_features)
        y, mean, var, count = _SyncedNorm.apply(x, weight, bias, self.eps)
        update_running(self, mean, var, count)
        return y


def is_synced(norm: nn.Module) -> bool:
    """Return whether this norm currently shares its statistics with other processes."""
    return isinstance(norm, SyncBatchNorm) and world_size() > 1


def sync_batch_norms(module: nn.Module) -> nn.Module:
    """Replace every batch norm in ``module`` by a :class:`SyncBatchNorm` with the same tensors."""
    for name, child in module.named_children():
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            synced = SyncBatchNorm(
                child.num_features,
                child.eps,
                child.momentum,
                child.affine,
                child.track_running_stats,
            )
            synced._parameters = child._parameters
            synced._buffers = child._buffers
            synced.training = child.training
            setattr(module, name, synced)
        else:
            sync_batch_norms(child)
    return module


@torch.no_grad()
def update_running(norm: _BatchNorm, mean: Tensor, var: Tensor, count: float | Tensor) -> None:
    """Update the running statistics with a batch's mean and biased variance over ``count`` rows."""
    if not norm.track_running_stats or norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = norm.momentum
    if share is None:
        share = 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
    norm.running_var.lerp_((var * (count / (count - 1))).to(norm.running_var.dtype), share)


class _SyncedNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dims = [d for d in range(x.dim()) if d != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        rows = wide.new_full((1,), x.numel() / x.shape[1])
        sums = sum_over_ranks(torch.cat((wide.sum(dims), rows)))
        mean, count = sums[:-1] / sums[-1], sums[-1]
        centred = wide - mean.view(shape)
        var = sum_over_ranks(centred.square().sum(dims)) / count
        inv_std = (var + eps).rsqrt()
        normalised = centred * inv_std.view(shape)
        ctx.save_for_backward(normalised, weight, inv_std, count)
        ctx.mark_non_differentiable(mean, var, count)
        y = normalised * weight.view(shape) + bias.view(shape)
        return y.to(x.dtype), mean, var, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        normalised, weight, inv_std, count = ctx.saved_tensors
        dims = [d for d in range(grad_y.dim()) if d != 1]
        shape = [1, -1] + [1] * (grad_y.dim() - 2)
        wide = grad_y.to(normalised.dtype)
        grad_bias = wide.sum(dims)
        grad_weight = (wide * normalised).sum(dims)
        means = sum_over_ranks(torch.stack((grad_bias, grad_weight))) / count
        grad_x = wide - means[0].view(shape) - normalised * means[1].view(shape)
        grad_x = grad_x * (weight * inv_std).view(shape)
        return grad_x.to(grad_y.dtype), grad_weight, grad_bias, None
