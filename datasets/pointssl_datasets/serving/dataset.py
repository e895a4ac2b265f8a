"""Packed clouds as a torch dataset, which training and evaluation read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pointssl_datasets.base.errors import DataError, UsageError
from pointssl_datasets.packing.arrays import read_array, read_meta, read_names
from pointssl_datasets.packing.cameras import FILE as CAMERAS
from pointssl_datasets.packing.images import pack_images, render_images
from pointssl_datasets.packing.pack import pack
from pointssl_datasets.points import sampling as choice
from pointssl_datasets.points.choosing import choose_points
from pointssl_datasets.serving.opening import open_source

Sample = dict[str, Tensor]


def load_dataset(
    name: str,
    root: Path | None,
    split: str,
    *,
    points: int | None,
    sampling: str = "random",
    normals: bool = False,
    normalise: str = "unit-sphere",
    up_axis: str = "auto",
    on_unpaired: str = "error",
    image_size: int | None = None,
    views: int = 0,
    turn: str = "none",
    mesh_points: int | None = None,
    skip_list: Path | None = None,
    colours: bool = False,
    place: bool = False,
    size: int | None = None,
    data_seed: int = 0,
    seed: int = 0,
    cache_dir: Path | None = None,
    progress: bool = False,
) -> "CloudDataset":
    """Finds, packs (once) and opens one split of a dataset.

    Args:
        name: a key of ``DATASETS``, or ``package.module:MyDataset``.
        root: its folder; None: ``$POINTSSL_DATA``, then ``./data``.
        split: ``"train"`` or ``"test"``.
        points: points per cloud; None: all that are stored, if every cloud has as many.
        sampling: ``"first"``, ``"random"`` or ``"fps"`` (farthest point sampling).
        normals: serve normals as ``feats``.
        normalise: ``"unit-sphere"`` or ``"none"``.
        up_axis: axis that points up in the files; ``"auto"``: as the dataset is distributed.
        on_unpaired: ``"error"`` or ``"skip"``, for clouds without images and vice versa.
        image_size: side of the images in pixels; None: serve no images.
        views: render as many images of each cloud if the dataset has none.
        turn: turn every cloud by a fixed random rotation: ``"none"``, ``"up"`` or ``"so3"``.
        mesh_points: points drawn from a mesh when it is packed; None: 4096.
        skip_list: file of clouds to leave out; see :mod:`pointssl_datasets.base.skipping`.
        colours: serve ``colour (N, 3)``, 0-1, where the dataset has them.
        place: serve ``place (N, 3)``, the place within the room, where the dataset has it.
        size: number of clouds to generate (generated datasets).
        data_seed: seed of generated datasets.
        seed: seed of the choice of points, of the view, and of ``turn``.
        cache_dir: root of the cache; None: ``$POINTSSL_CACHE``, then ``~/.cache/pointssl``.
        progress: show progress bars.

    Raises:
        DataError: the data is missing, damaged, or laid out otherwise than expected.
        UsageError: an unknown name, or an option that does not fit the dataset.
    """
    source = open_source(
        name,
        root,
        split,
        size=size,
        seed=data_seed,
        up_axis=up_axis,
        on_unpaired=on_unpaired,
        mesh_points=mesh_points,
        skip_list=skip_list,
    )
    folder = pack(source, normalise=normalise, cache_dir=cache_dir, progress=progress)
    images = None
    if image_size is not None:
        images = pack_images(folder, image_size, cache_dir=cache_dir, progress=progress)
        if images is None and views > 0:
            images = render_images(
                folder, image_size, views=views, cache_dir=cache_dir, progress=progress
            )
    return CloudDataset(
        folder,
        points=points,
        sampling=sampling,
        normals=normals,
        colours=colours,
        place=place,
        turn=turn,
        seed=seed,
        images=images,
        notes=source.notes,
    )


class CloudDataset(Dataset[Sample]):
    """Packed clouds, y-up, as dicts of tensors.

    ``dataset[i]`` holds ``xyz (N, 3)`` float32, ``index ()`` and ``label ()`` int64, and where
    there are such, ``feats (N, 3)`` float32 normals, ``colour (N, 3)``, ``place (N, 3)``,
    ``part (N,)`` int64 and ``image (3, H, W)`` uint8, one view chosen at random. What is chosen
    depends on (seed, epoch, i) alone. With an image come ``view ()`` int64, its number among the
    images of the cloud, and where the cameras are known ``camera (3, 4)`` float32, the projection
    of the points ``xyz``, as they are served, into the image: see
    :func:`pointssl_datasets.rendering.cameras.projections`.

    Attributes:
        name, split, classes, parts: as the source has them.
        names: name of each cloud.
        labels: ``(M,)`` int64.
        fingerprint: sha256 of the packed content.
        points: points per cloud that are served.
        has_images: whether samples have an ``image``.
        has_cameras: whether they have a ``camera``, too: images that were rendered have one, images
            of the dataset's own do not.
        notes: lines for the user.
        folder: where the packed arrays lie.

    Raises:
        DataError: ``points=None`` while the clouds differ in size, or a damaged cache.
        UsageError: normals that the dataset does not have; an unknown sampling or turn.
    """

    def __init__(
        self,
        folder: Path,
        *,
        points: int | None,
        sampling: str = "random",
        normals: bool = False,
        colours: bool = False,
        place: bool = False,
        turn: str = "none",
        seed: int = 0,
        images: Path | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        if sampling not in ("first", "random", "fps"):
            raise UsageError(f"--sampling {sampling!r}: choose first, random or fps")
        if turn not in ("none", "up", "so3"):
            raise UsageError(f"turn {turn!r}: choose none, up or so3")
        if points is not None and points < 1:
            raise UsageError(f"--points {points}: must be at least 1")
        meta = read_meta(folder)
        self.name: str = meta["dataset"]
        self.split: str = meta["split"]
        self.classes: tuple[str, ...] = tuple(meta["classes"])
        self.parts: tuple[str, ...] = tuple(meta["parts"])
        self.fingerprint: str = meta["fingerprint"]
        self.notes: list[str] = [*notes, *meta["notes"]]
        self.sampling, self.turn, self.seed, self.epoch = sampling, turn, seed, 0
        self.normals = normals
        self.colours = colours and (folder / "colours.npy").exists()
        self.place = place and (folder / "place.npy").exists()
        self.folder = folder
        self.has_images = images is not None
        self.images_folder = images
        self.has_cameras = images is not None and _cameras_known(images)
        self._fps: dict[int, NDArray[np.int64]] = {}
        if normals and not (folder / "normals.npy").exists():
            why = next((n for n in meta["notes"] if n.startswith("normals left out")), "")
            raise UsageError(
                f"--normals: {self.name} has no normals{f' ({why})' if why else ''}. "
                "Leave --normals out."
            )
        self._open()
        self.labels: NDArray[np.int64] = np.array(read_array(folder, "label"))
        self.points = self._check_points(points)

    def _open(self) -> None:
        """Maps the arrays; not part of what is pickled for a worker process."""
        folder = self.folder
        self.names: Sequence[str] = read_names(folder)
        self._offsets = np.array(read_array(folder, "offsets"))
        self._xyz = read_array(folder, "xyz")
        self._normals = read_array(folder, "normals") if self.normals else None
        self._colours = read_array(folder, "colours") if self.colours else None
        self._place = read_array(folder, "place") if self.place else None
        self._part = read_array(folder, "part") if (folder / "part.npy").exists() else None
        self._views = None
        if self.images_folder is not None:
            offsets = np.array(read_array(self.images_folder, "image_offsets"))
            self._views = (read_array(self.images_folder, "images"), offsets)
        self._cameras = None
        if self.images_folder is not None and self.has_cameras:
            self._cameras = read_array(self.images_folder, "cameras")

    def _check_points(self, points: int | None) -> int:
        stored = np.diff(self._offsets)
        low, high = int(stored.min()), int(stored.max())
        if points is None:
            if low != high:
                raise DataError(
                    f"{self.name}: clouds have {low} to {high} points; say how many with --points"
                )
            return low
        short = int((stored < points).sum())
        if short:
            self.notes.append(
                f"{short} of {len(stored)} clouds have fewer than {points} points "
                f"(the smallest {low}): their points are repeated"
            )
        return points

    def __getstate__(self) -> dict[str, Any]:
        mapped = (
            "_offsets", "_xyz", "_normals", "_colours", "_place", "_part", "_views", "_cameras",
            "names",
        )  # fmt: skip
        return {key: value for key, value in self.__dict__.items() if key not in mapped}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def set_epoch(self, epoch: int) -> None:
        """Changes the random choice of points and view."""
        self.epoch = epoch

    def origin(self, index: int) -> tuple["CloudDataset", int]:
        """This dataset and ``index``; a mixture has the same method."""
        return self, index

    def stored(self, index: int) -> dict[str, NDArray[Any]]:
        """All points of cloud ``index`` as they are packed: ``xyz (N, 3)``, and ``part (N,)``."""
        span = slice(self._offsets[index], self._offsets[index + 1])
        arrays: dict[str, NDArray[Any]] = {"xyz": self._xyz[span]}
        if self._part is not None:
            arrays["part"] = self._part[span]
        return arrays

    def replace_images(self, rows: NDArray[np.float32]) -> None:
        """Serve ``image_feature (D,)``, of ``rows (V, D)``, in place of the image of the same
        number among the V of ``images_folder``."""
        _, offsets = self._views  # type: ignore[misc]
        self._views = (rows, offsets)

    def facts(self) -> dict[str, Any]:
        """Plain values that identify exactly what is served (in epoch 0)."""
        return {
            "dataset": self.name,
            "split": self.split,
            "fingerprint": self.fingerprint,
            "points": self.points,
            "sampling": self.sampling,
            "seed": self.seed,
            "normals": self.normals,
            "turn": self.turn,
        }

    def __len__(self) -> int:
        return len(self.names)

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """A batch for the collate function of a ``DataLoader``."""
        return [self[int(i)] for i in indices]

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"cloud {index} of {len(self)}")
        index %= len(self)
        start, end = self._offsets[index], self._offsets[index + 1]
        stored = self._xyz[start:end]
        rows = self._choose(index, stored)
        xyz = stored[rows]
        sample = {"index": torch.tensor(index), "label": torch.tensor(int(self.labels[index]))}
        turn = None
        if self.turn != "none":
            turn = choice.rotation(self.turn, choice.generator(choice.TURN, self.seed, 0, index))
            xyz = xyz @ turn.T
        sample["xyz"] = torch.from_numpy(xyz)
        if self._normals is not None:
            feats = self._normals[start:end][rows]
            sample["feats"] = torch.from_numpy(feats if turn is None else feats @ turn.T)
        if self._colours is not None:
            sample["colour"] = torch.from_numpy(self._colours[start:end][rows])
        if self._place is not None:
            place = self._place[start:end][rows]
            sample["place"] = torch.from_numpy(place if turn is None else place @ turn.T)
        if self._part is not None:
            sample["part"] = torch.from_numpy(self._part[start:end][rows])
        if self._views is not None:
            images, offsets = self._views
            row = self._view(index, offsets)
            image = torch.from_numpy(np.array(images[row]))
            if image.dim() == 3:
                sample["image"] = image.permute(2, 0, 1).contiguous()
            else:
                sample["image_feature"] = image
            sample["view"] = torch.tensor(row - int(offsets[index]))
            if self._cameras is not None:
                camera = self._cameras[row]
                sample["camera"] = torch.from_numpy(
                    np.array(camera) if turn is None else before_turn(camera, turn)
                )
        return sample

    def _choose(self, index: int, stored: NDArray[np.float32]) -> NDArray[np.int64]:
        """``(points,)`` rows of the stored cloud."""
        if index in self._fps:
            return self._fps[index]
        rows = choose_points(
            stored, self.points, self.sampling, seed=self.seed, epoch=self.epoch, index=index
        )
        if self.sampling == "fps":  # costly, and the same in every epoch
            self._fps[index] = rows
        return rows

    def _view(self, index: int, offsets: NDArray[np.int64]) -> int:
        """The row of one of the cloud's images."""
        rng = choice.generator(choice.VIEW, self.seed, self.epoch, index)
        return int(rng.integers(offsets[index], offsets[index + 1]))


def _cameras_known(images: Path) -> bool:
    """Whether a folder of images has the camera of every one of them."""
    if not (images / CAMERAS).exists():
        return False
    return bool(np.isfinite(read_array(images, "cameras")).all())


def before_turn(camera: NDArray[np.float32], turn: NDArray[np.float32]) -> NDArray[np.float32]:
    """The projection matrix ``(3, 4)`` of points that ``turn (3, 3)`` has turned: ``turn @ p``."""
    turned = np.array(camera)
    turned[:, :3] = camera[:, :3] @ turn.T
    return turned
