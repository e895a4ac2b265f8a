"""A pretrained point encoder as a scikit-learn transformer.

::

    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    from pointssl.sklearn import PointEncoder

    encoder = PointEncoder("runs/pretrain/checkpoints/last.pt")
    model = make_pipeline(encoder, StandardScaler(), SVC())
    model.fit(clouds, labels)
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from pointssl.engine.distributed import choose_device
from pointssl.inference.clouds import scaled
from pointssl.inference.network import load_network
from pointssl_datasets.base.errors import UserError
from pointssl_datasets.files.fields import check_xyz
from pointssl_datasets.points.choosing import choose_points

PointDataset = NDArray[Any] | Sequence[ArrayLike]
CHOICES = {
    "sampling": ("first", "random", "fps"),
    "normalise": (None, "unit-sphere", "none"),
    "device": ("auto", "cpu", "cuda"),
}


class PointEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Maps clouds to the features of a checkpoint's encoder. Nothing is learned: ``fit`` loads it.

    A cloud's feature depends only on that cloud, the parameters and the checkpoint, not on other
    clouds, so nothing leaks between the folds of a cross-validation. Clouds are y-up.

    Args:
        checkpoint: file of ``pointssl pretrain``, or of ``pointssl finetune``, whose head is
            dropped.
        points: number of points per cloud; None: as in the checkpoint.
        sampling: how they are chosen: ``"first"``, ``"random"`` or ``"fps"`` (farthest point
            sampling). Points of a smaller cloud are repeated.
        seed: seed of the sampling.
        batch_size: clouds per batch.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        normalise: ``"unit-sphere"``, ``"none"``; None: as in the checkpoint.

    Attributes:
        encoder_: the network, in evaluation mode. Pickles contain it and no longer need the
            checkpoint.
        facts_: metadata of the checkpoint.
        n_features_out_: channels of a feature.

    ``fit`` raises ValueError for an invalid parameter or a missing checkpoint argument, and
    UserError for a checkpoint that can't be read.
    """

    def __init__(
        self,
        checkpoint: str | Path = "",
        *,
        points: int | None = None,
        sampling: str = "random",
        seed: int = 0,
        batch_size: int = 32,
        device: str = "auto",
        normalise: str | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.points = points
        self.sampling = sampling
        self.seed = seed
        self.batch_size = batch_size
        self.device = device
        self.normalise = normalise

    def fit(self, X: PointDataset | None = None, y: Any = None) -> "PointEncoder":
        """Load the encoder. ``X`` is validated if it is given; ``y`` is ignored."""
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                choices = ", ".join(map(repr, allowed))
                raise ValueError(f"{name}={getattr(self, name)!r}: choose one of {choices}")
        for name in ("points", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value!r}: must be at least 1")
        if self.checkpoint is None or Path(self.checkpoint) == Path():
            raise ValueError(
                "checkpoint must be given: the file of `pointssl pretrain` or `pointssl finetune`, "
                'as in PointEncoder("runs/pretrain/checkpoints/last.pt")'
            )
        network = load_network(Path(self.checkpoint))
        self.encoder_: Any = network.module
        if network.task != "encoder":
            self.encoder_ = network.module.encoder
        self.facts_: dict[str, Any] = {**network.metadata}
        self.n_features_out_ = int(self.encoder_.cloud_dim)
        self._width = 3 + network.feats_width
        if X is not None:
            for _ in self._clouds(X):
                break
        return self

    def transform(self, X: PointDataset) -> NDArray[np.float32]:
        """Compute the features ``(M, D)`` of M clouds.

        Args:
            X: ``(M, N, 3)``, or M arrays ``(N_i, 3)``. For an encoder with normals (or other
                channels), they are further columns.

        Raises:
            NotFittedError: ``fit`` has not been called.
            ValueError: wrong shapes, fewer than two distinct points, NaN or infinity.
        """
        check_is_fitted(self, "encoder_")
        device = choose_device(self.device)
        encoder = self.encoder_.to(device)
        features, batch = [], []
        for cloud in self._clouds(X):
            batch.append(cloud)
            if len(batch) == self.batch_size:
                features.append(self._encode(encoder, batch, device))
                batch = []
        if batch:
            features.append(self._encode(encoder, batch, device))
        return np.concatenate(features)

    @torch.no_grad()
    def _encode(
        self, encoder: Any, clouds: list[NDArray[np.float32]], device: torch.device
    ) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.stack(clouds)).to(device)
        feats = batch[..., 3:].contiguous() if self._width > 3 else None
        try:
            cloud = encoder(batch[..., :3].contiguous(), feats).cloud
        except UserError as error:  # fewer points than neighbours
            raise ValueError(str(error)) from None
        return cloud.float().cpu().numpy()

    def _clouds(self, X: PointDataset) -> Iterable[NDArray[np.float32]]:
        """Validate, scale and sample each cloud, ``(points, C)``."""
        if isinstance(X, np.ndarray) and X.dtype != object and X.ndim != 3:
            raise ValueError(
                f"expected clouds (M, N, {self._width}) or a list of (N, {self._width}), found an "
                f"array of shape {X.shape}. Reshape your data: one cloud is cloud[None]"
            )
        if not len(X):
            raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required.")
        points = self.points or int(self.facts_["points"])
        normalise = self.normalise or self.facts_["normalise"]
        for number, values in enumerate(X):
            cloud, where = np.asarray(values), f"cloud {number}"
            if cloud.ndim != 2 or cloud.shape[1] != self._width or cloud.dtype.kind not in "fiu":
                raise ValueError(
                    f"{where}: expected (N, {self._width}) numbers, found {cloud.dtype} of shape "
                    f"{cloud.shape}"
                )
            try:
                xyz = scaled(check_xyz(cloud[:, :3], where), normalise)
            except UserError as error:
                raise ValueError(str(error)) from None
            feats = cloud[:, 3:].astype(np.float32)
            if not np.isfinite(feats).all():
                raise ValueError(f"{where}: columns 4 to {self._width} hold NaN or infinity")
            rows = choose_points(xyz, points, self.sampling, seed=self.seed, epoch=0, index=0)
            yield np.concatenate((xyz, feats), axis=1)[rows]

    @property
    def _n_features_out(self) -> int:
        """Number of names that ``get_feature_names_out`` returns: pointencoder0, ..."""
        return self.n_features_out_

    def __getstate__(self) -> dict[str, Any]:
        if "encoder_" in self.__dict__:
            self.encoder_.cpu()  # a pickle may be loaded on a machine without a GPU
        return super().__getstate__()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.no_validation = True  # skips scikit-learn's checks for two-dimensional input
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
