"""Thumbnails of images."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from skvgg._images import Framing, Images, decode, load, path_of
from skvgg._runtime.warn import warn
from skvgg.exceptions import ImageWarning

#: Side of a thumbnail, in pixels: an inch and a half of a figure at 100 dpi.
SIDE = 150


def make_thumbnails(
    images: Images, indices: Iterable[int], max_pixels: int | None, side: int = SIDE
) -> list[np.ndarray]:
    """Return uint8 thumbnails of images, decoded in the same way as for the network.

    Their aspect ratio is kept, with white padding. What is odd about an image is warned
    of once for each reason.
    """
    framing = Framing(
        (side, side),
        "pad",
        "lanczos",
        fill_value=(255, 255, 255),
        max_pixels=max_pixels,
    )
    thumbnails, warnings = [], dict[str, ImageWarning]()
    for index in indices:
        content = load(images[index], int(index), max_pixels)
        pixels = decode(content, framing)
        for warning in content.warnings:
            warnings.setdefault(warning.reason, warning)
        thumbnails.append(np.clip(np.round(pixels), 0, 255).astype(np.uint8))
    for warning in warnings.values():
        warn(warning)
    return thumbnails


def path_at(images: Images, index: int) -> str | None:
    """Return the path of an image, or None."""
    path = path_of(images[index])
    return None if path is None else os.fsdecode(path)
