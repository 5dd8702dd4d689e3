"""The gradient of a score with respect to a row of features, through all steps."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.feature_selection import SelectorMixin
from sklearn.preprocessing import MaxAbsScaler, RobustScaler, StandardScaler

from skvgg.plotting._differences import difference_gradient
from skvgg.plotting._scores import score_gradient


def row_gradient(steps: Sequence[Any], row: np.ndarray, target: Any) -> np.ndarray:
    """Return the gradient of the score of a target, as in :func:`score_gradient`.

    The steps are fitted transformers, followed by a classifier or regressor.
    """
    *transformers, head = steps
    with warnings.catch_warnings():
        # Steps may have been fitted on DataFrames; here they get arrays.
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        given = [np.asarray(row, np.float64)]
        for step in transformers:
            given.append(_transform(step, given[-1][None])[0])
        gradient = score_gradient(head, given[-1], target)
        for step, x in zip(transformers[::-1], given[-2::-1], strict=True):
            gradient = _pull_back(step, x, gradient)
    return gradient


def _transform(step: Any, rows: np.ndarray) -> np.ndarray:
    transformed = step.transform(rows)
    if hasattr(transformed, "toarray"):
        transformed = transformed.toarray()
    return np.asarray(transformed, np.float64)


def _pull_back(step: Any, x: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return the gradient with respect to x, the input of a step."""
    is_scaler = isinstance(step, StandardScaler | RobustScaler | MaxAbsScaler)
    if is_scaler and not getattr(step, "clip", False):
        return gradient if step.scale_ is None else gradient / step.scale_
    if isinstance(step, SelectorMixin):
        before = np.zeros(len(x))
        before[step.get_support()] = gradient
        return before
    return difference_gradient(lambda rows: _transform(step, rows) @ gradient, x)
