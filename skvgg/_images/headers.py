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
from PIL import Image, ImageFile, TiffImagePlugin
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
)

#: Bits of the samples that Pillow calls so in PNG files, one of which is transparent.
_BITS = {"L;2": 2, "L;4": 4, "L": 8, "RGB": 8}

#: What Pillow keeps in ``info`` under the same names as the texts of a PNG.
_NO_TEXTS = ("bbox", "default_image", "icc_profile", "transparency")

#: The attribute that keeps what the header said after an image has been decoded.
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
    said = {} if read is None or was_pickled else read(image)
    return Header(**said, raw=_raw_mode(image))


def _digest(image: Image.Image) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()


def _drop_texts(image: Image.Image) -> None:
    """Remove texts of a PNG that have names of other things; ``text`` keeps them."""
    for name in _NO_TEXTS:
        if isinstance(image.info.get(name), str):
            del image.info[name]


def is_decoded(image: Image.Image) -> bool:
    """Return whether the pixels of a PIL image are in memory.

    ``Image.open`` decodes pixels only when they are needed. Pillow has no public
    attribute for this.
    """
    if not isinstance(image, ImageFile.ImageFile):
        return True
    core = vars(image).get("_im", vars(image).get("im"))
    return core is not None and not getattr(image, "tile", None)


def _raw_mode(image: Image.Image) -> str:
    """Return Pillow's name for the samples in the file; "" if it is decoded."""
    for tile in getattr(image, "tile", ()):
        arguments = tile[3] or ("",)
        raw = arguments if isinstance(arguments, str) else arguments[0]
        return raw if isinstance(raw, str) else ""
    return ""


class BlackIsZeroTiff(TiffImagePlugin.TiffImageFile):
    """A gray TIFF in which 0 is white, read as if it were black.

    Pillow supports more kinds of these. Like any other negative, it is inverted later.
    """

    def _setup(self) -> None:
        if self.tag_v2.get(PHOTOMETRIC_INTERPRETATION, 0) == 0:
            self.tag_v2[PHOTOMETRIC_INTERPRETATION] = 1
        super()._setup()


def file_of(image: Image.Image) -> bytes:
    """Return the file of an image; b"" if it is decoded."""
    file = getattr(image, "fp", None)
    if file is None or is_decoded(image):
        return b""
    if isinstance(file, io.BytesIO):
        return file.getvalue()  # not a copy
    position = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(position)
    return data


def _read_tiff(image: Any) -> dict[str, Any]:
    raw, mode, bits = _raw_mode(image), image.mode, image.tag_v2.get(BITSPERSAMPLE)
    is_planar = image.tag_v2.get(PLANAR_CONFIGURATION) == 2
    if raw == "L;IR":  # which Pillow does not support: see BlackIsZeroTiff
        _read_as(image, {raw: "L;R"})
    elif is_planar and bits and {*bits} == {16}:  # Pillow reads single bytes
        order = "L" if image.tag_v2.prefix == b"II" else "B"
        _read_as(image, {plane: f"{plane};16{order}" for plane in "RGBA"})
    is_gray = mode.startswith(("I", "F"))
    is_negative = is_gray and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION, 0) == 0
    is_black = raw == "L;IR" or isinstance(image, BlackIsZeroTiff)
    return {
        "white_is_zero": is_negative or is_black,
        "white": 4095 if mode.startswith("I;16") and bits == (12,) else 65535,
    }


def _read_as(image: Any, names: dict[str, str]) -> None:
    """Read the samples of a file that is not decoded under other names."""
    new_tile = getattr(ImageFile, "_Tile", lambda *parts: parts)  # before Pillow 11
    tiles = []
    for *place, arguments in image.tile:
        name, *others = arguments if isinstance(arguments, tuple) else (arguments,)
        tiles.append(new_tile(*place, (names.get(name, name), *others)))
    image.tile = tiles


def _read_png(image: Any) -> dict[str, Any]:
    said: dict[str, Any] = {}
    raw, info = _raw_mode(image), image.info
    if "transparency" in info:
        said["n_bits"] = 16 if raw == "RGB;16B" else _BITS.get(raw, 0)
    if said.get("n_bits") == 16:
        # Read in the other order of bytes, the high byte is the low one.
        with Image.open(io.BytesIO(file_of(image)), formats=["PNG"]) as low:
            _read_as(low, {raw: "RGB;16L"})
            said["low_bytes"] = np.asarray(low)
    box = None if info.get("default_image") else info.get("bbox")
    return {**said, "box": _smaller(box, image)}


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


def _read_tga(image: Any) -> dict[str, Any]:
    """Read the number of bits of alpha, and the kind of alpha that version 2 adds."""
    data = file_of(image)
    if len(data) < 18:
        return {}
    kind = b"\3"  # straight alpha
    if data[-18:] == b"TRUEVISION-XFILE.\0":
        (extension,) = struct.unpack_from("<I", data, len(data) - 26)
        if extension > 0:
            kind = data[extension + 494 : extension + 495]
    return {
        "has_alpha": data[17] & 15 > 0 and kind not in (b"\0", b"\1", b"\2"),
        "is_premultiplied": kind == b"\4",
    }


def _read_bmp(image: Any) -> dict[str, Any]:
    """Read the mask of alpha, and the profile that headers of 124 bytes may have."""
    data = file_of(image)
    start = 14 if data[:2] == b"BM" else 0
    if len(data) < start + 56:
        return {}
    size, compression = struct.unpack_from("<I12xI", data, start)
    if size >= 124 and data[start + 56 : start + 60] == b"DEBM":  # "MBED"
        at, length = struct.unpack_from("<II", data, start + 112)
        image.info["icc_profile"] = data[start + at : start + at + length]
    mask = data[start + 52 : start + 56] if size >= 56 else bytes(4)
    return {"has_alpha": compression != 3 or any(mask)}


def _read_jpeg2000(image: Any) -> dict[str, Any]:
    """Read the profile and the definition of the channels, if there are any."""
    data = file_of(image)
    color = _box_of_jpeg2000(data, b"colr")
    if color[:1] in (b"\2", b"\3"):
        image.info["icc_profile"] = color[3:]
    channels = _box_of_jpeg2000(data, b"cdef")[2:]
    channels = channels[: len(channels) // 6 * 6]
    kinds = {number: kind for number, kind, _ in struct.iter_unpack(">HHH", channels)}
    last = len(image.getbands()) - 1
    if any(kind != 0 and number < last for number, kind in kinds.items()):
        raise ValueError(
            "a channel before the last one is alpha or undefined; expected the colors "
            "first"
        )
    kind = kinds.get(last, 1)
    return {"has_alpha": kind in (1, 2), "is_premultiplied": kind == 2}


def _box_of_jpeg2000(data: bytes, name: bytes) -> bytes:
    """Return what a box in the header contains; b"" if there is none."""
    start = data.find(b"jp2h")
    at = data.find(name, start, data.find(b"jp2c", start))
    if start < 0 or at < 0:
        return b""
    return data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]


_READERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "BMP": _read_bmp,
    "DIB": _read_bmp,
    "GIF": _read_gif,
    "JPEG2000": _read_jpeg2000,
    "PNG": _read_png,
    "TGA": _read_tga,
    "TIFF": _read_tiff,
    "WEBP": _read_webp,
}
