"""Errors of checks that do not know which image they check."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import UnidentifiedImageError

from skvgg.exceptions import ImageError, ImageNotFoundError


class UnusableError(Exception):
    """Error raised by a check; :func:`naming` adds which image it is.

    Parameters
    ----------
    reason, remedy : str
        As in :class:`skvgg.exceptions.ImageError`.
    """

    #: What :func:`naming` raises instead.
    named: type[ImageError] = ImageError

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.reason}. {self.remedy}"


class MissingFileError(UnusableError):
    """Error raised by a check if there is no file."""

    named = ImageNotFoundError


@contextmanager
def naming(index: int, path: str | bytes | None) -> Iterator[None]:
    """Raise all errors about an image as an :class:`ImageError`."""
    try:
        yield
    except UnusableError as error:
        raise error.named(index, path, error.reason, error.remedy) from None
    except Exception as error:  # Pillow's plug-ins raise nearly anything
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):  # its message names our stream
            reason = "in no format that skvgg reads"
        raise ImageError(
            index,
            path,
            f"not an image that can be used ({reason})",
            "Repair or drop it.",
        ) from error
