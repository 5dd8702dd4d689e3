"""Views: an image's pixels changed in a way that does not change its label."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from PIL import Image

#: What :class:`RandomCrop` keeps of an image's area at least, and between which ratios
#: of width to height its crops lie: milder than the 0.08 that is usual where a network
#: is trained from scratch (Szegedy et al., "Going deeper with convolutions", CVPR 2015,
#: section 6), as an image has but a few views.
_LEAST_AREA, _RATIOS = 0.5, (3 / 4, 4 / 3)


class View(Protocol):
    """One way to look at an image; its ``repr`` is part of the key of its rows."""

    def __call__(self, pixels: np.ndarray, digest: bytes) -> np.ndarray:
        """Return the view's pixels.

        Parameters
        ----------
        pixels : ndarray of shape (height, width, 3), uint8 or float32
            RGB in 0..255.
        digest : bytes
            Of the image's content: a view that is random draws from it, so that the
            same image has the same views wherever it comes.

        Returns
        -------
        ndarray of the same shape
        """


@dataclass(frozen=True)
class Flip:
    """The image in a mirror."""

    left_right: bool
    up_down: bool

    def __call__(self, pixels: np.ndarray, digest: bytes) -> np.ndarray:
        rows, columns = (slice(None, None, -1 if f else 1) for f in self._axes)
        return np.ascontiguousarray(pixels[rows, columns])

    @property
    def _axes(self) -> tuple[bool, bool]:
        return self.up_down, self.left_right


@dataclass(frozen=True)
class RandomCrop:
    """A part of the image, brought back to its size, in a mirror half of the time."""

    index: int
    seed: int

    def __call__(self, pixels: np.ndarray, digest: bytes) -> np.ndarray:
        rng, pixels = _rng(self.seed, self.index, digest), _whole(pixels)
        height, width = pixels.shape[:2]
        area = height * width * rng.uniform(_LEAST_AREA, 1)
        low, high = map(math.log, _RATIOS)
        ratio = math.exp(rng.uniform(low, high)) * width / height
        w = min(max(round(math.sqrt(area * ratio)), 1), width)
        h = min(max(round(math.sqrt(area / ratio)), 1), height)
        left, top = rng.integers(width - w + 1), rng.integers(height - h + 1)
        image = Image.fromarray(pixels)
        box = left, top, left + w, top + h
        crop = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box))
        return np.ascontiguousarray(crop[:, ::-1]) if rng.random() < 0.5 else crop


@dataclass(frozen=True)
class Changed:
    """What a function of the user's makes of the image.

    Nothing tells two functions apart, so its rows are not found again by a later fit.
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
                f"and type {changed.dtype}; expected {pixels.shape}, uint8, as it was "
                "given."
            )
        return changed


def _whole(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as uint8: images of floats come with fractions."""
    if pixels.dtype == np.uint8:
        return pixels
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _rng(seed: int, index: int, digest: bytes) -> np.random.Generator:
    return np.random.default_rng([seed, index, *digest])


#: By the name of `augment`: all views but the image itself.
FLIPS: dict[str, tuple[View, ...]] = {
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
        Views of "crop" and of a callable.
    seed : int
        Of the views that are random.
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
