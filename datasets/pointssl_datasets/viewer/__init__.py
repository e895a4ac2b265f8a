"""An interactive page of point clouds: one file that works without a network.

``page.html`` is the frame, ``style.css`` the look, ``paint.js`` draws points and ``viewer.js`` is
the page's behaviour. They and the data are written into one file, whose security policy allows
exactly this script and this style and no connection at all.
"""

import base64
import hashlib
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from pointssl_datasets.base.errors import DataError
from pointssl_datasets.base.writing import write_text
from pointssl_datasets.viewer.charts import charts, tiles
from pointssl_datasets.viewer.colours import part_colours

__all__ = ["part_colours", "write_page"]

IMAGE_SIZE = 240  # pixels; larger images are scaled down
NO_PART = 255  # the same number as in paint.js


def write_page(
    path: Path,
    clouds: Iterable[Mapping[str, Any]],
    *,
    title: str,
    classes: Sequence[str],
    parts: Sequence[str],
    subtitle: str = "",
    statistics: Mapping[str, Any] | None = None,
    colour_by: str = "part",
) -> None:
    """Write ``path``, whole or not at all, and its folder if need be.

    Args:
        path: the .html file.
        clouds: dicts with ``name``, ``label`` (index into ``classes``, or -1) and ``xyz (N, 3)``,
            y up, any scale; optional ``normals (N, 3)`` unit length (if ``estimated`` is true, the
            page says that they were estimated), ``colours (N, 3)`` 0-1,
            ``part (N,)`` and ``predicted (N,)`` indices into ``parts`` (others are shown as no
            part), ``image (H, W, 3)`` uint8, and ``caption``, a line such as "predicted: table".
        title, subtitle: plain text, as are all names.
        classes, parts: names.
        statistics: what :func:`pointssl_datasets.checking.statistics.summarise` returns; drawn as
            charts.
        colour_by: the colour mode that the page opens with, one of ``MODES`` in viewer.js; if it
            fits no cloud, the first mode that fits one.

    Raises:
        DataError: a cloud has a wrong shape or values that are not finite, there are more than 255
            parts, or the file can't be written.
    """
    if len(parts) > NO_PART:
        raise DataError(f"a page can show at most {NO_PART} parts, not {len(parts)}")
    data = {
        "classes": list(classes),
        "parts": [name.rpartition("/")[2] or name for name in parts],
        "palette": part_colours(parts).tolist(),
        "mode": colour_by,
        "clouds": [_encoded(cloud, len(classes), len(parts)) for cloud in clouds],
    }
    script, style = _text("paint.js") + _text("viewer.js"), _text("style.css")
    policy = (
        f"default-src 'none'; img-src data:; script-src '{_sha256(script)}'; "
        f"style-src '{_sha256(style)}'"
    )
    # In a script element only "<" can begin anything but text: "</script>", "<!--".
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    page = Template(_text("page.html")).substitute(
        policy=html.escape(policy, quote=False),
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        tiles=tiles(statistics) if statistics else "",
        charts=charts(statistics) if statistics else "",
        style=style,
        script=script,
        data=text,
    )
    write_text(path, page)


def _text(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _encoded(cloud: Mapping[str, Any], classes: int, parts: int) -> dict[str, Any]:
    """A cloud as stored in the page: arrays in base64, 8 or 16 bits a number, little endian."""
    name = str(cloud["name"])
    xyz = _rows(cloud["xyz"], name, "xyz", None)
    low, high = xyz.min(axis=0), xyz.max(axis=0)
    xyz = xyz - (low + high) / 2
    radius = np.linalg.norm(xyz, axis=1).max() or 1.0
    label = int(cloud.get("label", -1))
    encoded: dict[str, Any] = {
        "name": name,
        "label": label if 0 <= label < classes else -1,
        "size": [float(f"{value:.4g}") for value in high - low],
        "xyz": _base64(np.rint(xyz / radius * 32767).astype("<i2")),
    }
    if cloud.get("normals") is not None:
        normals = _rows(cloud["normals"], name, "normals", len(xyz))
        encoded["normals"] = _base64(np.rint(np.clip(normals, -1, 1) * 127).astype(np.int8))
    if cloud.get("colours") is not None:
        colours = _rows(cloud["colours"], name, "colours", len(xyz))
        encoded["colours"] = _base64(np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8))
    for key in ("part", "predicted"):
        if cloud.get(key) is not None:
            ids = np.asarray(cloud[key])
            if ids.shape != (len(xyz),):
                raise DataError(f"{name}: {key} must be {len(xyz)} numbers, not {ids.shape}")
            known = (ids >= 0) & (ids < parts)
            encoded[key] = _base64(np.where(known, ids, NO_PART).astype(np.uint8))
    if cloud.get("image") is not None:
        encoded["image"] = _jpeg(np.asarray(cloud["image"]))
    if cloud.get("estimated"):
        encoded["estimated"] = True
    if cloud.get("caption"):
        encoded["caption"] = str(cloud["caption"])
    return encoded


def _rows(values: ArrayLike, name: str, what: str, count: int | None) -> NDArray[np.float64]:
    rows = np.asarray(values, dtype=np.float64)
    expected = len(rows) if count is None and rows.ndim else count
    if rows.shape != (expected, 3) or not expected or not np.isfinite(rows).all():
        raise DataError(
            f"{name}: {what} must be finite and of shape ({count or 'N'}, 3), found {rows.shape}"
        )
    return rows


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _jpeg(rgb: NDArray[np.uint8]) -> str:
    """A data URL of the image as a JPEG."""
    image = Image.fromarray(rgb).convert("RGB")
    image.thumbnail((IMAGE_SIZE, IMAGE_SIZE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
