"""What the headers of files say about pixels and Pillow does not apply.

Most of it is lost once Pillow has decoded the file.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
)

from skvgg._images.channels import read_bmp, read_jpeg2000, read_tga
from skvgg._images.opened import (
    BlackIsZeroTiff,
    file_of,
    is_decoded,
    raw_mode,
    read_as,
)

#: Bits of the samples that Pillow calls so in PNG files, one of which is transparent.
_BITS = {"L;2": 2, "L;4": 4, "L": 8, "RGB": 8}

#: What Pillow keeps in ``info`` under the same names as the texts of a PNG.
_NO_TEXTS = ("bbox", "default_image", "icc_profile", "transparency")

#: The attribute that keeps what the header declared after an image has been decoded.
_NOTE = "_skvgg_header"

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Header:
    """What the header of an image says.

    Attributes
    ----------
    white_is_zero : bool
        Whether the values, which Pillow does not invert, are those of a negative.
    white : int
        The maximum of 16-bit values.
    n_bits : int
        Bits of 8-bit pixels in the file, to which Pillow does not scale the transparent
        gray level or color; 0 if they are not known.
    low_bytes : ndarray of shape (height, width, 3), uint8, or None
        What Pillow cuts from 16-bit colors, one of which is transparent.
    has_alpha : bool
        False if the last channel of an image with alpha is not alpha.
    is_premultiplied : bool
        Whether the colors of an image with alpha are multiplied by it.
    box : (left, top, right, bottom) or None
        The place of the first frame, if it is smaller than the image.
    raw : str
        Pillow's name for the samples in the file; "" if it was decoded before.
    """

    white_is_zero: bool = False
    white: int = 65535
    n_bits: int = 0
    low_bytes: np.ndarray | None = field(default=None, compare=False)
    has_alpha: bool = True
    is_premultiplied: bool = False
    box: Box | None = None
    raw: str = field(default="", compare=False)


def load_with_header(image: Image.Image) -> Header:
    """Decode an image, and return what its header says about its pixels.

    This is noted on the image, which may be used again. It no longer counts once the
    pixels are changed.
    """
    if is_decoded(image) and _NOTE in vars(image):
        header, digest = vars(image)[_NOTE]
        if digest == _digest(image):
            return header
    _drop_texts(image)
    header = _read(image)
    image.load()
    _drop_texts(image)  # those at the end of the file
    if header != Header():
        vars(image)[_NOTE] = header, _digest(image)
    return header


def _read(image: Image.Image) -> Header:
    """Return what the header says; less is known if an image is decoded."""
    read = _READERS.get(str(getattr(image, "format", None)))
    was_pickled = "fp" not in vars(image)  # which keeps only pixels and info
    declared = {} if read is None or was_pickled else read(image)
    return Header(**declared, raw=raw_mode(image))


def _digest(image: Image.Image) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()


def _drop_texts(image: Image.Image) -> None:
    """Remove texts of a PNG that have names of other things; ``text`` keeps them."""
    for name in _NO_TEXTS:
        if isinstance(image.info.get(name), str):
            del image.info[name]


def _read_tiff(image: Any) -> dict[str, Any]:
    raw, mode, bits = raw_mode(image), image.mode, image.tag_v2.get(BITSPERSAMPLE)
    is_planar = image.tag_v2.get(PLANAR_CONFIGURATION) == 2
    if raw == "L;IR":  # which Pillow does not support: see BlackIsZeroTiff
        read_as(image, {raw: "L;R"})
    elif is_planar and bits and {*bits} == {16}:  # Pillow reads single bytes
        order = "L" if image.tag_v2.prefix == b"II" else "B"
        read_as(image, {plane: f"{plane};16{order}" for plane in "RGBA"})
    is_gray = mode.startswith(("I", "F"))
    is_negative = is_gray and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION, 0) == 0
    is_black = raw == "L;IR" or isinstance(image, BlackIsZeroTiff)
    return {
        "white_is_zero": is_negative or is_black,
        "white": 4095 if mode.startswith("I;16") and bits == (12,) else 65535,
    }


def _read_png(image: Any) -> dict[str, Any]:
    declared: dict[str, Any] = {}
    raw, info = raw_mode(image), image.info
    if "transparency" in info:
        declared["n_bits"] = 16 if raw == "RGB;16B" else _BITS.get(raw, 0)
    if declared.get("n_bits") == 16:
        # Read in the other order of bytes, the high byte is the low one.
        with Image.open(io.BytesIO(file_of(image)), formats=["PNG"]) as low:
            read_as(low, {raw: "RGB;16L"})
            declared["low_bytes"] = np.asarray(low)
    box = None if info.get("default_image") else info.get("bbox")
    return {**declared, "box": _smaller(box, image)}


def _read_gif(image: Any) -> dict[str, Any]:
    return {"box": _smaller(getattr(image, "dispose_extent", None), image)}


def _read_webp(image: Any) -> dict[str, Any]:
    """Find the first frame (ANMF) in the chunks, after the header of 12 bytes."""
    data, at = file_of(image), 12
    while at + 20 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"ANMF":
            left, top, width, height = (
                int.from_bytes(data[start : start + 3], "little")
                for start in range(at + 8, at + 20, 3)
            )
            left, top = 2 * left, 2 * top
            box = left, top, left + width + 1, top + height + 1
            return {"box": _smaller(box, image)}
        at += 8 + size + size % 2
    return {}


def _smaller(box: Box | None, image: Any) -> Box | None:
    """Return the place of the first frame if it does not fill the image."""
    is_whole = box is None or tuple(box) == (0, 0, *image.size)
    if box is None or is_whole or image.tell() > 0:
        return None
    return box if not is_decoded(image) or _is_filled_around(box, image) else None


def _is_filled_around(box: Box, image: Image.Image) -> bool:
    """Return whether only one color is around a box: it is as Pillow decoded it."""
    left, top, right, bottom = box
    if right > image.width or bottom > image.height:
        return False
    pixels = np.asarray(image)
    is_around = np.ones(pixels.shape[:2], bool)
    is_around[top:bottom, left:right] = False
    is_same = pixels == pixels[is_around][0]
    return bool(is_same[is_around].all() and not is_same.all())


_READERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "BMP": read_bmp,
    "DIB": read_bmp,
    "GIF": _read_gif,
    "JPEG2000": read_jpeg2000,
    "PNG": _read_png,
    "TGA": read_tga,
    "TIFF": _read_tiff,
    "WEBP": _read_webp,
}
