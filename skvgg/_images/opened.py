"""Files that Pillow has opened, and may not have decoded."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, ImageFile, TiffImagePlugin
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION


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


def read_as(image: Any, names: dict[str, str]) -> None:
    """Read the samples of a file that is not decoded under other names."""
    new_tile = getattr(ImageFile, "_Tile", lambda *parts: parts)  # before Pillow 11
    tiles = []
    for *place, arguments in image.tile:
        name, *others = arguments if isinstance(arguments, tuple) else (arguments,)
        tiles.append(new_tile(*place, (names.get(name, name), *others)))
    image.tile = tiles


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


class BlackIsZeroTiff(TiffImagePlugin.TiffImageFile):
    """A gray TIFF in which 0 is white, read as if it were black.

    Pillow supports more kinds of these. Like any other negative, it is inverted later.
    """

    def _setup(self) -> None:
        if self.tag_v2.get(PHOTOMETRIC_INTERPRETATION, 0) == 0:
            self.tag_v2[PHOTOMETRIC_INTERPRETATION] = 1
        super()._setup()
