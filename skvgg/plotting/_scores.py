"""The explained score, and its gradient with respect to the input of a head."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.base import is_classifier, is_regressor
from sklearn.ensemble import BaggingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from skvgg.plotting import _dense
from skvgg.plotting._differences import difference_gradient

#: A finite replacement for the logarithm of zero, so that differences are finite.
_LOG_OF_ZERO = float(np.log(np.finfo(np.float64).tiny))


def predicted_target(model: Any, X: Any) -> Any:
    """Return the class that a fitted model predicts for one image, or output 0.

    Of several labels, it is the most probable one.
    """
    _check_predicts(model)
    if is_regressor(model):
        return 0
    predicted = np.asarray(model.predict(X))
    if predicted.ndim == 1:
        return predicted[0]
    return _classes_of(model)[_scores(model, X)[0].argmax()]


def score_gradient(head: Any, x: np.ndarray, target: Any) -> np.ndarray:
    """Return the gradient of the score of a target.

    For dense layers and linear models, the score of a class is the output before the
    softmax or logistic function. For other classifiers, it is the decision function or
    the log-odds. The score of a regressor is its output, whose index is the target.
    """
    _check_predicts(head)
    dense = _dense.as_dense_layers(head)
    if dense is None:
        scores = _scores(head, x[None])[0]
        dense = _dense.as_linear(head, x, scores)
    else:
        scores = _dense.scores(dense, x)
    if is_regressor(head):
        column, sign = _check_output(target, len(scores)), 1
    else:
        column, sign = _find_class(head, target, len(scores))
    if dense is None:
        gradient = difference_gradient(lambda rows: _scores(head, rows)[:, column], x)
    else:
        gradient = _dense.gradient(dense, x, column)
    gradient = sign * gradient
    if not np.isfinite(gradient).all():
        raise ValueError(f"The scores of {head!r:.200} are not finite near this row.")
    if not gradient.any():
        raise ValueError(
            f"The score of {target!r} has a gradient of zero: it does not change with "
            f"small changes of the input of {type(head).__name__}. Trees and nearest "
            "neighbors have piecewise constant scores, and the coefficients of a "
            "linear model may all be zero. Use a model with smooth scores, such as "
            "LogisticRegression or TFLearnMLPClassifier."
        )
    return gradient


def _scores(head: Any, rows: np.ndarray) -> np.ndarray:
    """Return the scores of rows, of shape (n, 1) or (n, n_outputs)."""
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
    """Return log(p / (1 - p)) without loss of precision for p near 1."""
    log_p = np.where(np.isneginf(log_p), _LOG_OF_ZERO, log_p)
    others = [
        logsumexp(np.delete(log_p, column, axis=1), axis=1)
        for column in range(log_p.shape[1])
    ]
    return log_p - np.stack(others, axis=1)


def _check_output(target: Any, n_outputs: int) -> int:
    if target not in range(n_outputs):
        raise ValueError(
            f"target={target!r} is invalid; for a regressor with {n_outputs} "
            f"output(s), expected the index of an output, 0 to {n_outputs - 1}."
        )
    return int(target)


def _check_predicts(model: Any) -> None:
    if not is_classifier(model) and not is_regressor(model):
        raise ValueError(
            "The last step must be a classifier or regressor, got "
            f"{type(_deciding(model)).__name__}."
        )


def _classes_of(model: Any) -> np.ndarray:
    classes = model.classes_
    if not isinstance(classes, np.ndarray):
        raise ValueError(
            f"{type(model).__name__} predicts several targets with separate classes. "
            "Use a classifier for one of the targets."
        )
    return classes


def _find_class(head: Any, target: Any, n_outputs: int) -> tuple[int, int]:
    """Return the column of the score of a class, and its sign."""
    classes = _classes_of(head)
    places = [i for i, label in enumerate(classes.tolist()) if label == target]
    if not places:
        raise ValueError(
            f"target={target!r} is not a class of the model; expected one of "
            f"{', '.join(map(repr, classes.tolist()))}."
        )
    (place,) = places
    if n_outputs == 1 and len(classes) == 2:
        return 0, 1 if place == 1 else -1
    # Three classes have three pairs, so the number of scores does not tell.
    if n_outputs != len(classes) or _scores_pairs(head):
        raise ValueError(
            f"{type(head).__name__} returns {n_outputs} scores for {len(classes)} "
            "classes; expected one per class, as with decision_function_shape='ovr'. "
            "Set it with set_params; an SVC need not be fitted again."
        )
    return place, 1


def _scores_pairs(head: Any) -> bool:
    """Return whether a decision function has a column per pair of classes."""
    return getattr(_deciding(head), "decision_function_shape", None) == "ovo"


def _deciding(head: Any) -> Any:
    """Return the estimator whose decision function a head returns."""
    if isinstance(head, Pipeline):
        return _deciding(head.steps[-1][1])
    if isinstance(head, FrozenEstimator):
        return _deciding(head.estimator)
    if isinstance(head, BaggingClassifier):  # the mean over its estimators
        return _deciding(head.estimators_[0])
    for name in ("best_estimator_", "final_estimator_"):  # a search; stacking
        if hasattr(head, name):
            return _deciding(getattr(head, name))
    return head
