"""Views: changes to the pixels of an image that do not change its label."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

#: Minimum area of the crops of :class:`RandomCrop`, as a fraction of the image, and
#: range of their aspect ratio relative to the image. The area is larger than the 0.08
#: that is common for training from scratch (Szegedy et al., "Going deeper with
#: convolutions", CVPR 2015, section 6), because an image has only a few views.
_LEAST_AREA, _RATIOS = 0.5, (3 / 4, 4 / 3)


class View(Protocol):
    """A view of an image; its ``repr`` is part of the key of its rows."""

    def __call__(self, pixels: np.ndarray, digest: bytes) -> np.ndarray:
        """Return the pixels of the view.

        Parameters
        ----------
        pixels : ndarray of shape (height, width, 3), uint8 or float32
            RGB in 0..255.
        digest : bytes
            Digest of the image's content. Random views use it as a seed, so that the
            same image always has the same views.

        Returns
        -------
        ndarray of the same shape
        """


class FixedView(View, Protocol):
    """A view of known geometry."""

    def place_back(
        self, values: np.ndarray, digest: bytes, image_size: tuple[int, int]
    ) -> np.ndarray:
        """Return a map of the view as a map of the image.

        Parameters
        ----------
        values : ndarray of shape (map height, map width)
            Amounts per location of the view.
        digest : bytes
            Digest of the image's content.
        image_size : tuple of (int, int)
            Height and width of the image in pixels.

        Returns
        -------
        ndarray of shape (map height, map width)
            Amounts per location of the image; zero outside the view.
        """


@dataclass(frozen=True)
class Flip:
    """The image flipped left-right, upside down, or both."""

    left_right: bool
    up_down: bool

    def __call__(self, pixels: np.ndarray, digest: bytes) -> np.ndarray:
        rows, columns = (slice(None, None, -1 if f else 1) for f in self._axes)
        return np.ascontiguousarray(pixels[rows, columns])

    def place_back(
        self, values: np.ndarray, digest: bytes, image_size: tuple[int, int]
    ) -> np.ndarray:
        return self(values, digest)

    @property
    def _axes(self) -> tuple[bool, bool]:
        return self.up_down, self.left_right


@dataclass(frozen=True)
class RandomCrop:
    """A random crop, resized to the size of the image and flipped half of the time."""

    index: int
    seed: int

    def __call__(self, pixels: np.ndarray, digest: bytes) -> np.ndarray:
        pixels = _whole(pixels)
        height, width = pixels.shape[:2]
        (left, top, w, h), is_flipped = self._draw(height, width, digest)
        image = Image.fromarray(pixels)
        box = left, top, left + w, top + h
        crop = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box))
        return np.ascontiguousarray(crop[:, ::-1]) if is_flipped else crop

    def place_back(
        self, values: np.ndarray, digest: bytes, image_size: tuple[int, int]
    ) -> np.ndarray:
        height, width = image_size
        (left, top, w, h), is_flipped = self._draw(height, width, digest)
        n_rows, n_columns = values.shape
        # Where the centers of the image's locations lie in the crop, in 0..1.
        rows = (np.arange(n_rows) + 0.5) / n_rows * (height / h) - top / h
        columns = (np.arange(n_columns) + 0.5) / n_columns * (width / w) - left / w
        is_inside = np.outer((rows > 0) & (rows < 1), (columns > 0) & (columns < 1))
        if is_flipped:
            columns = 1 - columns
        places = np.meshgrid(
            rows * n_rows - 0.5, columns * n_columns - 0.5, indexing="ij"
        )
        found = map_coordinates(values, places, order=1, mode="nearest")
        # A location of the image is more than one of the crop.
        return found * is_inside * (height * width / (h * w))

    def _draw(
        self, height: int, width: int, digest: bytes
    ) -> tuple[tuple[int, int, int, int], bool]:
        """Return the crop (left, top, width, height), and whether it is flipped."""
        rng = _rng(self.seed, self.index, digest)
        area = height * width * rng.uniform(_LEAST_AREA, 1)
        low, high = map(math.log, _RATIOS)
        ratio = math.exp(rng.uniform(low, high)) * width / height
        w = min(max(round(math.sqrt(area * ratio)), 1), width)
        h = min(max(round(math.sqrt(area / ratio)), 1), height)
        left, top = rng.integers(width - w + 1), rng.integers(height - h + 1)
        return (int(left), int(top), w, h), bool(rng.random() < 0.5)


@dataclass(frozen=True)
class Changed:
    """The image changed by a function of the user.

    Functions cannot be compared reliably, so later fits do not reuse its rows.
    """

    function: Callable[[np.ndarray, np.random.Generator], Any] = field(repr=False)
    index: int
    seed: int
    fit: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __call__(self, pixels: np.ndarray, digest: bytes) -> np.ndarray:
        rng, pixels = _rng(self.seed, self.index, digest), _whole(pixels)
        changed = np.asarray(self.function(pixels.copy(), rng))
        if changed.shape != pixels.shape or changed.dtype != np.uint8:
            raise TypeError(
                f"augment={self.function!r} returned an array of shape {changed.shape} "
                f"and dtype {changed.dtype}; expected shape {pixels.shape} and dtype "
                "uint8, as in its input."
            )
        return changed


def _whole(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as uint8; float images are rounded."""
    if pixels.dtype == np.uint8:
        return pixels
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _rng(seed: int, index: int, digest: bytes) -> np.random.Generator:
    return np.random.default_rng([seed, index, *digest])


#: All views except the image itself, by the value of `augment`.
FLIPS: dict[str, tuple[Flip, ...]] = {
    "flip": (Flip(True, False),),
    "flips": (Flip(True, False), Flip(False, True), Flip(True, True)),
}


def make_views(
    augment: str | Callable[..., Any] | None, n_views: int, seed: int
) -> tuple[View | None, ...]:
    """Return the views of each image; the first is the image itself, None.

    Parameters
    ----------
    augment : {"flip", "flips", "crop"}, callable or None
        As in :class:`skvgg.VGG19Classifier`.
    n_views : int
        Number of views of "crop" and of a callable, including the image itself.
    seed : int
        Seed of random views.
    """
    if augment is None:
        return (None,)
    if isinstance(augment, str) and augment in FLIPS:
        return (None, *FLIPS[augment])
    indices = range(1, n_views)
    if augment == "crop":
        return (None, *(RandomCrop(index, seed) for index in indices))
    assert callable(augment)
    return (None, *(Changed(augment, index, seed) for index in indices))
