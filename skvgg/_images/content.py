"""Content and pixels of an image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from skvgg._images.arrays import resize_array, to_pixels
from skvgg._images.items import ENCODED, check_dtype, check_item, check_shape, name_of
from skvgg._images.pillow import (
    Framing,
    check_size,
    decode_file,
    is_cut_to_8_bits,
    is_decoded,
    is_dim,
    upright,
)

#: Maximum values of narrower ranges, and factors that scale them to the full range.
_RANGES_OF_FLOATS: tuple[tuple[int, int], ...] = ((1, 255),)
_RANGES_OF_16_BITS = ((255, 257), (4095, 16))  # 8 and 12 bits


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
    name : str
        Name of the image in errors.
    path : str or None
        Absolute path of its file, if it was given as a path.
    oddities : list of str
        Warnings from reading and decoding; see :func:`describe_unscaled`.
    """

    data: bytes | np.ndarray
    digest: bytes
    name: str
    path: str | None = None
    oddities: list[str] = field(default_factory=list)


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
        with _naming_errors(name):
            pixels, dim = _pixels_of_image(item, max_pixels)
        content = _content_of_pixels(pixels, name)
        if dim:
            _note_dim(content)
        return content
    if isinstance(item, np.ndarray):
        return _content_of_pixels(item, name)
    check_item(item, index)
    with _naming_errors(name):
        data = _read(item)
    path = None
    if isinstance(item, str | os.PathLike):
        # Not abspath, which resolves ".." after a symbolic link incorrectly.
        path = os.path.join(os.getcwd(), os.fsdecode(item))
    return Content(data, hashlib.sha256(data).digest(), name, path)


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
            values, dim = decode_file(values, framing, max_pixels)
        if dim:
            _note_dim(content)
    pixels = to_pixels(values, content.name, framing.background)
    _note_unscaled(content, values)
    with _naming_errors(content.name):
        return resize_array(pixels, framing)


def describe_unscaled(content: Content) -> str | None:
    """Return a warning if a decoded image is nearly black, or None.

    It is, if its values seem to have a narrower range than expected.
    """
    return content.oddities[0] if content.oddities else None


def _note_unscaled(content: Content, values: np.ndarray) -> None:
    """Record a warning if the values seem to have a narrower range."""
    if values.dtype.kind == "f":
        kind, white, ranges = "float", 255, _RANGES_OF_FLOATS
    elif values.dtype == np.uint16:
        kind, white, ranges = "16-bit", 65535, _RANGES_OF_16_BITS
    else:
        return
    highest = values.max()
    for seen, factor in ranges:
        if 0 < highest <= seen:
            content.oddities.append(
                f"{content.name} is a {kind} image whose values all lie in "
                f"0..{seen}, which is nearly black: expected pixels in 0..{white}. "
                f"If {seen} means white, pass {_array_of(content)} * {factor}."
            )
            return


def _note_dim(content: Content) -> None:
    content.oddities.append(
        f"{content.name} is a 16-bit color image whose values all lie in 0..4095, "
        "which is nearly black: expected pixels in 0..65535. If its values have 8 or "
        "12 bits, read it with a library that supports 16-bit color, and pass it as a "
        "uint16 array multiplied by 257 or 16."
    )


def _array_of(content: Content) -> str:
    """Return the expression that converts an image to an array."""
    is_file = isinstance(content.data, bytes)
    return "np.asarray(PIL.Image.open(path))" if is_file else "np.asarray(image)"


def _content_of_pixels(pixels: np.ndarray, name: str) -> Content:
    check_shape(pixels, name)
    check_dtype(pixels, name)
    pixels = np.asarray(pixels)  # np.matrix has other axes
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    digest = hashlib.sha256(f"{pixels.dtype.str} {pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels).view(np.uint8).data)
    return Content(pixels, digest.digest(), name)


def _pixels_of_image(
    image: Image.Image, max_pixels: int | None
) -> tuple[np.ndarray, bool]:
    """Return the pixels of a PIL image with alpha, and whether they are dim."""
    if not is_decoded(image):
        check_size(image, max_pixels)
    cuts_depth = is_cut_to_8_bits(image)
    whole = upright(image)
    if isinstance(whole, np.ndarray):
        return whole, False
    return np.asarray(whole), cuts_depth and is_dim(whole)


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
    """Add the name of the image to errors."""
    try:
        yield
    except Exception as error:  # Pillow's plug-ins raise nearly anything
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):  # its message names our stream
            reason = "in no format that Pillow reads"
        raise ValueError(
            f"{name}: not an image that can be used ({reason}). Repair or drop it."
        ) from error
