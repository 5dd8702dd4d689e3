"""Content and pixels of an image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from skvgg._images.arrays import resize_array, to_pixels
from skvgg._images.items import ENCODED, check_dtype, check_item, check_shape, name_of
from skvgg._images.modes import upright
from skvgg._images.oddities import Oddities
from skvgg._images.opened import is_decoded
from skvgg._images.pillow import Framing, check_size, decode_file


@dataclass(frozen=True)
class Content:
    """An image that is read but not decoded.

    Attributes
    ----------
    data : bytes or ndarray
        The bytes of a file, or pixels of shape (h, w), (h, w, 1), (h, w, 3) or (h, w,
        4).
    digest : bytes
        SHA-256 of the file, or of dtype, shape and pixels: equal if and only if the
        contents are equal.
    oddities : Oddities
        Warnings from reading and decoding.
    path : str or None
        Absolute path of its file, if it was given as a path.
    """

    data: bytes | np.ndarray
    digest: bytes
    oddities: Oddities
    path: str | None = None

    @property
    def name(self) -> str:
        """Name of the image in errors."""
        return self.oddities.name


def load(item: Any, index: int, max_pixels: int | None = None) -> Content:
    """Read the content of an image, without decoding files.

    Parameters
    ----------
    item : path, bytes, binary file, PIL image or ndarray
        The image.
    index : int
        Its index in X, for errors.
    max_pixels : int or None
        Larger PIL images are rejected if they are not decoded yet.

    Returns
    -------
    Content

    Raises
    ------
    ValueError
        If the item is not an image or cannot be read. The message names `index` and,
        for files, the path.
    FileNotFoundError
        If the item is the path of a file that does not exist.
    """
    name = name_of(item, index)
    if isinstance(item, Image.Image):
        oddities = Oddities(name)
        with _naming_errors(name):
            pixels = _pixels_of_image(item, max_pixels, oddities)
        return _content_of_pixels(pixels, oddities)
    if isinstance(item, np.ndarray):
        content = _content_of_pixels(item, Oddities(name))
        content.oddities.check_range(np.asarray(content.data))
        return content
    check_item(item, index)
    with _naming_errors(name):
        data = _read(item)
    path = None
    if isinstance(item, str | os.PathLike):
        # Not abspath, which resolves ".." after a symbolic link incorrectly.
        path = os.path.join(os.getcwd(), os.fsdecode(item))
    oddities = Oddities(name, "np.asarray(PIL.Image.open(path))")
    return Content(data, hashlib.sha256(data).digest(), oddities, path)


def decode(
    content: Content, framing: Framing, max_pixels: int | None = None
) -> np.ndarray:
    """Return the pixels of an image, resized.

    Parameters
    ----------
    content : Content
        The image.
    framing : Framing
        How to resize it.
    max_pixels : int or None
        Larger files are rejected before they are decoded. Has no effect on arrays.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8 or float32
        RGB in 0..255; float32 for float images, to keep fractions.

    Raises
    ------
    ValueError
        If the image cannot be decoded, is too large or has pixels out of range. The
        message names the index and, for files, the path.
    """
    values = content.data
    if not isinstance(values, np.ndarray):
        with _naming_errors(content.name):
            values = decode_file(values, framing, max_pixels, content.oddities)
    pixels = to_pixels(values, framing.background, content.oddities)
    with _naming_errors(content.name):
        return resize_array(pixels, framing)


def _content_of_pixels(pixels: np.ndarray, oddities: Oddities) -> Content:
    check_shape(pixels, oddities.name)
    check_dtype(pixels, oddities.name)
    pixels = np.asarray(pixels)  # np.matrix has other axes
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    digest = hashlib.sha256(f"{pixels.dtype.str} {pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels).view(np.uint8).data)
    return Content(pixels, digest.digest(), oddities)


def _pixels_of_image(
    image: Image.Image, max_pixels: int | None, oddities: Oddities
) -> np.ndarray:
    """Return the pixels of a PIL image with alpha."""
    if not is_decoded(image):
        check_size(image, max_pixels)
    return np.asarray(upright(image, oddities))


def _read(item: Any) -> bytes:
    if isinstance(item, ENCODED):
        return bytes(item)
    if isinstance(item, str | os.PathLike):
        with open(item, "rb") as file:
            return file.read()
    return _read_stream(item)


def _read_stream(file: Any) -> bytes:
    """Read an open file from its start, as Pillow does; keep its position."""
    try:
        position = file.tell()
        file.seek(0)
    except OSError:  # such as a pipe
        data = file.read()
        if not data:
            raise ValueError(
                "no more bytes in an open file that cannot seek, so that it can be "
                "read only once: pass its bytes"
            ) from None
        return data
    data = file.read()
    file.seek(position)
    return data


@contextmanager
def _naming_errors(name: str) -> Iterator[None]:
    """Add the name of the image to errors."""
    try:
        yield
    except Exception as error:  # Pillow's plug-ins raise nearly anything
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):  # its message names our stream
            reason = "in no format that skvgg reads"
        raise ValueError(
            f"{name}: not an image that can be used ({reason}). Repair or drop it."
        ) from error
