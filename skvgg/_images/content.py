"""The content of a picture, and its pixels."""

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
from skvgg._images.pillow import Framing, check_size, decode_file, is_decoded, upright


@dataclass(frozen=True)
class Content:
    """A picture as it came, read but not decoded.

    Attributes
    ----------
    data : bytes or ndarray
        A file, or pixels of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4).
    digest : bytes
        SHA-256 of the file, or of dtype, shape and pixels: equal if and only if
        the contents are.
    name : str
        What an error calls the picture.
    """

    data: bytes | np.ndarray
    digest: bytes
    name: str


def load(item: Any, index: int, max_pixels: int | None = None) -> Content:
    """Read a picture's file, or take its pixels, and tell what it is.

    Parameters
    ----------
    item : path, bytes, binary file, PIL image or ndarray
        The picture.
    index : int
        Its place in X, for errors.
    max_pixels : int or None
        Larger PIL images are refused if they are not decoded yet.

    Returns
    -------
    Content

    Raises
    ------
    ValueError
        If the item is no picture or cannot be read. The message names `index`
        and, for a file, its path.
    FileNotFoundError
        If the item is the path of a file that does not exist.
    """
    name = name_of(item, index)
    if isinstance(item, Image.Image):
        with _naming_errors(name):
            item = _pixels_of_image(item, max_pixels)
    if isinstance(item, np.ndarray):
        return _content_of_pixels(item, name)
    check_item(item, index)
    with _naming_errors(name):
        data = _read(item)
    return Content(data, hashlib.sha256(data).digest(), name)


def decode(
    content: Content, framing: Framing, max_pixels: int | None = None
) -> np.ndarray:
    """Return the pixels of a picture, brought to size.

    Parameters
    ----------
    content : Content
        The picture.
    framing : Framing
        How it is brought to size.
    max_pixels : int or None
        Larger pictures are refused before they are decoded. Has no effect on pixels.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8 or float32
        RGB, in the range 0..255; float32 only where the picture was a float
        array, so that its fractions are kept.

    Raises
    ------
    ValueError
        If the picture cannot be decoded, is too large or has pixels out of
        range. The message names its index and, for a file, its path.
    """
    if isinstance(content.data, np.ndarray):
        pixels = to_pixels(content.data, content.name, framing.background)
        with _naming_errors(content.name):
            return resize_array(pixels, framing)
    with _naming_errors(content.name):
        return decode_file(content.data, framing, max_pixels)


def describe_unscaled(content: Content) -> str | None:
    """Return what is odd about an array that is nearly black, or None."""
    data = content.data
    if not isinstance(data, np.ndarray):
        return None
    for right, white, seen in (
        (data.dtype.kind == "f", 255, 1),
        (data.dtype == np.uint16, 65535, 255),
    ):
        if right and 0 < data.max() <= seen:
            return (
                f"{content.name} is a {data.dtype} picture whose values all lie in "
                f"0..{seen}, which is nearly black: pixels are expected in 0..{white}. "
                f"Use X * {white // seen} if {seen} means white."
            )
    return None


def _content_of_pixels(pixels: np.ndarray, name: str) -> Content:
    check_shape(pixels, name)
    check_dtype(pixels, name)
    pixels = np.asarray(pixels)  # a matrix would stay one, with axes of its own
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    digest = hashlib.sha256(f"{pixels.dtype.str} {pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels).view(np.uint8).data)
    return Content(pixels, digest.digest(), name)


def _pixels_of_image(image: Image.Image, max_pixels: int | None) -> np.ndarray:
    """Return the pixels of a PIL image, with its alpha where it has one."""
    if not is_decoded(image):
        check_size(image, max_pixels)
    return np.asarray(upright(image))


def _read(item: Any) -> bytes:
    if isinstance(item, ENCODED):
        return bytes(item)
    if isinstance(item, str | os.PathLike):
        with open(item, "rb") as file:
            return file.read()
    position = item.tell()
    data = item.read()
    item.seek(position)  # so that it can be read again
    return data


@contextmanager
def _naming_errors(name: str) -> Iterator[None]:
    """Say of which picture an error speaks."""
    try:
        yield
    except Exception as error:  # Pillow's plug-ins raise nearly anything
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):  # it names our stream
            reason = "of no format that Pillow reads"
        raise ValueError(
            f"{name}: not a picture that can be used ({reason}). Mend or drop it."
        ) from error
