"""Convert from embedded color profiles to sRGB."""

from __future__ import annotations

import io
from functools import lru_cache
from itertools import product

import numpy as np
from PIL import Image, ImageCms

from skvgg._images.oddities import Oddities

_SRGB = ImageCms.createProfile("sRGB")

#: What Pillow raises for damaged profiles, and for those that do not fit.
_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)

#: Levels of the colors that tell whether a profile changes anything.
_LEVELS = (0, 8, 24, 51, 102, 153, 204, 255)

#: Modes in which an image of a mode can be given to a profile of a color space.
_MODES = {
    "RGB": {"L": "RGB", "LA": "RGBA", "RGB": "RGB", "RGBA": "RGBA"},
    "GRAY": {"L": "L", "LA": "L"},
    "CMYK": {"CMYK": "CMYK"},
}


def to_srgb(image: Image.Image, oddities: Oddities) -> Image.Image:
    """Convert from the embedded profile to sRGB; note if that is not possible.

    Parameters
    ----------
    image : Image
        In mode L, LA, RGB, RGBA or CMYK.
    oddities : Oddities
        Where to note a profile that cannot be applied.

    Returns
    -------
    Image
        In mode L, RGB or RGBA.
    """
    profile = image.info.get("icc_profile")
    if profile:
        try:
            image = _apply(profile, image)
        except _ERRORS as error:
            reason = str(error) or type(error).__name__
            oddities.add(
                f"has the color profile {_name_of(profile)!r}, which cannot be applied "
                f"to its pixels ({reason}), so that its colors may be wrong. Convert "
                "it to sRGB, or remove the profile."
            )
    if image.mode == "LA":
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB")


def curve_to_srgb(profile: bytes, oddities: Oddities) -> np.ndarray | None:
    """Return what gray levels 0..255 become in sRGB; None if they do not change.

    Returns
    -------
    ndarray of shape (256,), float64, or None
    """
    levels = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels.info["icc_profile"] = profile
    converted = to_srgb(levels, oddities)
    if converted.mode == "L":
        return None
    return np.asarray(converted)[0].mean(axis=1)


def _apply(profile: bytes, image: Image.Image) -> Image.Image:
    space = _open(profile).profile.xcolor_space.strip()
    if image.mode not in _MODES.get(space, ()):
        raise ValueError(f"it is for {space}, the image is {image.mode}")
    mode = _MODES[space][image.mode]
    transform = _transform(profile, mode)
    if transform is None:
        return image
    if image.mode == "LA":
        alpha = image.getchannel("A")
        converted = transform.apply(image.convert(mode))
        converted.putalpha(alpha)
        return converted
    return transform.apply(image if mode == image.mode else image.convert(mode))


def _open(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion of a mode to sRGB, or None if it changes no color.

    The description does not tell: profiles called sRGB may have other curves.
    """
    target = "RGBA" if mode == "RGBA" else "RGB"
    transform = ImageCms.buildTransform(_open(profile), _SRGB, mode, target)
    if mode == "CMYK":
        return transform
    if mode == "L":
        colors = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    else:
        grid = np.array([*product(_LEVELS, repeat=3)], np.uint8)[None]
        colors = Image.fromarray(grid).convert(mode)
    before, after = (
        np.asarray(image.convert("RGB")).astype(int)
        for image in (colors, transform.apply(colors))
    )
    return transform if np.abs(after - before).max() > 1 else None


def _name_of(profile: bytes) -> str:
    try:
        return ImageCms.getProfileDescription(_open(profile)).strip()
    except _ERRORS:
        return f"{len(profile)} bytes"
