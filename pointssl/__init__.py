"""pointssl: self-supervised learning on point clouds, and honest evaluation of what was learned.

``pointssl.build_encoder("dgcnn", k=20)`` or ``pointssl.load_encoder("runs/x/checkpoints/last.pt")``
gives an encoder; ``encoder(xyz).cloud`` is the feature of clouds ``(B, N, 3)``.
``pointssl.load_task(...)`` gives a fine-tuned network.
"""

from typing import TYPE_CHECKING, Any

from pointssl.version import __version__

__all__ = ["__version__", "build_encoder", "load_encoder", "load_task"]

if TYPE_CHECKING:
    from pointssl.backbones.build import build_encoder
    from pointssl.checkpoints.encoder import load_encoder
    from pointssl.tasks.loading import load_task


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; `pointssl --help` must not wait for it
    if name == "build_encoder":
        from pointssl.backbones.build import build_encoder

        return build_encoder
    if name == "load_encoder":
        from pointssl.checkpoints.encoder import load_encoder

        return load_encoder
    if name == "load_task":
        from pointssl.tasks.loading import load_task

        return load_task
    raise AttributeError(f"module 'pointssl' has no attribute {name!r}")
