"""Convert PIL images of any mode to 8-bit sRGB, or to gray values of more bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageChops

from skvgg._images.headers import Box, Header, load_with_header
from skvgg._images.notes import Notes
from skvgg._images.profiles import curve_to_srgb, to_srgb

#: How to turn an image, by its EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: Samples of which Pillow keeps only the high byte: it has no mode for 16-bit color.
_CUT_TO_8_BITS = ("RGB;16", "RGBA;16", "RGBa;16", "RGBX;16", "LA;16", "R;16")


def upright(image: Image.Image, notes: Notes) -> Image.Image | np.ndarray:
    """Apply the EXIF orientation; convert to 8-bit sRGB: L, RGB or RGBA.

    Gray images with more than 8 bits are returned as uint16, or as float32 for floats.
    If there is nothing to do, this returns `image` itself. The copy that Pillow would
    make takes 4 % of the total time for a photo of 500 x 375 pixels, and 12 % at 1600 x
    1200.
    """
    # This already rotates TIFFs, and may find the EXIF data of a PNG.
    header = load_with_header(image)
    orientation = _orientation(image)
    if image.mode.startswith(("I", "F")):
        whole = _deep(image, header, notes)
    else:
        plain = _plain(image, header)
        if header.raw.startswith(_CUT_TO_8_BITS):
            notes.check_high_bytes(np.asarray(plain))
        whole = to_srgb(plain, notes)
    if orientation not in _TURNS:
        return whole
    if isinstance(whole, Image.Image):
        return whole.transpose(_TURNS[orientation])
    return np.asarray(Image.fromarray(whole).transpose(_TURNS[orientation]))


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 if it is missing or unknown."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF data raises nearly anything
        return 1


def _plain(image: Image.Image, header: Header) -> Image.Image:
    """Return an 8-bit image in mode L, LA, RGB, RGBA or CMYK."""
    transparent = image.info.get("transparency")
    if image.mode in ("1", "La"):
        image = image.convert("L" if image.mode == "1" else "LA")
    if (image.mode == "L" and isinstance(transparent, int)) or (
        image.mode == "RGB" and isinstance(transparent, tuple)
    ):
        opaque = _differs(np.asarray(image), transparent, header)
        image = _with_alpha(image, Image.fromarray(opaque))
    elif image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if not header.has_alpha and image.mode in ("LA", "RGBA"):
        image = image.convert(image.mode[:-1])
    if header.is_premultiplied and image.mode in ("LA", "RGBA"):
        mode = "La" if image.mode == "LA" else "RGBa"
        image = Image.frombytes(mode, image.size, image.tobytes()).convert(image.mode)
    if header.white_is_zero:
        negative, image = image, ImageChops.invert(image)
        if image.mode == "LA":
            image.putalpha(negative.getchannel("A"))
    return image if header.box is None else _only_in(header.box, image)


def _differs(pixels: np.ndarray, transparent: Any, header: Header) -> np.ndarray:
    """Return 0 where pixels have the transparent gray or color, and 255 elsewhere."""
    wanted = np.asarray(transparent)
    if header.low_bytes is not None:
        pixels = pixels * np.uint16(256) + header.low_bytes
    elif pixels.ndim == 3 and header.n_bits == 0 and wanted.max() > 255:
        wanted = wanted >> 8  # of colors of 16 bits that were decoded before
    elif pixels.dtype == np.uint8:
        top = 2 ** (header.n_bits or 8) - 1
        wanted = (wanted & top) * (255 // top)  # other bits precede it in some files
    is_other = pixels != wanted
    if pixels.ndim == 3:
        is_other = is_other.any(axis=2)
    return np.where(is_other, np.uint8(255), np.uint8(0))


def _only_in(box: Box, image: Image.Image) -> Image.Image:
    """Make an image transparent outside of a box."""
    inside = Image.new("L", image.size, 0)
    inside.paste(255, box)
    if image.mode in ("LA", "RGBA"):
        inside = ImageChops.multiply(inside, image.getchannel("A"))
    return _with_alpha(image, inside)


def _with_alpha(image: Image.Image, alpha: Image.Image) -> Image.Image:
    image = image.copy()
    image.info.pop("transparency", None)
    image.putalpha(alpha)
    return image


def _deep(image: Image.Image, header: Header, notes: Notes) -> Image.Image | np.ndarray:
    """Return gray values of more than 8 bits; an image if some are transparent."""
    stored = _deep_values(image)
    top = 255 if stored.dtype == np.float32 else header.white
    if top != 4095:
        notes.check_range(stored, white_is_zero=header.white_is_zero)
    if not (stored.min() >= 0 and stored.max() <= top):
        return stored  # which is rejected, as an array is
    values = top - stored if header.white_is_zero else stored
    profile = image.info.get("icc_profile")
    curve = curve_to_srgb(profile, notes) if profile else None
    if curve is not None:
        values = np.interp(values, np.linspace(0, top, 256), curve)
        values = values if top == 255 else (values * 257).round()
    elif top == 4095:
        values = (values / 4095 * 65535).round()
    values = values.astype(stored.dtype, copy=False)
    # A float image was converted, so that its transparent value may be something else.
    transparent = None if top == 255 else image.info.get("transparency")
    if header.box is None and not isinstance(transparent, int):
        return values
    whole = Image.fromarray(from_16_bits(values))
    if isinstance(transparent, int):
        opaque = _differs(stored, transparent, header)
        whole = _with_alpha(whole, Image.fromarray(opaque))
    return (whole if header.box is None else _only_in(header.box, whole)).convert(
        "RGBA"
    )


def _deep_values(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    if image.mode == "F":
        return values
    if image.mode == "I":
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 65535):
            raise ValueError(
                f"its 32-bit pixels lie in {low}..{high}, expected 0..65535: scale "
                "them first"
            )
    return values.astype(np.uint16)


def from_16_bits(array: np.ndarray) -> np.ndarray:
    """Return values in 0..65535 rounded to 0..255 (65535 is 257 times 255)."""
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
