"""Warnings that skvgg defines."""

from __future__ import annotations

__all__ = ["BadImageWarning"]


class BadImageWarning(UserWarning):
    """Warning raised when some images cannot be used and their rows are NaN.

    Parameters
    ----------
    message : str
        The number of bad images, and the problem with the first one.
    bad_images : dict of int to str
        The problem with each bad image, by its index in X. Kept as an attribute.

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
        # The default __reduce__ of exceptions drops bad_images.
        return type(self), (str(self), self.bad_images), vars(self)
