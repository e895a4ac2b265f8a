"""Supervised objectives: ``forward(batch) -> {"loss": ..., and other scalars}``.

A task is an ``nn.Module`` that owns its ``encoder`` and its head, and answers
``logits(xyz, feats, category)``.
"""

TASKS: dict[str, str] = {
    "cls": "pointssl.tasks.classification:Classification",
    "partseg": "pointssl.tasks.segmentation:PointSegmentation",
    "semseg": "pointssl.tasks.segmentation:PointSegmentation",
}
