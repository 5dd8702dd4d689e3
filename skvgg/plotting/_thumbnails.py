"""Small copies of images of any kind, to be drawn."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from skvgg._images import Framing, Images, decode, describe_unscaled, load, path_of
from skvgg._runtime.warn import warn

#: Side of a thumbnail, in pixels: an inch and a half of a figure at 100 dpi.
SIDE = 150


def make_thumbnails(
    images: Images, indices: Iterable[int], max_pixels: int | None, side: int = SIDE
) -> list[np.ndarray]:
    """Return small copies of some images, as the network is given them.

    Parameters
    ----------
    images : sequence of images
        From :func:`skvgg._images.as_images`.
    indices : iterable of int
        Which of them.
    max_pixels : int or None
        Larger images are refused.
    side : int
        Height and width in pixels. The image keeps its proportions; the rest is white.

    Returns
    -------
    list of ndarray of shape (side, side, 3), uint8
        RGB.

    Raises
    ------
    ValueError
        If an image cannot be decoded. The message names its index and its path.
    FileNotFoundError
        If its file does not exist.

    Warns
    -----
    UserWarning
        If the values of an image look like those of a narrower range.
    """
    framing = Framing((side, side), "pad", "lanczos", fill_value=(255, 255, 255))
    thumbnails, oddity = [], None
    for index in indices:
        content = load(images[index], int(index), max_pixels)
        pixels = decode(content, framing, max_pixels)
        oddity = oddity or describe_unscaled(content)
        thumbnails.append(np.clip(np.round(pixels), 0, 255).astype(np.uint8))
    if oddity:
        warn(oddity)
    return thumbnails


def paths_of(images: Images, indices: Iterable[int]) -> list[str | None]:
    """Return the paths of some images, None where an image has none."""
    paths = (path_of(images[index]) for index in indices)
    return [None if path is None else os.fsdecode(path) for path in paths]
