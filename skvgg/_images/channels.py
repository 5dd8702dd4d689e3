"""Channels and profiles that headers describe: TGA, BMP and JPEG 2000."""

from __future__ import annotations

import struct
from typing import Any

from skvgg._images.opened import file_of


def read_tga(image: Any) -> dict[str, Any]:
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


def read_bmp(image: Any) -> dict[str, Any]:
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


def read_jpeg2000(image: Any) -> dict[str, Any]:
    """Read the profile and the definition of the channels, if there are any."""
    data = file_of(image)
    color_space = _box(data, b"colr")
    if color_space[:1] in (b"\2", b"\3"):  # a profile instead of a number
        image.info["icc_profile"] = color_space[3:]
    channels = _box(data, b"cdef")[2:]
    if image.mode == "P":  # they are those of the palette
        return {}
    whole = channels[: len(channels) // 6 * 6]
    kinds, colors = {}, {}
    for number, kind, color in struct.iter_unpack(">HHH", whole):
        kinds[number] = kind
        if kind == 0:
            colors[number] = color
    last = len(image.getbands()) - 1
    is_permuted = any(color not in (0, number + 1) for number, color in colors.items())
    if is_permuted or min(kinds.keys() - colors.keys(), default=last) < last:
        raise ValueError(
            "its channels are in another order than red, green, blue, alpha: write "
            "them in this order"
        )
    kind = kinds.get(last, 1)
    return {"has_alpha": kind in (1, 2), "is_premultiplied": kind == 2}


def _box(data: bytes, name: bytes) -> bytes:
    """Return what a box in the header contains; b"" if there is none."""
    start = data.find(b"jp2h")
    at = data.find(name, start, data.find(b"jp2c", start))
    if start < 0 or at < 0:
        return b""
    return data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]
