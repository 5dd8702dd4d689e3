"""Fit the head on fixed features, as the starting point of fine-tuning.

Heads fitted by scikit-learn are converted to skvgg's heads, which take unscaled
features and predict with NumPy.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from threadpoolctl import threadpool_limits

from skvgg._head.base import BaseTFLearnMLP, set_learned
from skvgg._head.standardization import Scaling, Standardization
from skvgg._head.targets import ClassTargets, NumberTargets
from skvgg._runtime.warn import warn
from skvgg.mlp import TFLearnMLPClassifier, TFLearnMLPRegressor

#: Candidates for the inverse strength of the L2 penalty of a linear head. Multiplied by
#: the number of samples they are scikit-learn's C: 1e-4 to 1 for 1,000 samples.
_STRENGTHS = np.logspace(-7, -3, 5)

#: Maximum number of folds for choosing the penalty.
_FOLDS = 3

#: Logarithm of the probability of a class without weight, at most.
_LOG_OF_NOTHING = float(np.log(1e-6))

#: Maximum number of L-BFGS iterations, enough to converge.
_MAX_ITER = 1000

#: Maximum number of values for which linear algebra uses one thread. On a busy machine,
#: threads that wait for each other a thousand times take far longer: 50 s instead of 1
#: for 300 rows of 512 values.
_FOR_ONE_THREAD = 2_000_000


def few_threads(n_values: int) -> AbstractContextManager[Any]:
    """Limit linear algebra to one thread while a head is fitted on few values."""
    if n_values > _FOR_ONE_THREAD:
        return nullcontext()
    return threadpool_limits(1, user_api="blas")


def fit_linear_classifier(
    X: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    first: int,
    targets: ClassTargets,
    seed: int,
) -> tuple[TFLearnMLPClassifier, list[float]]:
    """Fit a logistic regression on standardized features.

    Parameters
    ----------
    X : ndarray of shape (n, n_features), float32
        Features of all views of all images, the images themselves first.
    y : ndarray of shape (n,)
        Labels.
    w : ndarray of shape (n,)
        Weights.
    first : int
        Number of rows that are original images. Only these are used to choose the
        penalty, because views of one image must not be in different folds.
    targets : ClassTargets
        The classes.
    seed : int
        Of the folds.

    Returns
    -------
    head : TFLearnMLPClassifier
        Fitted.
    penalties : list of float
        See :class:`skvgg._finetune.tuner.HeadSpec`.
    """
    inputs = Standardization.of(X, w)
    Z = inputs(X).astype(np.float32)
    classes, counts = np.unique(y[:first], return_counts=True)
    n_folds = min(_FOLDS, int(counts.min()))
    model = LogisticRegression(max_iter=_MAX_ITER)
    if len(classes) < 2:
        coef, intercept = np.zeros((X.shape[1], 1)), np.zeros(1)
        coef, intercept = _for_all_classes(coef, intercept, classes, targets)
        return _as_classifier(inputs, coef, intercept, targets, 0), [0.0]
    if n_folds < 2:
        label = classes.tolist()[int(counts.argmin())]
        warn(
            f"The class {label!r} has one image, so cross-validation cannot choose the "
            "strength of the head's penalty, and a medium one is used. Add images of "
            "that class."
        )
        strength = float(np.median(_STRENGTHS))
    else:
        folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
        search = GridSearchCV(
            model,
            {"C": _STRENGTHS * first},
            scoring="neg_log_loss",
            cv=folds,
            refit=False,
        )
        with warnings.catch_warnings(), _weights_for_all():
            # Strengths that are not chosen may not converge.
            warnings.simplefilter("ignore", ConvergenceWarning)
            search.fit(Z[:first], y[:first], sample_weight=w[:first])
        strength = search.best_params_["C"] / first
    C = strength * first
    # Views share the weight of their image.
    model.set_params(C=C).fit(Z, y, sample_weight=w * first / len(y))
    coef, intercept = model.coef_.T, model.intercept_
    penalty = 1 / (C * float(w[:first].sum()))
    if len(classes) == 2:
        # Half of the weights for each class give the same probabilities. The sum of
        # the penalties on both halves is then half the original penalty.
        coef = np.hstack([-coef / 2, coef / 2])
        intercept = np.array([-intercept[0] / 2, intercept[0] / 2])
        penalty *= 2
    n_iter = int(np.max(model.n_iter_))
    coef, intercept = _for_all_classes(coef, intercept, classes, targets)
    return _as_classifier(inputs, coef, intercept, targets, n_iter), [penalty]


def fit_linear_regressor(
    X: np.ndarray,
    Y: np.ndarray,
    w: np.ndarray,
    first: int,
    targets: NumberTargets,
    seed: int,
) -> tuple[TFLearnMLPRegressor, list[float]]:
    """Fit a ridge regression on standardized features and targets.

    Parameters and results are those of :func:`fit_linear_classifier`, with targets Y of
    shape (n, n_outputs) instead of labels.
    """
    inputs = Standardization.of(X, w)
    outputs = Standardization.of(Y, w).with_constants()
    Z, T = inputs(X).astype(np.float32), outputs(Y).astype(np.float32)
    strengths = 1 / (_STRENGTHS * first)
    strength = float(np.median(strengths))
    if first >= 2:
        folds = KFold(min(_FOLDS, first), shuffle=True, random_state=seed)
        search = GridSearchCV(
            Ridge(),
            {"alpha": strengths},
            scoring="neg_mean_squared_error",
            cv=folds,
            refit=False,
        )
        with _weights_for_all():
            search.fit(Z[:first], T[:first], sample_weight=w[:first])
        strength = search.best_params_["alpha"]
    model = Ridge(strength).fit(Z, T, sample_weight=w * first / len(Y))
    scaling = Scaling(inputs, outputs)
    coef = model.coef_.reshape(Y.shape[1], -1).T
    head = TFLearnMLPRegressor(())
    _set_fitted(head, scaling, coef, np.ravel(model.intercept_), targets, 0)
    n_outputs = Y.shape[1]
    # Ridge sums squares over samples and targets; the loss is their mean.
    return head, [2 * strength / (float(w[:first].sum()) * n_outputs)]


def linear_loss(
    head: TFLearnMLPClassifier | TFLearnMLPRegressor,
    X: np.ndarray,
    Y: np.ndarray,
    w: np.ndarray,
) -> tuple[float, np.ndarray]:
    """Return the loss of a fitted head on encoded targets, and its outputs."""
    if isinstance(head, TFLearnMLPClassifier):
        output, log = head.predict_proba(X), head.predict_log_proba(X)
        # The logarithm may be infinite where Y is zero.
        losses = -np.where(Y > 0, Y * log, 0).sum(axis=1)
    else:
        output = head.predict(X).reshape(Y.shape)
        losses = np.square(output - Y).mean(axis=1)
    return float(np.mean(w * losses)), output


def _weights_for_all() -> AbstractContextManager[Any]:
    """Let a search pass sample weights on, whatever the user's configuration.

    With ``enable_metadata_routing``, the search would require metadata requests.
    """
    return config_context(enable_metadata_routing=False)


def _for_all_classes(
    coef: np.ndarray, intercept: np.ndarray, classes: np.ndarray, targets: ClassTargets
) -> tuple[np.ndarray, np.ndarray]:
    """Add the classes whose samples all have a weight of zero.

    The outputs of the others have the same mean, that of their intercepts, for each
    row. So the added classes are never the most probable. They stay finite, so that a
    later fit may learn them.
    """
    places = np.searchsorted(targets.classes, classes)
    all_coef = np.zeros((len(coef), len(targets.classes)))
    all_intercept = np.full(len(targets.classes), intercept.mean() + _LOG_OF_NOTHING)
    all_coef[:, places], all_intercept[places] = coef, intercept
    return all_coef, all_intercept


def _as_classifier(
    inputs: Standardization,
    coef: np.ndarray,
    intercept: np.ndarray,
    targets: ClassTargets,
    n_iter: int,
) -> TFLearnMLPClassifier:
    head = TFLearnMLPClassifier(())
    _set_fitted(head, Scaling(inputs), coef, intercept, targets, n_iter)
    return head


def _set_fitted(
    head: BaseTFLearnMLP,
    scaling: Scaling,
    coef: np.ndarray,
    intercept: np.ndarray,
    targets: Any,
    n_iter: int,
) -> None:
    """Set the fitted attributes of a linear head from another estimator."""
    parameters = ([coef.astype(np.float32)], [intercept.astype(np.float32)])
    set_learned(head, scaling, parameters, targets)
    head.n_iter_ = n_iter
