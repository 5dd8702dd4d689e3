"""Arrays of pixels: range, alpha channel and size."""

from __future__ import annotations

import numpy as np
from PIL import Image

from skvgg._images.errors import UnusableError
from skvgg._images.modes import from_16_bits
from skvgg._images.notes import Notes
from skvgg._images.pillow import Framing, name_non_finite, over, resize_image


def to_pixels(
    array: np.ndarray, background: tuple[int, int, int], notes: Notes
) -> np.ndarray:
    """Return pixels in 0..255 as uint8, or as float32 for float images."""
    pixels = _in_range(array)
    if pixels.ndim == 2 or pixels.shape[2] < 4:
        return pixels
    notes.check_alpha(pixels[..., 3])
    if pixels.dtype == np.uint8:
        return np.asarray(over(Image.fromarray(pixels), background))
    alpha = pixels[..., 3:] / np.float32(255)
    return pixels[..., :3] * alpha + np.array(background, np.float32) * (1 - alpha)


def _in_range(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return from_16_bits(array)
    low, high = array.min(), array.max()
    if (what := name_non_finite(low, high)) is not None:
        raise UnusableError(
            f"it contains {what}; expected 0..255 everywhere", "Repair or drop it."
        )
    if not (low >= 0 and high <= 255):
        hint = "Use dtype uint16 for 16-bit pixels. " if high > 255 else ""
        raise UnusableError(
            f"pixels lie in {low}..{high}; expected 0..255",
            f"{hint}Do not preprocess images, because the transformer does so.",
        )
    return array.astype(np.float32 if array.dtype.kind == "f" else np.uint8)


def resize_array(pixels: np.ndarray, framing: Framing) -> np.ndarray:
    """Resize an array, and convert gray to three channels."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[:2] != framing.image_size:
        fill = framing.fill_value
        if len(set(fill)) > 1 and pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)  # the padding has a color
        # Channels are resized separately, because Pillow has no float mode with three.
        planes = np.ascontiguousarray(np.moveaxis(pixels, 2, 0))
        channels = [
            np.asarray(resize_image(Image.fromarray(plane), framing, value))
            for plane, value in zip(planes, fill, strict=False)
        ]
        pixels = np.stack(channels, axis=2)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels)
