"""The head on features that do not change: what fine-tuning starts from.

Whatever fits it, it becomes one of skvgg's heads: layers of weights for features as
they come, that predict in NumPy.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold

from skvgg._head.base import BaseTFLearnMLP, set_learned
from skvgg._head.standardization import Scaling, Standardization
from skvgg._head.targets import ClassTargets, NumberTargets
from skvgg._runtime.warn import warn
from skvgg.mlp import TFLearnMLPClassifier, TFLearnMLPRegressor

#: Inverse strengths of the L2 penalty that a linear head is chosen from, by
#: cross-validation. Multiplied by the number of samples they are scikit-learn's C; the
#: grid is that of C for 1,000 samples: 1e-4 to 1.
_STRENGTHS = np.logspace(-7, -3, 5)

#: Folds of that cross-validation, at most.
_FOLDS = 3

#: Iterations of L-BFGS: to convergence, that is.
_MAX_ITER = 1000


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
        How many of them are images themselves. The strength of the penalty is chosen
        on these: views of one image must not lie in different folds.
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
    Z = inputs(X)
    counts = np.bincount(np.searchsorted(targets.classes, y[:first]))
    n_folds = min(_FOLDS, int(counts.min()))
    model = LogisticRegression(max_iter=_MAX_ITER)
    if len(targets.classes) < 2:
        coef = np.zeros((X.shape[1], 1), np.float32)
        return _as_classifier(inputs, coef, np.zeros(1), targets, 0), [0.0]
    if n_folds < 2:
        label = targets.classes.tolist()[int(counts.argmin())]
        warn(
            f"The class {label!r} has one image, so that the strength of the head's "
            "penalty cannot be chosen by cross-validation: a medium one is used. Add "
            "images of that class."
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
            # Of strengths that are not chosen.
            warnings.simplefilter("ignore", ConvergenceWarning)
            search.fit(Z[:first], y[:first], sample_weight=w[:first])
        strength = search.best_params_["C"] / first
    C = strength * first
    # Views share the weight of their image.
    model.set_params(C=C).fit(Z, y, sample_weight=w * first / len(y))
    coef, intercept = model.coef_.T, model.intercept_
    penalty = 1 / (C * float(w[:first].sum()))
    if len(targets.classes) == 2:
        # Half of it for each class gives the same probabilities; the penalty on both
        # halves together is then a half of what it was.
        coef = np.hstack([-coef / 2, coef / 2])
        intercept = np.array([-intercept[0] / 2, intercept[0] / 2])
        penalty *= 2
    n_iter = int(np.max(model.n_iter_))
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

    The parameters and results are those of :func:`fit_linear_classifier`, with numbers
    of shape (n, n_outputs) in place of labels.
    """
    inputs = Standardization.of(X, w)
    outputs = Standardization.of(Y, w).with_constants()
    Z, T = inputs(X), outputs(Y)
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
        # Where Y is zero, the logarithm may be infinite.
        losses = -np.where(Y > 0, Y * log, 0).sum(axis=1)
    else:
        output = head.predict(X).reshape(Y.shape)
        losses = np.square(output - Y).mean(axis=1)
    return float(np.mean(w * losses)), output


def _weights_for_all() -> AbstractContextManager[Any]:
    """Let a search hand weights on, whatever the user has set for searches of theirs.

    With ``enable_metadata_routing`` it would ask for requests first.
    """
    return config_context(enable_metadata_routing=False)


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
    """Make a head of no hidden layers that another estimator has fitted."""
    parameters = ([coef.astype(np.float32)], [intercept.astype(np.float32)])
    set_learned(head, scaling, parameters, targets)
    head.n_iter_ = n_iter
