"""Find probable label errors by confident learning.

C. Northcutt, L. Jiang, I. Chuang, "Confident learning: Estimating uncertainty in
dataset labels", JAIR 70, 2021.
"""

from __future__ import annotations

import numpy as np

#: Smallest difference between probabilities, the same as in cleanlab.
_TOLERANCE = 1e-6


def find_label_errors(codes: np.ndarray, y_proba: np.ndarray) -> np.ndarray:
    """Return the indices of probable label errors, least probable label first.

    A sample confidently belongs to a class if its probability is at least the mean
    probability of the samples with that label (section 3.1). If there are several such
    classes, it belongs to the most probable class, which as in cleanlab may be any
    class. A label is suspected if the sample belongs to another class, that is, off the
    diagonal of the confident joint (section 3.2, method 2), unless the label is the
    most probable class. `codes` are the columns of the labels in `y_proba`.
    """
    own = y_proba[np.arange(len(codes)), codes]
    is_confident = y_proba >= _thresholds(codes, own, y_proba.shape[1]) - _TOLERANCE
    n_confident = is_confident.sum(axis=1)
    most_probable = y_proba.argmax(axis=1)
    belongs_to = np.where(n_confident > 1, most_probable, is_confident.argmax(axis=1))
    others = y_proba.copy()
    others[np.arange(len(codes)), codes] = -np.inf
    is_label_unlikely = others.max(axis=1) > own + _TOLERANCE
    suspected = (n_confident > 0) & (belongs_to != codes) & is_label_unlikely
    indices = np.flatnonzero(suspected)
    return indices[np.argsort(own[indices], kind="stable")]


def _thresholds(codes: np.ndarray, own: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the mean probability of each class over the samples with that label.

    It is infinite for classes without samples.
    """
    counts = np.bincount(codes, minlength=n_classes)
    sums = np.bincount(codes, own, minlength=n_classes)
    means = np.divide(sums, counts, out=np.full(n_classes, np.inf), where=counts > 0)
    return np.maximum(means, 2 * _TOLERANCE)
