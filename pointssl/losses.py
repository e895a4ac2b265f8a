"""Losses as plain functions of embeddings, in fp32 or wider."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pointssl.ops.collectives import gather_together, own_rows


class Contrast(NamedTuple):
    """What a contrastive loss saw.

    Attributes:
        loss: scalar, with gradient.
        retrieval: share of rows whose nearest row of the other kind is their partner.
        negatives: number of negatives of each row.
    """

    loss: Tensor
    retrieval: Tensor
    negatives: int


def nt_xent(a: Tensor, b: Tensor, temperature: float = 0.1) -> Contrast:
    r"""Normalised-temperature cross entropy of paired embeddings (Chen et al. 2020, SimCLR).

    With unit rows :math:`z` of both kinds, a row's loss is
    :math:`-\log \frac{\exp(z_i \cdot z_{p(i)} / t)}{\sum_{j \neq i} \exp(z_i \cdot z_j / t)}`,
    averaged over the 2B rows. Under torchrun the sum runs over the rows of all ranks::

        rank 0:  a0 b0 | its loss: rows a0, b0 against a0 a1 b0 b1
        rank 1:  a1 b1 | its loss: rows a1, b1 against a0 a1 b0 b1

    so that the mean over the ranks is the loss of the whole batch in one process.

    Args:
        a, b: ``(B, D)``; row i of ``a`` belongs to row i of ``b``. Half precision is widened, as
            its small norms underflow to NaN.
        temperature: :math:`t`.
    """
    all_a, all_b = gather_embeddings(a, b)
    return nt_xent_among(all_a, all_b, temperature)


def gather_embeddings(*kinds: Tensor) -> tuple[Tensor, ...]:
    """Embeddings of all ranks in one collective, with their gradient, in fp32 or wider.

    Args:
        kinds: ``(B, D_i)`` each: row i of every kind belongs to one item.

    Returns:
        ``(W*B, D_i)`` each.
    """
    half = (torch.float16, torch.bfloat16)
    return gather_together(*(z.float() if z.dtype in half else z for z in kinds))


def nt_xent_among(all_a: Tensor, all_b: Tensor, temperature: float = 0.1) -> Contrast:
    """:func:`nt_xent` of this rank's rows among those of all ranks, which are there already.

    Args:
        all_a, all_b: ``(W*B, D)``, see :func:`gather_embeddings`.
    """
    with torch.autocast(all_a.device.type, enabled=False):
        all_a, all_b = F.normalize(all_a, dim=1), F.normalize(all_b, dim=1)
        own = own_rows(len(all_a))
        a, b = all_a[own], all_b[own]
        rows = torch.arange(len(a), device=a.device)
        partner = rows + own.start
        ab = a @ all_b.t() / temperature
        losses = []
        for same, other in ((a @ all_a.t(), ab), (b @ all_b.t(), b @ all_a.t() / temperature)):
            same = same / temperature
            same = same.index_put((rows, partner), same.new_tensor(float("-inf")))  # not itself
            losses.append(F.cross_entropy(torch.cat((other, same), dim=1), partner))
        retrieval = (ab.argmax(dim=1) == partner).to(a.dtype).mean()
    return Contrast((losses[0] + losses[1]) / 2, retrieval, 2 * len(all_a) - 2)


class VicReg(NamedTuple):
    """The terms of VICReg, each a scalar with gradient and without its weight."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def vicreg_among(all_a: Tensor, all_b: Tensor) -> VicReg:
    r"""Variance, invariance and covariance of paired embeddings (Bardes et al. 2022, VICReg).

    The invariance is the mean squared difference of a row's pair; the variance
    :math:`\frac{1}{D} \sum_d \max(0, 1 - \sqrt{\mathrm{Var}(z_d) + 10^{-4}})`, the mean of both
    kinds; the covariance :math:`\frac{1}{D} \sum_{d \neq e} \mathrm{Cov}(z)_{de}^2`, the sum of
    both kinds, as in the authors' code.

    Args:
        all_a, all_b: ``(R, D)`` rows of all ranks, see :func:`gather_embeddings`. Every rank
            computes the whole loss, and the mean of the ranks' gradients is that of one process.
    """
    with torch.autocast(all_a.device.type, enabled=False):
        kinds = [z - z.mean(dim=0) for z in (all_a, all_b)]
        deviations = [(z.square().sum(dim=0) / (len(z) - 1) + 1e-4).sqrt() for z in kinds]
        covariances = [z.T @ z / (len(z) - 1) for z in kinds]
        return VicReg(
            F.mse_loss(all_a, all_b),
            sum(F.relu(1 - deviation).mean() / 2 for deviation in deviations),  # type: ignore[arg-type]
            sum(_off_diagonal(c).square().sum() / len(c) for c in covariances),  # type: ignore[arg-type]
        )


class BarlowTwins(NamedTuple):
    """The terms of Barlow Twins, each a scalar with gradient and without its weight."""

    invariance: Tensor
    redundancy: Tensor


def barlow_among(all_a: Tensor, all_b: Tensor) -> BarlowTwins:
    r"""How far the cross-correlation :math:`C` of paired embeddings is from the identity (Zbontar
    et al. 2021, Barlow Twins): :math:`\sum_d (1 - C_{dd})^2` and :math:`\sum_{d \neq e} C_{de}^2`.

    Args:
        all_a, all_b: ``(R, D)`` rows of all ranks, as in :func:`vicreg_among`.
    """
    with torch.autocast(all_a.device.type, enabled=False):
        c = cross_correlation(all_a, all_b)
        return BarlowTwins((1 - c.diagonal()).square().sum(), _off_diagonal(c).square().sum())


def cross_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Correlation ``(D, D)`` of the channels of ``a`` with those of ``b``, both ``(R, D)``; a
    constant channel has none."""
    a, b = ((z - z.mean(dim=0)) / (z.var(dim=0, unbiased=False) + 1e-5).sqrt() for z in (a, b))
    return a.T @ b / len(a)


def _off_diagonal(matrix: Tensor) -> Tensor:
    """The matrix with zeros on its diagonal."""
    return matrix - torch.diag(matrix.diagonal())


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean of minus the cosine of paired rows ``(B, D)``; half precision is widened."""
    half = (torch.float16, torch.bfloat16)
    prediction, target = (z.float() if z.dtype in half else z for z in (prediction, target))
    return -F.cosine_similarity(prediction, target, dim=1).mean()


def smoothed_cross_entropy(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    r"""Cross entropy with the target :math:`1 - s` for the true class and :math:`s / (K - 1)` for
    each other one, as DGCNN (Wang et al. 2019) and CrossPoint fine-tune.

    torch's ``label_smoothing`` spreads its share over all K classes, the true one included, so it
    is given :math:`s K / (K - 1)`.

    Args:
        logits: ``(M, K)``; half precision is widened.
        target: ``(M,)`` int64.
        smoothing: :math:`s`, in [0, 1).
    """
    classes = logits.shape[1]
    spread = smoothing * classes / (classes - 1) if classes > 1 else 0.0
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return F.cross_entropy(wide, target, label_smoothing=min(spread, 1.0))


def embedding_std(z: Tensor) -> Tensor:
    """Mean over dimensions of the standard deviation of unit rows, times sqrt(D).

    About 1 for rows spread evenly over the sphere, 0 when all rows are the same: collapse.

    Args:
        z: ``(R, D)``: the rows of all ranks, as the loss takes them.
    """
    z = F.normalize(z.detach().float(), dim=1)
    return z.std(dim=0).mean() * z.shape[1] ** 0.5
