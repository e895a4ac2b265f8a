"""Figures and coloured clouds for TensorBoard, which shows the clouds in 3D."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pointssl_datasets.base.errors import UserError


def write_board(
    folder: Path,
    pictures: Mapping[str, Path],
    clouds: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float64]]],
) -> None:
    """Write an event file to ``folder``; TensorBoard then hides the events of earlier ones.

    Args:
        pictures: tag -> PNG.
        clouds: tag -> ``xyz (N, 3)`` and colours ``(N, 3)``, 0-1.

    Raises:
        UserError: the file can't be written.
    """
    from torch.utils.tensorboard import SummaryWriter

    try:
        with SummaryWriter(str(folder), purge_step=0) as board:
            for tag, path in pictures.items():
                with Image.open(path) as image:
                    board.add_image(tag, np.asarray(image.convert("RGB")), 0, dataformats="HWC")
            for tag, (xyz, colours) in clouds.items():
                painted = np.rint(255 * colours).astype(np.uint8)
                board.add_mesh(tag, xyz[None], painted[None], global_step=0)
    except OSError as error:
        raise UserError(f"{folder}: can't be written: {error.strerror or error}") from None
