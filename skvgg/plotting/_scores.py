"""The score that is explained, and how it changes with what a head is given."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.base import is_classifier, is_regressor

from skvgg.plotting._dense import DenseHead, as_dense_layers, as_linear
from skvgg.plotting._differences import difference_gradient

#: Taken for the logarithm of zero, so that differences of two such are numbers.
_LOG_OF_ZERO = float(np.log(np.finfo(np.float64).tiny))


def explain_score(head: Any, x: np.ndarray, target: Any) -> tuple[Any, np.ndarray]:
    """Return whose score is explained, and its gradient.

    The score of a class is what its output is before the softmax or the logistic
    function, in dense layers and linear models; else the decision function, or the
    logarithm of the odds. That of a regressor is its output.

    Parameters
    ----------
    head : estimator
        A fitted classifier or regressor.
    x : ndarray of shape (n_features,), float64
        What it is given.
    target : label, int or None
        A class; or an output, by its index. None is the class predicted, or output 0.

    Returns
    -------
    target : label or int
    gradient : ndarray of shape (n_features,), float64

    Raises
    ------
    ValueError
        If there is no such target, or no score that depends on x smoothly.
    """
    if not is_classifier(head) and not is_regressor(head):
        raise ValueError(
            "The last step must be a classifier or regressor, got "
            f"{type(head).__name__}."
        )
    dense = as_dense_layers(head)
    if dense is None:
        scores = _scores(head, x[None])[0]
        dense = as_linear(head, x, scores)
    else:
        scores = dense.outputs(x)
    if is_regressor(head):
        target = 0 if target is None else target
        column, sign = _check_output(target, len(scores)), 1
    else:
        target = _predicted(head, x, scores) if target is None else target
        column, sign = _find_class(head, target, len(scores))
    gradient = sign * _gradient(head, dense, x, column)
    if not np.isfinite(gradient).all():
        raise ValueError(f"The scores of {head!r:.200} are not finite near this row.")
    if not gradient.any():
        raise ValueError(
            f"The score of {target!r} has a gradient of zero: it does not change when "
            f"the features that {type(head).__name__} is given change a little. So it "
            "is with trees and nearest neighbours, whose scores are constant but for "
            "jumps, and with a linear model whose coefficients are all zero. Explain a "
            "model with smooth scores, such as LogisticRegression or "
            "TFLearnMLPClassifier."
        )
    return target, gradient


def _gradient(
    head: Any, dense: DenseHead | None, x: np.ndarray, column: int
) -> np.ndarray:
    if dense is not None:
        return dense.gradient(x, column)
    return difference_gradient(lambda rows: _scores(head, rows)[:, column], x)


def _scores(head: Any, rows: np.ndarray) -> np.ndarray:
    """Return what is made of rows, of shape (n, 1) or (n, n_outputs)."""
    if is_regressor(head):
        scores = head.predict(rows)
    elif hasattr(head, "decision_function"):
        scores = head.decision_function(rows)
    elif hasattr(head, "predict_proba"):
        with np.errstate(divide="ignore"):
            if hasattr(head, "predict_log_proba"):
                scores = _log_odds(head.predict_log_proba(rows))
            else:
                scores = _log_odds(np.log(head.predict_proba(rows)))
    else:
        raise ValueError(
            f"{type(head).__name__} has neither decision_function nor predict_proba, "
            "so there is no score to explain."
        )
    return np.asarray(scores).reshape(len(rows), -1)


def _log_odds(log_p: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)), whose digits are those of p also where p is near 1."""
    log_p = np.where(np.isneginf(log_p), _LOG_OF_ZERO, log_p)
    others = [
        logsumexp(np.delete(log_p, column, axis=1), axis=1)
        for column in range(log_p.shape[1])
    ]
    return log_p - np.stack(others, axis=1)


def _check_output(target: Any, n_outputs: int) -> int:
    if target not in range(n_outputs):
        raise ValueError(
            f"target={target!r}; of a regressor with {n_outputs} output(s) it is the "
            f"index of one, 0 to {n_outputs - 1}."
        )
    return int(target)


def _predicted(head: Any, x: np.ndarray, scores: np.ndarray) -> Any:
    """Return the class predicted; of several labels the one with the best score."""
    predicted = head.predict(x[None])[0]
    return predicted if np.ndim(predicted) == 0 else head.classes_[scores.argmax()]


def _find_class(head: Any, target: Any, n_outputs: int) -> tuple[int, int]:
    """Return in which column the score of a class is, and with which sign."""
    classes = head.classes_
    if not isinstance(classes, np.ndarray):
        raise ValueError(
            f"{type(head).__name__} predicts several targets, each with classes of its "
            "own; explain a classifier of one of them."
        )
    places = [i for i, label in enumerate(classes.tolist()) if label == target]
    if not places:
        raise ValueError(
            f"target={target!r} is no class of the model; they are "
            f"{', '.join(map(repr, classes.tolist()))}."
        )
    (place,) = places
    if n_outputs == 1 and len(classes) == 2:
        return 0, 1 if place == 1 else -1
    if n_outputs != len(classes):
        raise ValueError(
            f"{type(head).__name__} gives {n_outputs} scores for {len(classes)} "
            "classes; one a class is needed, as decision_function_shape='ovr' gives."
        )
    return place, 1
