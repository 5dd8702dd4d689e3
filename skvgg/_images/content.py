"""One image: what it contains (bytes, or pixels, and a digest), and its pixels."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from skvgg._images.arrays import resize_array, to_pixels
from skvgg._images.errors import naming
from skvgg._images.items import ENCODED, check_dtype, check_item, check_shape, path_of
from skvgg._images.modes import upright
from skvgg._images.notes import Notes
from skvgg._images.opened import is_decoded
from skvgg._images.pillow import Framing, check_size, decode_file
from skvgg.exceptions import ImageWarning


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
    index : int
        Index of the image in X.
    path : str, bytes or None
        Path of its file as the user has given it, for messages.
    file : str or None
        Absolute path of its file, if it was given as a path.
    notes : Notes
        What to warn of, from reading and decoding.
    """

    data: bytes | np.ndarray
    digest: bytes
    index: int
    path: str | bytes | None
    file: str | None
    notes: Notes

    @property
    def warnings(self) -> list[ImageWarning]:
        """The warnings for the user."""
        return [ImageWarning(self.index, self.path, *pair) for pair in self.notes.pairs]


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
    ImageError
        If the item is not an image, cannot be read, or is the path of a file that does
        not exist.
    """
    path, file, notes = path_of(item), None, Notes()
    with naming(index, path):
        data: bytes | np.ndarray
        if isinstance(item, Image.Image):
            data = _pixels_of_image(item, max_pixels, notes)
        elif isinstance(item, np.ndarray):
            data = item
        else:
            check_item(item)
            data = _read(item)
            notes.array = "np.asarray(PIL.Image.open(path))"
            if isinstance(item, str | os.PathLike):
                # Not abspath, which resolves ".." after a symbolic link incorrectly.
                file = os.path.join(os.getcwd(), os.fsdecode(item))
        if isinstance(data, bytes):
            digest = hashlib.sha256(data).digest()
        else:
            data, digest = _digest_pixels(data)
        if isinstance(item, np.ndarray):
            notes.check_range(np.asarray(data))
    return Content(data, digest, index, path, file, notes)


def decode(content: Content, framing: Framing) -> np.ndarray:
    """Return the pixels of an image, resized.

    Parameters
    ----------
    content : Content
        The image.
    framing : Framing
        How to resize it, and how large it may be.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8 or float32
        RGB in 0..255; float32 for float images, to keep fractions.

    Raises
    ------
    ImageError
        If the image cannot be decoded, is too large or has pixels out of range.
    """
    values, notes = content.data, content.notes
    with naming(content.index, content.path):
        if not isinstance(values, np.ndarray):
            values = decode_file(values, framing, notes)
        return resize_array(to_pixels(values, framing.background, notes), framing)


def _digest_pixels(pixels: np.ndarray) -> tuple[np.ndarray, bytes]:
    """Check pixels; return them in the byte order of this machine, and a digest."""
    check_shape(pixels)
    check_dtype(pixels)
    pixels = np.asarray(pixels)  # np.matrix has other axes
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    digest = hashlib.sha256(f"{pixels.dtype.str} {pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels).view(np.uint8).data)
    return pixels, digest.digest()


def _pixels_of_image(
    image: Image.Image, max_pixels: int | None, notes: Notes
) -> np.ndarray:
    """Return the pixels of a PIL image with alpha."""
    if not is_decoded(image):
        check_size(image, max_pixels)
    return np.asarray(upright(image, notes))


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
