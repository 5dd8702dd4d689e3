"""How targets become outputs of the network, and outputs become predictions.

All in which classification, multilabel classification and regression differ:
the output layer (and with it the loss), the encoding, the score.
"""

from __future__ import annotations

import re
from typing import Protocol

import numpy as np


class Targets(Protocol):
    """What the estimators need to know of their targets."""

    #: Activation of the output layer.
    out_activation: str

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Return y as float32 of shape (n, n_outputs)."""

    def decode(self, output: np.ndarray) -> np.ndarray:
        """Return the prediction for outputs of shape (n, n_outputs)."""

    def strata(self, Y: np.ndarray) -> np.ndarray | None:
        """Return what a split keeps the proportions of, as int, or None."""

    def score(self, Y: np.ndarray, output: np.ndarray, w: np.ndarray) -> float:
        """Return how good outputs are for encoded targets; more is better."""


class ClassTargets:
    """One of several classes a row.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    metric : str
        "accuracy" or "top_<k>_accuracy".
    """

    out_activation = "softmax"

    def __init__(self, classes: np.ndarray, metric: str = "accuracy") -> None:
        self.classes = classes
        self.k = parse_metric(metric)

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Return one-hot rows."""
        unknown = np.setdiff1d(y, self.classes)
        if len(unknown):
            raise ValueError(
                f"y has the class {unknown.tolist()[0]!r}, which is not one of the "
                f"classes known: {self.classes.tolist()}."
            )
        indices = np.searchsorted(self.classes, y)
        return np.eye(len(self.classes), dtype=np.float32)[indices]

    def decode(self, output: np.ndarray) -> np.ndarray:
        """Return the label of the largest output."""
        return self.classes[output.argmax(axis=1)]

    def strata(self, Y: np.ndarray) -> np.ndarray:
        """Return the index of each row's class."""
        return Y.argmax(axis=1)

    def score(self, Y: np.ndarray, output: np.ndarray, w: np.ndarray) -> float:
        """Return the share of rows whose class is among the k largest outputs."""
        true = np.take_along_axis(output, Y.argmax(axis=1)[:, None], axis=1)
        rank = (output > true).sum(axis=1)
        return float(np.average(rank < self.k, weights=w))


class MultilabelTargets:
    """Any number of several labels a row, as an indicator matrix."""

    out_activation = "logistic"

    def __init__(self, n_labels: int) -> None:
        self.n_labels = n_labels

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Return the indicators as floats."""
        if y.ndim != 2 or y.shape[1] != self.n_labels:
            raise ValueError(
                f"y has shape {y.shape}; expected (n_samples, {self.n_labels}), one "
                "column a label."
            )
        return y.astype(np.float32)

    def decode(self, output: np.ndarray) -> np.ndarray:
        """Return the indicators of the labels more probable than not."""
        return (output > 0.5).astype(int)

    def strata(self, Y: np.ndarray) -> None:
        """Return None: the split is at random."""

    def score(self, Y: np.ndarray, output: np.ndarray, w: np.ndarray) -> float:
        """Return the share of rows with all labels right."""
        right = ((output > 0.5) == (Y > 0.5)).all(axis=1)
        return float(np.average(right, weights=w))


class NumberTargets:
    """One or several numbers a row.

    Parameters
    ----------
    n_outputs : int or None
        Numbers a row; None for one, given and predicted as a 1-D array.
    """

    out_activation = "identity"

    def __init__(self, n_outputs: int | None) -> None:
        self.n_outputs = n_outputs

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Return one column a number."""
        Y = y.reshape(len(y), -1).astype(np.float32)
        if Y.shape[1] != (self.n_outputs or 1):
            raise ValueError(f"y has {Y.shape[1]} targets; expected {self.n_outputs}.")
        return Y

    def decode(self, output: np.ndarray) -> np.ndarray:
        """Return the outputs in the shape that y had."""
        output = output.astype(np.float64)
        return output.ravel() if self.n_outputs is None else output

    def strata(self, Y: np.ndarray) -> None:
        """Return None: the split is at random."""

    def score(self, Y: np.ndarray, output: np.ndarray, w: np.ndarray) -> float:
        """Return R2, the mean over targets; NaN where it is not defined."""
        residual = np.average((Y - output) ** 2, axis=0, weights=w)
        spread = np.average(
            (Y - np.average(Y, axis=0, weights=w)) ** 2, axis=0, weights=w
        )
        if not spread.all():
            return float("nan")
        return float(np.mean(1 - residual / spread))


def parse_metric(metric: str) -> int:
    """Return k of "top_<k>_accuracy", 1 of "accuracy".

    Raises
    ------
    ValueError
        If `metric` is neither.
    """
    match = re.fullmatch(r"(?:top_([1-9]\d*)_)?accuracy", metric)
    if match is None:
        raise ValueError(
            f"metric={metric!r} is unknown; expected 'accuracy' or 'top_<k>_accuracy', "
            "for instance 'top_3_accuracy'."
        )
    return int(match[1] or 1)
