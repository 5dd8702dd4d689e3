"""Images in two parts, X and X_test, with a common index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from skvgg._images import Images, is_whole
from skvgg.exceptions import ImageError
from skvgg.plotting._labels import check_same_length
from skvgg.plotting._pipeline import check_rows, read_as
from skvgg.plotting._thumbnails import make_thumbnails, path_at


@dataclass(frozen=True)
class Parts:
    """Images of two parts; the indices of the second follow those of the first."""

    images: Images
    images_test: Images = ()

    def __len__(self) -> int:
        return len(self.images) + len(self.images_test)

    def place(self, index: int) -> tuple[str, int]:
        """Return the name of the part of an image, and the index in that part."""
        n = len(self.images)
        return ("X", index) if index < n else ("X_test", index - n)

    def check_indices(self, indices: Any) -> None:
        """Check that there are neighbors, and indices of images or None."""
        if len(self) < 2:
            raise ValueError("There is only one image; expected at least two.")
        if indices is None:
            return
        indices = np.atleast_1d(indices).tolist()
        wrong = [i for i in indices if not (is_whole(i) and 0 <= i < len(self))]
        if wrong or not indices:
            problem = f"{wrong[0]!r} is invalid" if wrong else "it is empty"
            raise ValueError(
                f"indices={indices!r:.200}: {problem}; expected indices of images, "
                f"0 to {len(self) - 1}."
            )

    def path(self, index: int) -> str | None:
        """Return the path of an image, or None."""
        part, place = self.place(index)
        return path_at(self.images if part == "X" else self.images_test, place)

    def thumbnails(
        self, indices: list[int], max_pixels: int | None
    ) -> dict[int, np.ndarray]:
        """Return the thumbnails of images, by index."""
        n = len(self.images)
        first = [index for index in indices if index < n]
        second = [index for index in indices if index >= n]
        made = make_thumbnails(self.images, first, max_pixels)
        with naming("X_test"):
            shifted = [index - n for index in second]
            made += make_thumbnails(self.images_test, shifted, max_pixels)
        return dict(zip([*first, *second], made, strict=True))


def read_parts(
    estimator: Any, X: Any, X_test: Any, instead: str = ""
) -> tuple[Parts, int | None]:
    """Return both parts and the maximum image size, as :func:`read_as` does."""
    images, max_pixels = read_as(estimator, X, instead)
    if X_test is None:
        return Parts(images), max_pixels
    with naming("X_test"):
        return Parts(images, read_as(estimator, X_test, instead)[0]), max_pixels


def join_labels(parts: Parts, y: Any, y_test: Any) -> list[Any] | None:
    """Return the labels of both parts, or None without labels."""
    if y is None and y_test is None:
        return None
    if y is None or (y_test is None and len(parts.images_test)):
        raise ValueError("Pass both y and y_test, or neither.")
    check_same_length(parts.images, y, "y")
    labels = _to_list(y)
    if y_test is not None:
        check_same_length(parts.images_test, y_test, "y_test", "X_test")
        labels += _to_list(y_test)
    return labels


def _to_list(y: Any) -> list[Any]:
    """Return labels as they are; they may be a table of one column."""
    labels = np.asarray(y)  # column_or_1d makes floats of pandas' Int64
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    return list(labels.tolist())


def check_features(features: Any, images: Images, name: str) -> np.ndarray:
    """Check that features have one row per image, and return them."""
    rows = check_rows(features, name)
    if len(rows) != len(images):
        raise ValueError(
            f"{name} has {len(images)} images and there are {len(rows)} rows of "
            "features; expected one row per image."
        )
    return rows


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Name the argument that is called X in errors about images."""
    try:
        yield
    except ImageError as error:
        raise error.of(error.index, error.path, name) from error
    except ValueError as error:
        error.add_note(f"X is {name} here.")
        raise
