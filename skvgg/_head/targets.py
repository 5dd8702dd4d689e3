"""Conversion between targets and network outputs, and metrics.

This module contains everything in which classification, multilabel classification and
regression differ: the output layer (which determines the loss), the encoding, the
score, and the best constant prediction.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from scipy.special import entr
from sklearn.base import is_regressor
from sklearn.utils.multiclass import check_classification_targets, type_of_target

#: Minimum reduction of the loss, relative to that of the best constant prediction, for
#: something to be learned; and for it to be learned whatever the accuracy.
_NOTICEABLE, _CLEAR = 1e-3, 0.1

#: A loss below this fraction of its unit is good, whatever the baseline loss.
_SMALL = 1e-2

#: The loss and the score of an epoch, by name.
Metrics = dict[str, float]


class Targets(ABC):
    """Encoding, loss and score of targets."""

    #: Activation of the output layer.
    out_activation: str
    #: Name of the score in the history.
    score_name: str

    @abstractmethod
    def attributes(self) -> dict[str, Any]:
        """Return the fitted attributes that describe the targets."""

    @abstractmethod
    def encode(self, y: np.ndarray) -> np.ndarray:
        """Return y as floats of shape (n, n_outputs)."""

    @abstractmethod
    def decode(self, output: np.ndarray) -> np.ndarray:
        """Return the prediction for outputs of shape (n, n_outputs)."""

    @abstractmethod
    def score(self, Y: np.ndarray, output: np.ndarray, w: np.ndarray) -> float:
        """Return the score of outputs for encoded targets; higher is better."""

    @abstractmethod
    def baseline_loss(self, Y: np.ndarray, w: np.ndarray) -> float:
        """Return the weighted mean loss of the best constant output."""

    def unit_of_loss(self, Y: np.ndarray) -> float:
        """Return the typical magnitude of the loss: 1 nat."""
        return 1.0

    def is_learned(
        self, loss: float, Y: np.ndarray, output: np.ndarray, w: np.ndarray
    ) -> bool:
        """Return whether training outputs are better than the best constant output.

        If nearly all targets are equal, a constant is nearly perfect, and a small loss
        is good enough.
        """
        is_lower = loss < (1 - _NOTICEABLE) * self.baseline_loss(Y, w)
        return is_lower or loss < _SMALL * self.unit_of_loss(Y)

    def strata(self, Y: np.ndarray) -> np.ndarray | None:
        """Return the labels for stratified splits, as int, or None."""
        return None

    def check_score(self, Y: np.ndarray, w: np.ndarray) -> None:
        """Raise if the score is undefined for these targets."""
        return

    def scaled(self, scale: np.ndarray) -> Targets:
        """Return the encoding of these targets divided by `scale`."""
        raise NotImplementedError

    def metrics(
        self, loss: float, Y: np.ndarray, output: np.ndarray, w: np.ndarray
    ) -> Metrics:
        """Return the loss and the score, by name."""
        return {"loss": loss, self.score_name: self.score(Y, output, w)}


class ClassTargets(Targets):
    """One of several classes per sample.

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
        self.score_name = metric

    def attributes(self) -> dict[str, Any]:
        """Return the classes."""
        return {"classes_": self.classes}

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Return one-hot rows."""
        if y.ndim != 1:
            raise ValueError(
                f"y has shape {y.shape}; expected (n_samples,), one label per sample, "
                "as in the last fit. Use y.argmax(axis=1) if y is one-hot."
            )
        unknown = np.setdiff1d(y, self.classes)
        if len(unknown):
            raise ValueError(
                f"y has the class {unknown.tolist()[0]!r}, which is not one of the "
                f"known classes: {self.classes.tolist()}."
            )
        indices = np.searchsorted(self.classes, y)
        return np.eye(len(self.classes), dtype=np.float32)[indices]

    def decode(self, output: np.ndarray) -> np.ndarray:
        """Return the label of the largest output."""
        return self.classes[output.argmax(axis=1)]

    def strata(self, Y: np.ndarray) -> np.ndarray:
        """Return the class index of each sample."""
        return Y.argmax(axis=1)

    def score(self, Y: np.ndarray, output: np.ndarray, w: np.ndarray) -> float:
        """Return the fraction of samples whose class is among the k largest outputs."""
        true = np.take_along_axis(output, Y.argmax(axis=1)[:, None], axis=1)
        rank = (output > true).sum(axis=1)
        return float(np.average(rank < self.k, weights=w))

    def is_learned(
        self, loss: float, Y: np.ndarray, output: np.ndarray, w: np.ndarray
    ) -> bool:
        """Return whether loss and accuracy are better than those of constants.

        The accuracy does not need to be better if the loss clearly is: the
        probabilities of a rare class may be informative even if it is never the most
        probable class. If only one class has weight, it just has to be predicted.
        """
        frequencies = np.average(Y, axis=0, weights=w)
        hits = np.average(Y[np.arange(len(Y)), output.argmax(axis=1)], weights=w)
        if np.count_nonzero(frequencies) == 1:
            return bool(hits == 1)
        return super().is_learned(loss, Y, output, w) and (
            hits > frequencies.max()
            or frequencies.max() > 1 - _SMALL
            or loss < (1 - _CLEAR) * self.baseline_loss(Y, w)
        )

    def baseline_loss(self, Y: np.ndarray, w: np.ndarray) -> float:
        """Return the loss of always predicting the class frequencies: their entropy."""
        return float(w.mean() * entr(np.average(Y, axis=0, weights=w)).sum())


class MultilabelTargets(Targets):
    """Any number of labels per sample, as an indicator matrix.

    Parameters
    ----------
    classes : ndarray of shape (n_labels,)
        The label of each column of the matrix.
    metric : str
        "accuracy", the fraction of samples with all labels correct.
    """

    out_activation = "logistic"
    score_name = "accuracy"

    def __init__(self, classes: np.ndarray, metric: str = "accuracy") -> None:
        if parse_metric(metric) > 1 or metric != "accuracy":
            raise ValueError(
                f"metric={metric!r} needs one label per sample; multilabel targets "
                "support only 'accuracy'."
            )
        self.classes = classes

    def attributes(self) -> dict[str, Any]:
        """Return the labels."""
        return {"classes_": self.classes}

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Return the indicators as floats."""
        if y.ndim != 2 or y.shape[1] != len(self.classes):
            raise ValueError(
                f"y has shape {y.shape}; expected (n_samples, {len(self.classes)}), "
                "one column per label."
            )
        wrong = (y != 0) & (y != 1)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise ValueError(
                f"y[{row}, {column}] is {y[row, column]}; an indicator matrix of "
                "labels contains only 0 and 1. Use y > 0 if larger values mean that "
                "a label is present."
            )
        return y.astype(np.float32)

    def decode(self, output: np.ndarray) -> np.ndarray:
        """Return an indicator matrix of labels with a probability above 0.5."""
        return (output > 0.5).astype(int)

    def score(self, Y: np.ndarray, output: np.ndarray, w: np.ndarray) -> float:
        """Return the fraction of samples with all labels correct."""
        right = ((output > 0.5) == (Y > 0.5)).all(axis=1)
        return float(np.average(right, weights=w))

    def baseline_loss(self, Y: np.ndarray, w: np.ndarray) -> float:
        """Return the loss of always predicting the label frequencies."""
        p = np.average(Y, axis=0, weights=w)
        return float(w.mean() * np.mean(entr(p) + entr(1 - p)))


class NumberTargets(Targets):
    """One or several numbers per sample.

    Parameters
    ----------
    n_outputs : int
        Number of targets per sample. One target is 1-D.
    scale : ndarray of shape (n_outputs,) or None
        Scale by which the network's targets were divided; None if they are unscaled.
    """

    out_activation = "identity"
    score_name = "r2"

    def __init__(self, n_outputs: int, scale: np.ndarray | None = None) -> None:
        self.n_outputs = n_outputs
        self.scale = scale

    def attributes(self) -> dict[str, Any]:
        """Return the number of targets."""
        return {"n_outputs_": self.n_outputs}

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Return one column per target, float64."""
        Y = y.reshape(len(y), -1).astype(np.float64)
        if Y.shape[1] != self.n_outputs:
            raise ValueError(
                f"y has {Y.shape[1]} targets per sample; expected {self.n_outputs}, "
                "as in the last fit."
            )
        if not np.isfinite(Y).all():
            row, column = np.argwhere(~np.isfinite(Y))[0]
            what = "NaN" if np.isnan(Y[row, column]) else "infinity"
            raise ValueError(f"Input y contains {what}, in row {row}. Drop that row.")
        return Y

    def decode(self, output: np.ndarray) -> np.ndarray:
        """Return the outputs with the number of dimensions of y."""
        output = output.astype(np.float64)
        return output.ravel() if self.n_outputs == 1 else output

    def score(self, Y: np.ndarray, output: np.ndarray, w: np.ndarray) -> float:
        """Return R2, averaged over targets; NaN if it is undefined."""
        residual = np.average((Y - output) ** 2, axis=0, weights=w)
        spread = np.average(
            (Y - np.average(Y, axis=0, weights=w)) ** 2, axis=0, weights=w
        )
        if not spread.all():
            return float("nan")
        return float(np.mean(1 - residual / spread))

    def scaled(self, scale: np.ndarray) -> NumberTargets:
        """Return the same encoding with another scale."""
        return NumberTargets(self.n_outputs, scale)

    def check_score(self, Y: np.ndarray, w: np.ndarray) -> None:
        """Raise if R2 is undefined: a single sample or constant targets."""
        if np.isnan(self.score(Y, Y, w)):
            reason = "it has 1 sample" if len(Y) == 1 else "a target is constant in it"
            raise ValueError(
                f"The validation set is too small: {reason}, so R2 is undefined. "
                "Increase validation_fraction or the size of the dataset, pass X_val "
                "and y_val, or set early_stopping=False."
            )

    def metrics(
        self, loss: float, Y: np.ndarray, output: np.ndarray, w: np.ndarray
    ) -> Metrics:
        """Return the mean squared error in the units of y, and the score."""
        if self.scale is not None:
            errors = (Y - output).astype(np.float64) * self.scale
            loss = float(np.mean(w @ errors**2) / len(Y))
        return super().metrics(loss, Y, output, w)

    def baseline_loss(self, Y: np.ndarray, w: np.ndarray) -> float:
        """Return the loss of always predicting the mean: the variance."""
        mean = np.average(Y, axis=0, weights=w)
        return float(np.mean(w @ (Y - mean) ** 2) / len(Y))

    def unit_of_loss(self, Y: np.ndarray) -> float:
        """Return the variance, or the mean square of constant targets."""
        return float(np.var(Y) or (1.0 if self.scale is not None else np.mean(Y * Y)))


def learn_targets(estimator: Any, y: np.ndarray) -> Targets:
    """Return the encoding of the targets y of a classifier or regressor."""
    if is_regressor(estimator):
        return NumberTargets(1 if y.ndim == 1 else y.shape[1])
    check_classification_targets(y)
    metric = getattr(estimator, "metric", "accuracy")
    if y.ndim == 1:
        return ClassTargets(np.unique(y), metric)
    if type_of_target(y) != "multilabel-indicator":
        raise ValueError(
            f"y has shape {y.shape} and values other than 0 and 1; expected one label "
            "per sample, or an indicator matrix of labels."
        )
    return MultilabelTargets(np.arange(y.shape[1]), metric)


def targets_of(estimator: Any) -> Any:
    """Return the encoding of the targets of the last fit."""
    if is_regressor(estimator):
        return NumberTargets(estimator.n_outputs_)
    kind = (
        MultilabelTargets if getattr(estimator, "multilabel_", False) else ClassTargets
    )
    return kind(estimator.classes_, getattr(estimator, "metric", "accuracy"))


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
            "such as 'top_3_accuracy'."
        )
    return int(match[1] or 1)
