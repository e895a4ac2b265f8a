"""Losses as plain functions of embeddings, computed in fp32 or wider."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pointssl.ops.collectives import gather_together, own_rows


class Contrast(NamedTuple):
    """A contrastive loss and its statistics.

    Attributes:
        loss: scalar, with gradient.
        retrieval: fraction of rows of ``a`` whose nearest row of ``b`` is their partner.
        negatives: number of negatives per row.
    """

    loss: Tensor
    retrieval: Tensor
    negatives: int


def nt_xent(a: Tensor, b: Tensor, temperature: float = 0.1) -> Contrast:
    r"""Compute the normalised-temperature cross entropy of paired embeddings (Chen et al. 2020,
    SimCLR).

    With the L2-normalised rows :math:`z` of both inputs, a row's loss is
    :math:`-\log \frac{\exp(z_i \cdot z_{p(i)} / t)}{\sum_{j \neq i} \exp(z_i \cdot z_j / t)}`,
    averaged over the 2B rows. Under torchrun the sum runs over the rows of all ranks::

        rank 0:  a0 b0 | its loss: rows a0, b0 against a0 a1 b0 b1
        rank 1:  a1 b1 | its loss: rows a1, b1 against a0 a1 b0 b1

    so that the mean over the ranks equals the loss of the whole batch in one process.

    Args:
        a, b: ``(B, D)``; row i of ``a`` and row i of ``b`` are a positive pair. Half precision is
            converted to fp32, as small norms would underflow and give NaN.
        temperature: :math:`t`.
    """
    all_a, all_b = gather_embeddings(a, b)
    return nt_xent_among(all_a, all_b, temperature)


def gather_embeddings(*kinds: Tensor) -> tuple[Tensor, ...]:
    """Gather the embeddings of all ranks in one collective, differentiably, in fp32 or wider.

    Args:
        kinds: tensors ``(B, D_i)``; row i of each belongs to the same sample.

    Returns:
        ``(W*B, D_i)`` each.
    """
    half = (torch.float16, torch.bfloat16)
    return gather_together(*(z.float() if z.dtype in half else z for z in kinds))


def nt_xent_among(all_a: Tensor, all_b: Tensor, temperature: float = 0.1) -> Contrast:
    """Compute :func:`nt_xent` of this rank's rows, given the already gathered rows of all ranks.

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
            same = same.index_put((rows, partner), same.new_tensor(float("-inf")))  # mask itself
            losses.append(F.cross_entropy(torch.cat((other, same), dim=1), partner))
        retrieval = (ab.argmax(dim=1) == partner).to(a.dtype).mean()
    return Contrast((losses[0] + losses[1]) / 2, retrieval, 2 * len(all_a) - 2)


class VicReg(NamedTuple):
    """The unweighted terms of VICReg, each a scalar with gradient."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def vicreg_among(all_a: Tensor, all_b: Tensor) -> VicReg:
    r"""Compute the terms of VICReg for paired embeddings (Bardes et al. 2022).

    The invariance term is the mean squared difference between paired rows. The variance term is
    :math:`\frac{1}{D} \sum_d \max(0, 1 - \sqrt{\mathrm{Var}(z_d) + 10^{-4}})`, averaged over both
    inputs; the covariance term is :math:`\frac{1}{D} \sum_{d \neq e} \mathrm{Cov}(z)_{de}^2`,
    summed over both inputs, as in the authors' code.

    Args:
        all_a, all_b: ``(R, D)`` rows of all ranks, see :func:`gather_embeddings`. Every rank
            computes the whole loss; the mean of the ranks' gradients equals that of one process.
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
    """The unweighted terms of Barlow Twins, each a scalar with gradient."""

    invariance: Tensor
    redundancy: Tensor


def barlow_among(all_a: Tensor, all_b: Tensor) -> BarlowTwins:
    r"""Compute the terms of Barlow Twins for paired embeddings (Zbontar et al. 2021).

    They measure how far the cross-correlation :math:`C` is from the identity:
    :math:`\sum_d (1 - C_{dd})^2` and :math:`\sum_{d \neq e} C_{de}^2`.

    Args:
        all_a, all_b: ``(R, D)`` rows of all ranks, as in :func:`vicreg_among`.
    """
    with torch.autocast(all_a.device.type, enabled=False):
        c = cross_correlation(all_a, all_b)
        return BarlowTwins((1 - c.diagonal()).square().sum(), _off_diagonal(c).square().sum())


def cross_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Compute the correlation ``(D, D)`` of the channels of ``a`` with those of ``b``, both
    ``(R, D)``; a constant channel has correlation 0."""
    a, b = ((z - z.mean(dim=0)) / (z.var(dim=0, unbiased=False) + 1e-5).sqrt() for z in (a, b))
    return a.T @ b / len(a)


def _off_diagonal(matrix: Tensor) -> Tensor:
    """Return the matrix with its diagonal set to zero."""
    return matrix - torch.diag(matrix.diagonal())


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the negative mean cosine similarity of paired rows ``(B, D)``; half precision is
    converted to fp32."""
    half = (torch.float16, torch.bfloat16)
    prediction, target = (z.float() if z.dtype in half else z for z in (prediction, target))
    return -F.cosine_similarity(prediction, target, dim=1).mean()


def smoothed_cross_entropy(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    r"""Compute the cross entropy with target :math:`1 - s` for the true class and
    :math:`s / (K - 1)` for every other class, as in DGCNN (Wang et al. 2019) and CrossPoint.

    torch's ``label_smoothing`` is spread over all K classes, including the true one, so it gets
    :math:`s K / (K - 1)`.

    Args:
        logits: ``(M, K)``; half precision is converted to fp32.
        target: ``(M,)`` int64.
        smoothing: :math:`s`, in [0, 1).
    """
    classes = logits.shape[1]
    spread = smoothing * classes / (classes - 1) if classes > 1 else 0.0
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return F.cross_entropy(wide, target, label_smoothing=min(spread, 1.0))


def embedding_std(z: Tensor) -> Tensor:
    """Compute a measure of collapse: the standard deviation of the L2-normalised rows, averaged
    over dimensions and multiplied by sqrt(D).

    It is about 1 for rows spread evenly over the sphere, and 0 when all rows are equal (collapse).

    Args:
        z: ``(R, D)``, the rows of all ranks.
    """
    z = F.normalize(z.detach().float(), dim=1)
    return z.std(dim=0).mean() * z.shape[1] ** 0.5
