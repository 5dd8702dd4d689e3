"""Decode and resize images with Pillow."""

from __future__ import annotations

import io
import re
import sys
import threading
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps

Resize = Literal["stretch", "crop", "pad"]
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]

#: Color behind transparent pixels.
BACKGROUND = (255, 255, 255)

#: Default of the maximum number of pixels of an image, as in Pillow.
MAX_PIXELS = 89_478_485

#: A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if that is at least this many times
#: the target size. docs/user_guide.rst describes the effect.
DRAFT_MARGIN = 3

#: Formats that Pillow may read. Some of its other readers run programs (EPS) or open
#: other files that a file refers to.
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG",
    "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP",
)  # fmt: skip

_SRGB = ImageCms.createProfile("sRGB")


@dataclass(frozen=True)
class Framing:
    """How an image is resized to the input size of the network.

    Its ``repr`` is part of the key of every stored row.

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
    """

    image_size: tuple[int, int]
    resize: Resize
    interpolation: Interpolation = "bilinear"
    background: tuple[int, int, int] = BACKGROUND
    draft_margin: int = DRAFT_MARGIN
    fill_value: tuple[int, int, int] = (0, 0, 0)

    @property
    def resampling(self) -> Image.Resampling:
        """Pillow's constant for the interpolation."""
        return Image.Resampling[self.interpolation.upper()]


def decode_file(
    data: bytes, framing: Framing, max_pixels: int | None
) -> tuple[np.ndarray, bool]:
    """Return the pixels of an encoded image and whether they are :func:`is_dim`.

    The pixels are resized 8-bit RGB, or gray values from :func:`deep_values`.
    """
    formats = _formats()  # first: it imports modules that _SILENCE must patch
    with _SILENCE, Image.open(io.BytesIO(data), formats=formats) as image:
        check_size(image, max_pixels)
        _draft(image, framing)
        cuts_depth = is_cut_to_8_bits(image)
        whole = upright(image)
        if isinstance(whole, np.ndarray):
            return whole, False
        dim = cuts_depth and is_dim(whole)
        rgb = _to_rgb(whole, framing.background)
        return np.asarray(resize_image(rgb, framing, framing.fill_value)), dim


class _Silence:
    """Suppresses Pillow's warnings in the threads that have entered it.

    Pillow warns about unusual but readable files, and about large files, for which
    skvgg raises an error. Warning filters, and so ``warnings.catch_warnings``, affect
    the whole process, so they are not used. Instead, while any thread is inside, the
    name :mod:`warnings` in Pillow's modules refers to an object that passes on only the
    warnings of other threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._n_imported = 0
        self._modules: list[ModuleType] = []
        self._stand_in = _WarningsOfOtherThreads()

    def __enter__(self) -> None:
        with self._lock:
            self._n_inside += 1
            if self._n_inside == 1:
                if len(sys.modules) != self._n_imported:  # a search takes 50 us
                    self._n_imported = len(sys.modules)
                    self._modules = _modules_that_warn()
                for module in self._modules:
                    vars(module)["warnings"] = self._stand_in
        self._stand_in.here.is_quiet = True

    def __exit__(self, *_: object) -> None:
        self._stand_in.here.is_quiet = False
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                for module in self._modules:
                    vars(module)["warnings"] = warnings


class _WarningsOfOtherThreads:
    """The module :mod:`warnings`, but silent in the marked threads."""

    def __init__(self) -> None:
        self.here = threading.local()

    def warn(
        self,
        message: Warning | str,
        category: type[Warning] | None = None,
        stacklevel: int = 1,
        **others: Any,
    ) -> None:
        """Warn as :func:`warnings.warn` does, with the same source line."""
        if not getattr(self.here, "is_quiet", False):
            warnings.warn(message, category, stacklevel + 1, **others)

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)


def _modules_that_warn() -> list[ModuleType]:
    """Return Pillow's modules that have imported :mod:`warnings`."""
    return [
        module
        for name, module in [*sys.modules.items()]
        if name.startswith("PIL.") and vars(module).get("warnings") is warnings
    ]


_SILENCE = _Silence()


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


def is_decoded(image: Image.Image) -> bool:
    """Return whether the pixels of a PIL image are in memory.

    ``Image.open`` decodes pixels only when they are needed. Pillow has no public
    attribute for this.
    """
    if not isinstance(image, ImageFile.ImageFile):
        return True
    core = vars(image).get("_im", vars(image).get("im"))
    return core is not None and not getattr(image, "tile", None)


def _draft(image: Image.Image, framing: Framing) -> None:
    """Decode large JPEGs at a smaller size, which is faster; ignore other files."""
    side = framing.draft_margin * max(framing.image_size)
    image.draft(None, (side, side))


def upright(image: Image.Image) -> Image.Image | np.ndarray:
    """Apply the EXIF orientation; convert to 8-bit sRGB: L, RGB or RGBA.

    Images with more than 8 bits are returned as arrays, see :func:`deep_values`. If
    there is nothing to do, this returns `image` itself. The copy that Pillow would make
    takes 4 % of the total time for a photo of 500 x 375 pixels, and 12 % at 1600 x
    1200.
    """
    image.load()  # already rotates TIFFs, and may find the EXIF data of a PNG
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return deep_values(image)
    if image.has_transparency_data:
        return _to_srgb(image.convert("RGBA"))
    if image.mode in ("CMYK", "RGB", "L"):
        return _to_srgb(image)
    return image.convert("RGB")


def deep_values(image: Image.Image) -> np.ndarray:
    """Return 16-bit or 32-bit gray values as uint16, or as float32 for floats."""
    values = np.asarray(image)
    if image.mode != "I":
        return values
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 65535):
        raise ValueError(
            f"its 32-bit pixels lie in {low}..{high}, expected 0..65535: scale them "
            "first"
        )
    return values.astype(np.uint16)


def is_cut_to_8_bits(image: Image.Image) -> bool:
    """Return whether decoding keeps only the high byte of each value.

    Pillow has no mode for 16-bit color. This must be called before decoding.
    """
    for tile in getattr(image, "tile", ()):
        arguments = tile[3]
        raw = arguments if isinstance(arguments, str) else arguments[0]
        if isinstance(raw, str) and re.match(r"(RGB[AX]?|LA);16", raw):
            return True
    return False


def is_dim(image: Image.Image) -> bool:
    """Return whether the high bytes of colors lie in 0..15, as for 12-bit values."""
    return np.asarray(image)[..., :3].max() <= 15  # without alpha


def _to_srgb(image: Image.Image) -> Image.Image:
    """Convert from the embedded color profile to sRGB, if Pillow can."""
    target = "RGBA" if image.mode == "RGBA" else "RGB"
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                transform = ImageCms.buildTransform(source, _SRGB, image.mode, target)
                image = transform.apply(image)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # ignore a damaged or unsuitable profile
    return image if image.mode in ("L", target) else image.convert(target)


def _to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode == "RGBA":
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


def from_16_bits(array: np.ndarray) -> np.ndarray:
    """Return values in 0..65535 rounded to 0..255 (65535 is 257 times 255)."""
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
