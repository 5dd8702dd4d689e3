"""Convert from embedded color profiles to sRGB."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from skvgg._images.notes import Notes

_SRGB = ImageCms.createProfile("sRGB")

#: What Pillow raises for damaged profiles, and for those that do not fit.
_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)

#: Little CMS's cmsFLAGS_NOOPTIMIZE. Pillow names it only since version 10.2.
_NOT_OPTIMIZED = 0x0100

#: Levels of the colors that tell whether a profile changes anything.
_LEVELS = (0, 8, 24, 51, 102, 153, 204, 255)

#: Modes of the images that a profile of a color space can be applied to.
_MODES = {
    "RGB": ("L", "LA", "RGB", "RGBA"),
    "GRAY": ("L", "LA"),
    "CMYK": ("CMYK",),
}


def to_srgb(image: Image.Image, notes: Notes) -> Image.Image:
    """Convert from the embedded profile to sRGB; note if that is not possible.

    Parameters
    ----------
    image : Image
        In mode L, LA, RGB, RGBA or CMYK.
    notes : Notes
        Where to note a profile that cannot be applied.

    Returns
    -------
    Image
        In mode L, RGB or RGBA.
    """
    profile = image.info.get("icc_profile")
    if profile:
        with _warning_of_errors(profile, notes):
            image = _apply(profile, image)
    if image.mode == "LA":
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB")


def curve_to_srgb(profile: bytes, notes: Notes) -> np.ndarray | None:
    """Return what gray levels 0..255 become in sRGB; None if they do not change.

    Returns
    -------
    ndarray of shape (256,), float64, or None
    """
    with _warning_of_errors(profile, notes):
        _check_fits(profile, "L")
        return _curve(profile)
    return None


@contextmanager
def _warning_of_errors(profile: bytes, notes: Notes) -> Iterator[None]:
    """Note errors of a profile instead of raising."""
    try:
        yield
    except _ERRORS as error:
        notes.add(
            f"the color profile {_name_of(profile)!r} cannot be applied to its pixels "
            f"({str(error) or type(error).__name__}), so that its colors may be wrong",
            "Convert it to sRGB, or remove the profile.",
        )


def _check_fits(profile: bytes, mode: str) -> None:
    space = _space_of(profile)
    if mode not in _MODES.get(space, ()):
        raise ValueError(f"it is for {space}, the image is {mode}")


def _apply(profile: bytes, image: Image.Image) -> Image.Image:
    if _space_of(profile) == "GRAY":
        image = _as_gray(image)
    _check_fits(profile, image.mode)
    if image.mode in ("L", "LA"):
        curve = _curve(profile)
        if curve is None:
            return image
        gray = image.getchannel("L").point(curve.round().astype(int).tolist())
        if image.mode == "LA":
            gray.putalpha(image.getchannel("A"))
        return gray
    transform = _transform(profile, image.mode)
    return image if transform is None else transform.apply(image)


@lru_cache(maxsize=16)
def _curve(profile: bytes) -> np.ndarray | None:
    """Return what gray levels become in sRGB, or None if they do not change.

    Little CMS optimizes the conversion of gray to one that is wrong by 10 levels near
    black, for a linear profile.
    """
    levels = np.arange(256, dtype=np.uint8)
    mode = "L" if _space_of(profile) == "GRAY" else "RGB"
    flags: Any = _NOT_OPTIMIZED
    transform = ImageCms.buildTransform(_open(profile), _SRGB, mode, "RGB", flags=flags)
    converted = transform.apply(Image.fromarray(levels[None]).convert(mode))
    curve = np.asarray(converted)[0].mean(axis=1)
    return curve if np.abs(curve - levels).max() > 1 else None


def _as_gray(image: Image.Image) -> Image.Image:
    """Return gray that a decoder has written as colors, such as AVIF's, as gray."""
    if image.mode not in ("RGB", "RGBA"):
        return image
    gray = image.convert("LA" if image.mode == "RGBA" else "L")
    is_gray = np.array_equal(np.asarray(gray.convert(image.mode)), np.asarray(image))
    return gray if is_gray else image


def _open(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


@lru_cache(maxsize=16)
def _space_of(profile: bytes) -> str:
    return str(_open(profile).profile.xcolor_space).strip()


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion of a mode to sRGB, or None if it changes no color.

    The description does not tell: profiles called sRGB may have other curves.
    """
    target = "RGBA" if mode == "RGBA" else "RGB"
    transform = ImageCms.buildTransform(_open(profile), _SRGB, mode, target)
    if mode == "CMYK":
        return transform
    grid = np.array([*product(_LEVELS, repeat=3)], np.uint8)[None]
    converted = transform.apply(Image.fromarray(grid).convert(mode)).convert("RGB")
    change = np.abs(np.asarray(converted).astype(int) - grid).max()
    return transform if change > 1 else None


def _name_of(profile: bytes) -> str:
    try:
        name = ImageCms.getProfileDescription(_open(profile)).strip()
    except _ERRORS:
        name = ""
    return name or f"without a name, {len(profile)} bytes"
