"""Errors and warnings that skvgg defines."""

from __future__ import annotations

from typing import Any, Self

__all__ = ["BadImageWarning", "ImageError", "ImageNotFoundError", "ImageWarning"]


class _OfImage(Exception):  # noqa: N818
    """What errors and warnings about one image have in common."""

    def __init__(
        self,
        index: int,
        path: str | bytes | None,
        reason: str,
        remedy: str = "",
        input_name: str = "X",
    ) -> None:
        super().__init__(index, path, reason, remedy, input_name)
        self.index = index
        self.path = path
        self.reason = reason
        self.remedy = remedy
        self.input_name = input_name

    def __str__(self) -> str:
        name = describe_image(self.index, self.path, self.input_name)
        return f"{name}: {self.explanation}"

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError keeps only some of its arguments.
        fields = self.index, self.path, self.reason, self.remedy, self.input_name
        return type(self), fields, vars(self)

    @property
    def explanation(self) -> str:
        """The message without the name of the image: the reason and the remedy."""
        return f"{self.reason}. {self.remedy}".rstrip()

    def shifted(self, n: int) -> Self:
        """Return the same for the image `n` places later.

        For example, X may be a part that starts at index `n` of a whole.
        """
        return self.of(self.index + n, self.path)

    def of(
        self, index: int, path: str | bytes | None, input_name: str | None = None
    ) -> Self:
        """Return the same for another index, path or name of X."""
        name = self.input_name if input_name is None else input_name
        return type(self)(index, path, self.reason, self.remedy, name)


class ImageError(_OfImage, ValueError):
    """Error raised when an image cannot be used.

    Parameters
    ----------
    index : int
        Index of the image in X.
    path : str, bytes or None
        Path of its file, if it has one.
    reason : str
        What is wrong.
    remedy : str, default=""
        What to do.
    input_name : str, default="X"
        Name of the argument that holds the images.

    Attributes
    ----------
    index, path, reason, remedy, input_name
        The parameters.
    explanation : str
        The message without the name of the image.

    Examples
    --------
    >>> import numpy as np
    >>> from skvgg import VGG19Features
    >>> from skvgg.exceptions import ImageError
    >>> features = VGG19Features(None, random_state=0)
    >>> try:
    ...     features.transform([np.zeros((32, 32), "uint8"), "nowhere.jpg"])
    ... except ImageError as error:
    ...     print(error.index, error.path, error.reason)
    1 nowhere.jpg no such file
    """


class ImageNotFoundError(ImageError, FileNotFoundError):
    """Error raised when the file of an image does not exist.

    It has the attributes of :class:`ImageError`.

    Parameters
    ----------
    index : int
        Index of the image in X.
    path : str, bytes or None
        Path of its file, if it has one.
    reason : str
        What is wrong.
    remedy : str, default=""
        What to do.
    input_name : str, default="X"
        Name of the argument that holds the images.
    """


class ImageWarning(_OfImage, UserWarning):
    """Warning raised when an image is used, but may not be what it seems.

    It has the attributes of :class:`ImageError`.

    Parameters
    ----------
    index : int
        Index of the image in X.
    path : str, bytes or None
        Path of its file, if it has one.
    reason : str
        What was noticed.
    remedy : str, default=""
        What to do.
    input_name : str, default="X"
        Name of the argument that holds the images.
    """


class BadImageWarning(UserWarning):
    """Warning raised when some images cannot be used and their rows are NaN.

    Parameters
    ----------
    message : str
        The number of bad images, and the problems with the first ones.
    bad_images : dict of int to ImageError
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
    >>> bad = caught[0].message.bad_images
    >>> bad[1].reason
    'no such file'
    """

    def __init__(self, message: str, bad_images: dict[int, ImageError]) -> None:
        super().__init__(message)
        self.bad_images = bad_images

    def __reduce__(self) -> tuple[object, ...]:
        # The default __reduce__ of exceptions drops bad_images.
        return type(self), (str(self), self.bad_images), vars(self)


def describe_image(index: int, path: str | bytes | None, input_name: str = "X") -> str:
    """Return the name of an image in messages: its index and its path, if any."""
    name = f"{input_name}[{index}]"
    return name if path is None else f"{name} ({path!r})"
