"""How much work it takes to decode an image."""

from __future__ import annotations

import re
from typing import Any

from PIL import Image, TiffImagePlugin
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH

from skvgg._images.opened import file_of

#: Usual maximum number of scans of a progressive JPEG. The time that more of them take
#: counts as that of more pixels.
_USUAL_SCANS = 10

#: The start of a marker in a JPEG that has a length, or of the end (D9): neither an
#: escaped byte nor filling.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")


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
        work.append(n_pixels * _n_scans(image) // _USUAL_SCANS)
    return max(work)


def _n_scans(image: Any) -> int:
    """Return the number of scans of a JPEG, or of markers that look like them.

    Few scans count as the usual number. libjpeg ends with a scan that holds all
    components, except in progressive files.
    """
    data = file_of(image)
    at, n = 2, 0
    while (marker := _MARKER.search(data, at)) and marker[1] != b"\xd9":
        at = marker.end()
        if marker[1] == b"\xda" and at + 2 < len(data):
            if data[at + 2] == image.layers and "progressive" not in image.info:
                break
            n += 1
        at += int.from_bytes(data[at : at + 2], "big")
    return max(n, _USUAL_SCANS)
