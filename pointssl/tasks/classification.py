"""Which class a whole cloud is of."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pointssl.heads import LinearProbe, MlpHead
from pointssl.losses import smoothed_cross_entropy
from pointssl.tasks.frozen import encode, keep_frozen


class Classification(nn.Module):
    """An encoder, and a head on its cloud feature.

    Args:
        encoder: a point encoder, ``(B, N, 3) -> Features``.
        classes: how many there are.
        head: ``"mlp"`` (as DGCNN and Point-MAE fine-tune) or ``"linear"`` (a linear probe).
        hidden: channels inside the MLP.
        slope: of its leaky ReLUs; 0 for plain ones.
        dropout: after each of them.
        smoothing: of the labels, see :func:`pointssl.losses.smoothed_cross_entropy`.
        freeze_backbone: train the head alone; the encoder stays in evaluation mode.
    """

    def __init__(
        self,
        encoder: Any,
        *,
        classes: int,
        head: str = "mlp",
        hidden: Sequence[int] = (512, 256),
        slope: float = 0.2,
        dropout: float = 0.5,
        smoothing: float = 0.0,
        freeze_backbone: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.smoothing = smoothing
        self.freeze_backbone = freeze_backbone
        self.head: nn.Module
        if head == "linear":
            self.head = LinearProbe(encoder.cloud_dim, classes)
        else:
            self.head = MlpHead(encoder.cloud_dim, hidden, classes, dropout=dropout, slope=slope)
        if freeze_backbone:
            encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> "Classification":
        super().train(mode)
        return keep_frozen(self)

    def logits(
        self, xyz: Tensor, feats: Tensor | None = None, category: Tensor | None = None
    ) -> Tensor:
        """``(B, classes)`` of clouds ``(B, N, 3)``; ``category`` has no use here."""
        return self.head(encode(self, xyz, feats).cloud)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Loss and accuracy.

        Args:
            batch: ``xyz (B, N, 3)``, ``label (B,)``, and where the data have them
                ``feats (B, N, C)``.
        """
        logits = self.logits(batch["xyz"], batch.get("feats"))
        correct = logits.argmax(dim=1) == batch["label"]
        return {
            "loss": smoothed_cross_entropy(logits, batch["label"], self.smoothing),
            "accuracy": correct.float().mean(),
        }
