"""Warnings of skvgg's own."""

from __future__ import annotations

__all__ = ["BadImageWarning"]


class BadImageWarning(UserWarning):
    """Some images could not be used, and their rows are NaN.

    Parameters
    ----------
    message : str
        How many, and what is wrong with the first of them.
    bad_images : dict of int to str
        What is wrong with each, by its index in X; kept as an attribute.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from skvgg import BadImageWarning, VGG19Features
    >>> features = VGG19Features(
    ...     None, layer="block1_pool", image_size=32, random_state=0, on_error="nan"
    ... )
    >>> images = [np.zeros((32, 32), "uint8"), "nowhere.jpg"]
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always", BadImageWarning)
    ...     rows = features.transform(images)
    >>> list(caught[0].message.bad_images)
    [1]
    """

    def __init__(self, message: str, bad_images: dict[int, str]) -> None:
        super().__init__(message)
        self.bad_images = bad_images

    def __reduce__(self) -> tuple[object, ...]:
        # An exception's own way would leave bad_images out of the call.
        return type(self), (str(self), self.bad_images), vars(self)
