"""Checks of labels: one per image, no missing values, only classes."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from skvgg._images import Images
from skvgg._runtime.missing import is_missing


def check_labels(y: Any, name: str) -> np.ndarray:
    """Check labels, which are not continuous, and return them as an array."""
    y = check_targets(y, name)
    check_classification_targets(y)
    return y


def check_targets(y: Any, name: str) -> np.ndarray:
    """Check that no targets are missing and return them as an array."""
    y = column_or_1d(y)
    if y.dtype == object and all(isinstance(label, Real) for label in y.tolist()):
        y = np.array(y.tolist())
    missing = [i for i, label in enumerate(y.tolist()) if is_missing(label)]
    if missing:
        raise ValueError(
            f"{name}[{missing[0]}] is {y.tolist()[missing[0]]!r}; expected a label. "
            "Drop the image, or add a label."
        )
    return y


def check_classes(labels: Any) -> np.ndarray:
    """Check that classes are unique and return them as an array."""
    classes = column_or_1d(labels)
    values, counts = np.unique(classes, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"labels={classes.tolist()!r:.200} has {values[counts > 1].tolist()[0]!r} "
            "more than once; expected each class once, in the order of the columns of "
            "y_proba."
        )
    return classes


def encode_labels(y: np.ndarray, classes: np.ndarray, name: str) -> np.ndarray:
    """Return the index of the class of each label."""
    columns = {label: column for column, label in enumerate(classes.tolist())}
    codes = [columns.get(label, -1) for label in y.tolist()]
    if -1 in codes:
        index = codes.index(-1)
        raise ValueError(
            f"{name}[{index}] is {y.tolist()[index]!r}, which is not one of the "
            f"classes {', '.join(map(repr, columns))}. Pass all classes as labels, in "
            "the order of the columns of y_proba."
        )
    return np.array(codes)


def check_same_length(images: Images, y: Any, name: str, input_name: str = "X") -> None:
    """Raise an error unless there is one label per image."""
    if y is None:
        raise ValueError(
            f"{name} is None; pass the labels of {input_name}, one for each of its "
            f"{len(images)} images."
        )
    try:
        check_consistent_length(images, y)
    except ValueError as error:
        raise ValueError(
            f"{input_name} has {len(images)} images and {name} has {len(y)} labels; "
            "expected one label per image."
        ) from error
