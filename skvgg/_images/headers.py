"""What the headers of files say about pixels and Pillow does not apply.

Most of it is lost once Pillow has decoded the file.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    TILELENGTH,
    TILEWIDTH,
)

#: Usual maximum number of scans of a progressive JPEG. The time that more of them take
#: counts as that of more pixels.
_USUAL_SCANS = 10

#: The gray levels of PNG files with few bits are multiplied by this to get 8 bits.
_STEPS = {"L;2": 85, "L;4": 17}

#: The start of a marker in a JPEG that has a length, or of the end (D9): neither an
#: escaped byte nor filling.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")

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
    step : int
        Distance of gray levels, a transparent one of which Pillow does not scale.
    low_bytes : ndarray of shape (height, width, 3), uint8, or None
        What Pillow cuts from 16-bit colors, one of which is transparent.
    has_alpha : bool
        False if the last channel of an image with alpha is not alpha.
    box : (left, top, right, bottom) or None
        The place of the first frame, if it is smaller than the image.
    """

    white_is_zero: bool = False
    white: int = 65535
    step: int = 1
    low_bytes: np.ndarray | None = None
    has_alpha: bool = True
    box: Box | None = None


def read_header(image: Image.Image) -> Header:
    """Return what the header of an image says; call this before decoding it."""
    read = _READERS.get(str(getattr(image, "format", None)))
    return Header() if read is None else Header(**read(image))


def decoding_work(image: Image.Image) -> int:
    """Return the number of pixels whose decoding takes as long as that of an image.

    This is more than its number of pixels only in unusual files, such as a progressive
    JPEG of hundreds of scans, or a TIFF with a tile larger than itself.
    """
    n_pixels = image.width * image.height
    n_in_tiles = sum(
        (box[2] - box[0]) * (box[3] - box[1])
        for _, box, *_ in getattr(image, "tile", ())
        if box
    )
    work = [n_pixels, n_in_tiles // _USUAL_SCANS]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        width, height = (image.tag_v2.get(tag, 0) for tag in (TILEWIDTH, TILELENGTH))
        work.append(int(width) * int(height))
    if str(image.format) in ("JPEG", "MPO"):
        work.append(n_pixels * _n_scans(_file_of(image)) // _USUAL_SCANS)
    return max(work)


def is_decoded(image: Image.Image) -> bool:
    """Return whether the pixels of a PIL image are in memory.

    ``Image.open`` decodes pixels only when they are needed. Pillow has no public
    attribute for this.
    """
    if not isinstance(image, ImageFile.ImageFile):
        return True
    core = vars(image).get("_im", vars(image).get("im"))
    return core is not None and not getattr(image, "tile", None)


def raw_mode(image: Image.Image) -> str:
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


def _file_of(image: Image.Image) -> bytes:
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


def _n_scans(data: bytes) -> int:
    """Return the number of scans of a JPEG, or of markers that look like them."""
    at, n = 2, 0
    if data.count(b"\xff\xda") <= _USUAL_SCANS:  # including those in metadata
        return _USUAL_SCANS
    while (marker := _MARKER.search(data, at)) and marker[1] != b"\xd9":
        n += marker[1] == b"\xda"
        at = marker.end()
        at += int.from_bytes(data[at : at + 2], "big")
    return n


def _read_tiff(image: Any) -> dict[str, Any]:
    is_gray = image.mode.startswith(("I", "F"))
    is_negative = is_gray and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION, 0) == 0
    has_12_bits = image.mode.startswith("I;16") and image.tag_v2.get(BITSPERSAMPLE) == (
        12,
    )
    return {
        "white_is_zero": is_negative or isinstance(image, BlackIsZeroTiff),
        "white": 4095 if has_12_bits else 65535,
    }


def _read_png(image: Any) -> dict[str, Any]:
    raw = raw_mode(image)
    low_bytes = None
    if raw == "RGB;16B" and "transparency" in image.info:
        # Read in the other order of bytes, the high byte is the low one.
        with Image.open(io.BytesIO(_file_of(image)), formats=["PNG"]) as low:
            low.tile = [
                (*tile[:3], "RGB;16L")  # type: ignore[misc]  # a tuple before Pillow 11
                for tile in low.tile
            ]
            low_bytes = np.asarray(low)
    box = None if image.info.get("default_image") else image.info.get("bbox")
    return {
        "step": _STEPS.get(raw, 1),
        "low_bytes": low_bytes,
        "box": _smaller(box, image),
    }


def _read_gif(image: Any) -> dict[str, Any]:
    return {"box": _smaller(getattr(image, "dispose_extent", None), image)}


def _read_webp(image: Any) -> dict[str, Any]:
    """Find the first frame (ANMF) in the chunks, after the header of 12 bytes."""
    data, at = _file_of(image), 12
    while image.n_frames > 0 and at + 20 <= len(data):
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
    return None if is_whole or image.tell() > 0 else box


def _read_tga(image: Any) -> dict[str, Any]:
    """Read the number of bits of alpha, and the kind of alpha that version 2 adds."""
    data = _file_of(image)
    if len(data) < 18:
        return {}
    has_alpha = data[17] & 15 > 0
    if data[-18:] == b"TRUEVISION-XFILE.\0":
        (extension,) = struct.unpack_from("<I", data, len(data) - 26)
        kind = data[extension + 494 : extension + 495]
        has_alpha &= extension == 0 or kind not in (b"\0", b"\1", b"\2")
    return {"has_alpha": has_alpha}


def _read_bmp(image: Any) -> dict[str, Any]:
    """Read the mask of alpha; headers of 40 bytes have none."""
    data = _file_of(image)
    start = 14 if data[:2] == b"BM" else 0
    if len(data) < start + 56:
        return {}
    size, compression = struct.unpack_from("<I12xI", data, start)
    mask = data[start + 52 : start + 56] if size >= 56 else bytes(4)
    return {"has_alpha": compression != 3 or any(mask)}


def _read_jpeg2000(image: Any) -> dict[str, Any]:
    """Read the definition of the last channel in the box "cdef", if there is one."""
    data = _file_of(image)
    start = data.find(b"jp2h")
    box = data.find(b"cdef", start, data.find(b"jp2c", start))
    if start < 0 or box < 0:
        return {}
    (n,) = struct.unpack_from(">H", data, box + 4)
    n = min(n, len(image.getbands()))
    kinds = {}
    for at in range(box + 6, box + 6 + 6 * n, 6):
        channel, kind, _ = struct.unpack_from(">HHH", data, at)
        kinds[channel] = kind
    return {"has_alpha": kinds.get(len(image.getbands()) - 1, 1) in (1, 2)}


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
