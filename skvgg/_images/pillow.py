"""Decode and resize images with Pillow."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from skvgg._definition.vocabulary import Interpolation, Resize
from skvgg._images.modes import upright
from skvgg._images.notes import Notes
from skvgg._images.opened import BlackIsZeroTiff
from skvgg._images.silence import SILENCE
from skvgg._images.switches import Switch, changed_switches
from skvgg._images.work import decoding_work

#: Color behind transparent pixels.
BACKGROUND = (255, 255, 255)

#: Default of the maximum number of pixels of an image, as in Pillow.
MAX_PIXELS = 89_478_485

#: A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if that is at least this many times
#: the target size. docs/user_guide.rst describes the effect.
DRAFT_MARGIN = 3

#: Formats that Pillow may read. Some of its other readers run programs (EPS), open
#: other files that a file refers to, or decode a file when opening it (ICO).
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM",
    "QOI", "SGI", "TGA", "TIFF", "WEBP",
)  # fmt: skip


@dataclass(frozen=True)
class Framing:
    """Which images are accepted, and how they are resized to the size of the network.

    Its ``repr`` is part of the key of every stored row; it does not have `max_pixels`,
    which changes no row.

    Parameters
    ----------
    image_size : tuple of (int, int)
        Height and width in pixels.
    resize, interpolation
        See :class:`skvgg.VGG19Features`.
    background : tuple of (int, int, int)
        RGB color behind transparent pixels.
    draft_margin : int
        See :data:`DRAFT_MARGIN`.
    fill_value : tuple of (int, int, int)
        RGB color of the padding.
    switches : tuple of Switch
        Pillow's switches that change pixels, if they are not as usual.
    max_pixels : int or None
        Larger files are rejected before they are decoded. Has no effect on arrays.
    """

    image_size: tuple[int, int]
    resize: Resize
    interpolation: Interpolation = "bilinear"
    background: tuple[int, int, int] = BACKGROUND
    draft_margin: int = DRAFT_MARGIN
    fill_value: tuple[int, int, int] = (0, 0, 0)
    switches: tuple[Switch, ...] = field(default_factory=changed_switches)
    max_pixels: int | None = field(default=MAX_PIXELS, repr=False)

    @property
    def resampling(self) -> Image.Resampling:
        """Pillow's constant for the interpolation."""
        return Image.Resampling[self.interpolation.upper()]


def decode_file(data: bytes, framing: Framing, notes: Notes) -> np.ndarray:
    """Return the pixels of an encoded image: resized 8-bit RGB, or gray values."""
    formats = _formats()  # first: it imports modules that SILENCE must patch
    with SILENCE, _open(data, formats) as image:
        check_size(image, framing.max_pixels)
        _draft(image, framing)
        whole = upright(image, notes)
        if isinstance(whole, np.ndarray):
            return whole
        rgb = _to_rgb(whole, framing.background, notes)
        return np.asarray(resize_image(rgb, framing, framing.fill_value))


def _open(data: bytes, formats: list[str]) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except (UnidentifiedImageError, ValueError):
        if data[:4] in TiffImagePlugin.PREFIXES:
            with suppress(SyntaxError):  # if it is another kind of TIFF
                return BlackIsZeroTiff(io.BytesIO(data))
        if data[4:8] != b"ftyp" or b"Exif" not in data:
            raise
        # libavif or Pillow rejects files for damaged EXIF data: read them without it.
        data = data.replace(b"Exif", b"none")
        return Image.open(io.BytesIO(data), formats=formats)


def _formats() -> list[str]:
    """Return the formats that can be read now; plug-ins may be added at any time."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def check_size(image: Image.Image, max_pixels: int | None) -> None:
    """Raise if an image has too many pixels, without decoding it."""
    n_pixels = image.width * image.height
    if max_pixels is not None and n_pixels > max_pixels:
        raise ValueError(
            f"{image.width} x {image.height} = {n_pixels} pixels are more than "
            f"max_pixels={max_pixels}"
        )
    work = decoding_work(image)
    if max_pixels is not None and work > max_pixels:
        raise ValueError(
            f"decoding its {image.width} x {image.height} pixels is as much work as "
            f"decoding {work} pixels, which are more than max_pixels={max_pixels}: it "
            "has very many scans, or parts larger than itself"
        )


def _draft(image: Image.Image, framing: Framing) -> None:
    """Decode large JPEGs at a smaller size, which is faster; ignore other files."""
    side = framing.draft_margin * max(framing.image_size)
    image.draft(None, (side, side))


def _to_rgb(
    image: Image.Image, background: tuple[int, int, int], notes: Notes
) -> Image.Image:
    if image.mode == "RGBA":
        notes.check_alpha(np.asarray(image.getchannel("A")))
        return over(image, background)
    return image if image.mode == "RGB" else image.convert("RGB")


def over(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Composite an image with alpha over a color."""
    under = Image.new("RGBA", image.size, (*background, 255))
    under.alpha_composite(image)
    return under.convert("RGB")


def resize_image(
    image: Image.Image, framing: Framing, fill_value: int | tuple[int, ...]
) -> Image.Image:
    """Resize an image; `fill_value` is a color in its mode."""
    size = framing.image_size[::-1]  # Pillow's order is (width, height)
    if image.size == size:
        return image
    if framing.resize == "crop":
        return ImageOps.fit(image, size, method=framing.resampling)
    if framing.resize == "pad":
        scale = min(size[0] / image.width, size[1] / image.height)
        if round(scale * min(image.size)) == 0:  # too thin: keep one pixel
            line = (size[0], 1) if image.width > image.height else (1, size[1])
            image = image.resize(line, framing.resampling)
        return ImageOps.pad(image, size, framing.resampling, color=fill_value)
    return image.resize(size, framing.resampling)


def name_non_finite(low: float, high: float) -> str | None:
    """Return "NaN" or "infinity" if the minimum or maximum is one, else None."""
    if np.isfinite([low, high]).all():
        return None
    return "NaN" if np.isnan(low) else "infinity"
