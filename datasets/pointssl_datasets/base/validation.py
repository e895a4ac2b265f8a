"""Checks that the fields of a cloud fit its points and the dataset."""

from collections.abc import Iterator

import numpy as np

from pointssl_datasets.base.source import Cloud, Source


def field_errors(cloud: Cloud, source: Source) -> Iterator[tuple[str, str]]:
    """``(field, error message)`` for each wrong field of a cloud of ``source``.

    ``xyz (N, 3)`` must have been checked before.
    """
    count, classes = len(cloud["xyz"]), len(source.classes)
    label = int(cloud.get("label", -1))
    if classes and not 0 <= label < classes:
        yield "label", f"label {label} is not one of {classes} classes"
    if "part" in cloud:
        part = np.asarray(cloud["part"])
        highest = len(source.parts) - 1 if source.parts else np.iinfo(np.int64).max
        if part.shape != (count,) or part.min() < 0 or part.max() > highest:
            values = f"values {part.min()} to {part.max()}" if part.size else "no values"
            yield (
                "part",
                f"part must be {count} numbers from 0 to {highest}, found shape {part.shape} with "
                f"{values}",
            )
    if "normals" in cloud:
        normals = np.asarray(cloud["normals"])
        if normals.shape != (count, 3):
            yield "normals", f"normals {normals.shape}, points {(count, 3)}"
        elif not np.isfinite(normals).all():
            yield "normals", "normals are NaN or infinite"
    if "place" in cloud:
        place = np.asarray(cloud["place"])
        if place.shape != (count, 3) or not np.isfinite(place).all():
            yield "place", f"places must be {(count, 3)} finite numbers, found shape {place.shape}"
    if "colours" in cloud:
        colours = np.asarray(cloud["colours"])
        if colours.shape != (count, 3) or not ((colours >= 0) & (colours <= 1)).all():
            yield "colours", f"colours must be {(count, 3)} numbers from 0 to 1"
