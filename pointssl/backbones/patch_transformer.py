"""A standard transformer over point patches, as in Point-BERT and Point-MAE."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointssl.backbones.base import Features
from pointssl.backbones.layers import with_feats
from pointssl.backbones.patches import (
    DropPath,
    Patches,
    check_rate,
    check_taps,
    drop_path_rates,
    init_as_vit,
)
from pointssl.ops.interpolation import interpolate
from pointssl_datasets.base.errors import UsageError


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017); keeps the shape ``(B, M, C)``."""

    def __init__(self, channels: int, heads: int, attention_dropout: float, dropout: float) -> None:
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute queries, keys and values, each ``(B, H, M, C / H)``."""
        return self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self._split(x)
        dropout = self.attention_dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return self.dropout(self.proj(attended.transpose(1, 2).flatten(2)))

    def weights(self, x: Tensor) -> Tensor:
        """Compute the attention weights ``(B, H, M, M)``; rows sum to 1."""
        q, k, _ = self._split(x)
        return (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1)


class Block(nn.Module):
    """Pre-norm transformer block: attention and an MLP, each with a residual connection.

    Dosovitskiy et al. 2021; keeps the shape ``(B, M, C)``. With ``normed_residual`` the residual
    branches off after the norm, ``n = norm(x); n + f(n)``, as in ReCon's blocks.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        drop_path: float = 0.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        residual_scale: float = 1.0,
        normed_residual: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = Attention(channels, heads, attention_dropout, dropout)
        self.norm2 = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, 4 * channels)
        self.linear2 = nn.Linear(4 * channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)
        self.residual_scale, self.normed_residual = residual_scale, normed_residual

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        x = self._add(x, normed, self.attention(normed))
        normed = self.norm2(x)
        inner = self.dropout(F.gelu(self.linear1(normed)))
        return self._add(x, normed, self.dropout(self.linear2(inner)))

    def _add(self, x: Tensor, normed: Tensor, branch: Tensor) -> Tensor:
        residual = normed if self.normed_residual else x
        return residual + self.drop_path(branch) / self.residual_scale


class PatchTransformer(nn.Module):
    """The encoder of Point-BERT, Point-MAE and ReCon.

    A mini-PointNet turns groups of neighbours around farthest points into tokens; before every
    block the positions, an MLP of the groups' centres, are added. Yu et al. 2022 (arXiv
    2111.14819), Pang et al. 2022 (arXiv 2203.06604), Qi et al. 2023 (arXiv 2302.02318).

    Args:
        groups: number of groups (tokens), capped at the number of points.
        group_size: points per group, capped at the number of points.
        depth: number of blocks.
        embedding: channels of the tokens.
        heads: attention heads.
        class_token: prepend a learned token with a learned position. Point-BERT and fine-tuned
            Point-MAE models have one, Point-MAE's pretraining has none.
        group_channels: output channels of the mini-PointNet, followed by a linear layer to
            ``embedding``; 0 for none. Point-BERT has 256.
        in_channels: 3 for coordinates, 6 with normals.
        taps: blocks, counted from 1, whose outputs form the point features; at most ``depth``.
        drop_path: stochastic-depth rate of the last block; it rises linearly from 0.
        dropout, attention_dropout: dropout rates.
        residual_scale: divides every branch (LV-ViT, Jiang et al. 2021, arXiv 2104.10858).
        normed_residual: the residual stream passes through the norms, as in ReCon's blocks.
        start: first point of the farthest point sampling: ``far``, or ``first`` as in public code.

    ``forward(xyz (B, N, 3), feats (B, N, in_channels - 3))``. With a class token, the cloud feature
    is that token concatenated with the maximum over the others (fine-tuning in Point-BERT and
    Point-MAE); without one it is the maximum plus the mean over the tokens, as in published linear
    SVMs on frozen encoders of this kind (Point-M2AE's code, and ReCon's for its patches). For the
    point features, the outputs of the blocks ``taps`` pass through the last norm, as in Point-MAE's
    part segmentation, are interpolated from the three nearest centres and concatenated.
    """

    def __init__(
        self,
        groups: int = 64,
        group_size: int = 32,
        depth: int = 12,
        embedding: int = 384,
        heads: int = 6,
        class_token: bool = False,
        group_channels: int = 0,
        in_channels: int = 3,
        taps: Sequence[int] = (4, 8, 12),
        drop_path: float = 0.1,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        residual_scale: float = 1.0,
        normed_residual: bool = False,
        start: str = "far",
    ) -> None:
        super().__init__()
        if embedding % heads:
            raise UsageError(f"embedding {embedding}: expected a multiple of the {heads} heads")
        if not residual_scale > 0:
            raise UsageError(f"residual_scale {residual_scale}: expected a number above 0")
        check_rate("dropout", dropout)
        check_rate("attention_dropout", attention_dropout)
        self.in_channels = in_channels
        self.taps = check_taps(taps, depth)
        self.class_token = class_token
        self.cloud_dim = 2 * embedding if class_token else embedding
        self.point_dim = len(self.taps) * embedding
        self.layers = ("patches", *(f"blocks.{i}" for i in range(depth)), "norm")
        self.patches = Patches(groups, group_size, embedding, group_channels, in_channels, start)
        self.blocks = nn.ModuleList(
            Block(
                embedding, heads, rate, dropout, attention_dropout, residual_scale, normed_residual
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(embedding)
        init_as_vit(self)
        if class_token:
            self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(embedding), std=0.02))
            self.token_position = nn.Parameter(
                nn.init.trunc_normal_(torch.empty(embedding), std=0.02)
            )

    def forward(self, xyz: Tensor, feats: Tensor | None = None) -> Features:
        centres, tokens = self.patches(with_feats(xyz, feats, self.in_channels))
        outputs = self.trunk(tokens, self.patches.position(centres), self.taps)
        last, taps = outputs[-1], outputs[:-1]
        if self.class_token:
            cloud = torch.cat((last[:, 0], last[:, 1:].amax(dim=1)), dim=-1)
            taps = [tokens[:, 1:] for tokens in taps]
        else:
            cloud = last.amax(dim=1) + last.mean(dim=1)
        return Features(cloud, interpolate(torch.cat(taps, dim=-1), centres, xyz))

    def trunk(self, tokens: Tensor, positions: Tensor, taps: Sequence[int] = ()) -> list[Tensor]:
        """Run the blocks on any tokens, e.g. the visible ones of a mask.

        Args:
            tokens: ``(B, M, embedding)``, from ``patches.embed``, without the class token.
            positions: the same shape, from ``patches.position``.
            taps: blocks whose outputs are returned.

        Returns:
            The normalised tokens ``(B, M, embedding)`` after each of the blocks ``taps`` and after
            the last block; the class token, if there is one, comes first.
        """
        if self.class_token:
            tokens = _prepend(self.token, tokens)
            positions = _prepend(self.token_position, positions)
        outputs = {}
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens + positions)
            if number in taps or number == len(self.blocks):
                outputs[number] = self.norm(tokens)
        return [outputs[tap] for tap in (*taps, len(self.blocks))]


def _prepend(row: Tensor, rows: Tensor) -> Tensor:
    """Prepend a row ``(C,)`` to every cloud of ``(B, M, C)``."""
    clouds = rows.shape[0]  # len(rows) would become a constant in an exported graph
    return torch.cat((row.expand(clouds, 1, -1), rows), dim=1)
