"""Checks of the arguments that heads and fine-tuned estimators share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import compute_class_weight
from sklearn.utils.validation import _check_sample_weight

from skvgg._head.targets import Metrics, MultilabelTargets, Targets
from skvgg._typing import Callbacks, ClassWeight

#: Raised where nothing has a weight.
NO_WEIGHT = (
    "sample_weight is zero for all samples (with class_weight applied), so there is "
    "nothing to learn from."
)


def check_hidden_layer_sizes(sizes: ArrayLike) -> tuple[int, ...]:
    """Return the sizes as a tuple, or raise."""
    given = np.atleast_1d(np.asarray(sizes, dtype=object)).tolist()
    whole = all(isinstance(n, Integral) and not isinstance(n, bool) for n in given)
    if not whole or min(given, default=1) < 1:
        raise ValueError(
            f"hidden_layer_sizes={sizes!r} must be a sequence of positive integers."
        )
    return tuple(map(int, given))


def check_callbacks(callbacks: Callbacks) -> list[Callable[[int, Metrics], Any]]:
    """Return the callbacks as a list, or raise."""
    if callbacks is None:
        return []
    given: list[Any] = [callbacks] if callable(callbacks) else [*callbacks]
    for i, callback in enumerate(given):
        if not callable(callback):
            raise ValueError(
                f"callbacks[{i}] is a {type(callback).__name__}; expected a "
                "callable that takes the epoch number and a dict of metrics."
            )
    return given


def check_validation(X_val: Any, y_val: Any, sample_weight_val: Any) -> None:
    """Raise if only a part of the validation samples was passed."""
    if (X_val is None) != (y_val is None):
        given, missing = ("y_val", "X_val") if X_val is None else ("X_val", "y_val")
        raise ValueError(f"{given} was passed without {missing}; pass both or neither.")
    if X_val is None and sample_weight_val is not None:
        raise ValueError("sample_weight_val was passed without X_val and y_val.")


def check_weights(
    sample_weight: ArrayLike | None, X: Any, name: str = "sample_weight"
) -> np.ndarray:
    """Return weights as float64; raise a ValueError if one is negative."""
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
    if (weights < 0).any():
        index = int(np.argmax(weights < 0))
        raise ValueError(
            f"Negative values in data passed to `{name}`: {name}[{index}] is "
            f"{weights[index]:g}, expected 0 or more."
        )
    return weights


def class_weights(
    class_weight: ClassWeight, y: np.ndarray, targets: Targets
) -> np.ndarray | float:
    """Return the class weight of each sample; `targets` encode the labels y.

    A dict is checked against all classes, not only those in y: a batch may lack some of
    them. "balanced" counts the samples of y.
    """
    if class_weight is None:
        return 1.0
    if isinstance(targets, MultilabelTargets):
        raise ValueError("class_weight does not support multilabel targets; use None.")
    classes = targets.attributes()["classes_"]
    if isinstance(class_weight, Mapping):
        _check_class_weight(class_weight)
    else:
        classes = np.unique(y)
    weights = compute_class_weight(class_weight, classes=classes, y=y)
    return weights[np.searchsorted(classes, y)]


def _check_class_weight(class_weight: Mapping[Any, float]) -> None:
    """Raise a ValueError if a weight is not a finite number, 0 or more."""
    for label, weight in class_weight.items():
        if not isinstance(weight, Real) or not 0 <= float(weight) < np.inf:
            raise ValueError(
                f"class_weight[{label!r}] is {weight!r}; expected a finite number, 0 "
                "or more."
            )
