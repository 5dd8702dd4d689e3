"""Views: an image's pixels changed in a way that does not change its label."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class View(Protocol):
    """One way to look at an image; its ``repr`` is part of the key of its rows."""

    def __call__(self, pixels: np.ndarray, digest: bytes) -> np.ndarray:
        """Return the view's pixels.

        Parameters
        ----------
        pixels : ndarray of shape (height, width, 3), uint8
            RGB.
        digest : bytes
            Of the image's content: a view that is random draws from it, so that the
            same image has the same views wherever it comes.

        Returns
        -------
        ndarray of the same shape and type
        """
