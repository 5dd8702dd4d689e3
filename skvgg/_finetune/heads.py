"""The first phase of fine-tuning: the head on fixed features.

Linear heads are fitted by scikit-learn and converted to skvgg's heads, which take
unscaled features and predict with NumPy.
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

from skvgg._head.fitted import store_learned
from skvgg._head.fitting import fit_head
from skvgg._head.standardization import Scaling, Standardization
from skvgg._head.targets import ClassTargets, NumberTargets, Targets
from skvgg._head.training import Samples
from skvgg._runtime.warn import warn

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


def fit_hidden_layers(head: Any, rows: Samples, targets: Targets) -> list[float]:
    """Train a head with hidden layers; return the penalties of its layers.

    The head is fitted in place, on the features of all views of all images and their
    encoded targets. Penalties are those of :class:`skvgg._finetune.tuner.TuningSpec`.
    """
    fit_head(head, Samples(rows.X, rows.Y, rows.w.astype(np.float64)), targets)
    return [*[head.weight_decay] * (len(head.coefs_) - 1), 0.0]


def fit_linear_head(
    head: Any, rows: Samples, n_images: int, targets: Any, seed: int
) -> list[float]:
    """Fit a head without hidden layers; return its penalty.

    Parameters and results are those of :func:`fit_hidden_layers`. The original images
    are the first `n_images` rows. Only these are used to choose the penalty, because
    views of one image must not be in different folds; `seed` is that of the folds.
    """
    fit = _fit_ridge if isinstance(targets, NumberTargets) else _fit_logistic
    with _few_threads(rows.X.size):
        return [fit(head, rows, n_images, targets, seed)]


def _few_threads(n_values: int) -> AbstractContextManager[Any]:
    """Limit linear algebra to one thread while a head is fitted on few values."""
    if n_values > _FOR_ONE_THREAD:
        return nullcontext()
    return threadpool_limits(1, user_api="blas")


def _fit_logistic(
    head: Any, rows: Samples, n_images: int, targets: ClassTargets, seed: int
) -> float:
    """Fit a logistic regression on standardized features."""
    inputs = Standardization.of(rows.X, rows.w)
    Z = inputs(rows.X).astype(np.float32)
    y, w = rows.Y.argmax(axis=1), rows.w
    codes, counts = np.unique(y[:n_images], return_counts=True)
    if len(codes) < 2:
        n_iter, penalty = 0, 0.0
        coef, intercept = np.zeros((Z.shape[1], 1)), np.zeros(1)
    else:
        strength = float(np.median(_STRENGTHS))
        n_folds = min(_FOLDS, int(counts.min()))
        model = LogisticRegression(max_iter=_MAX_ITER)
        if n_folds < 2:
            label = targets.classes.tolist()[codes[counts.argmin()]]
            warn(
                f"The class {label!r} has one image, so cross-validation cannot choose "
                "the strength of the head's penalty, and a medium one is used. Add "
                "images of that class."
            )
        else:
            folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
            grid = {"C": _STRENGTHS * n_images}
            originals = Samples(Z[:n_images], y[:n_images], w[:n_images])
            C = _choose(model, grid, "neg_log_loss", folds, originals)
            strength = C / n_images
        C = strength * n_images
        # Views share the weight of their image.
        model.set_params(C=C).fit(Z, y, sample_weight=w * n_images / len(y))
        coef, intercept = model.coef_.T, model.intercept_
        penalty = 1 / (C * float(w[:n_images].sum()))
        n_iter = int(np.max(model.n_iter_))
    if len(codes) == 2:
        # Half of the weights for each class give the same probabilities. The sum of
        # the penalties on both halves is then half the original penalty.
        coef = np.hstack([-coef / 2, coef / 2])
        intercept = np.array([-intercept[0] / 2, intercept[0] / 2])
        penalty *= 2
    coef, intercept = _for_all_classes(coef, intercept, codes, len(targets.classes))
    _store(head, Scaling(inputs), coef, intercept, targets)
    head.n_iter_ = n_iter
    return penalty


def _fit_ridge(
    head: Any, rows: Samples, n_images: int, targets: NumberTargets, seed: int
) -> float:
    """Fit a ridge regression on standardized features and targets."""
    inputs = Standardization.of(rows.X, rows.w)
    outputs = Standardization.of(rows.Y, rows.w).with_constants()
    Z, w = inputs(rows.X).astype(np.float32), rows.w
    T = outputs(rows.Y).astype(np.float32)
    strengths = 1 / (_STRENGTHS * n_images)
    strength = float(np.median(strengths))
    if n_images >= 2:
        folds = KFold(min(_FOLDS, n_images), shuffle=True, random_state=seed)
        originals = Samples(Z[:n_images], T[:n_images], w[:n_images])
        grid = {"alpha": strengths}
        strength = _choose(Ridge(), grid, "neg_mean_squared_error", folds, originals)
    model = Ridge(strength).fit(Z, T, sample_weight=w * n_images / len(T))
    n_outputs = T.shape[1]
    coef = model.coef_.reshape(n_outputs, -1).T
    _store(head, Scaling(inputs, outputs), coef, np.ravel(model.intercept_), targets)
    head.n_iter_ = 0
    # Ridge sums squares over samples and targets; the loss is their mean.
    return 2 * strength / (float(w[:n_images].sum()) * n_outputs)


def _choose(
    model: Any, grid: dict[str, np.ndarray], scoring: str, folds: Any, rows: Samples
) -> float:
    """Return the best value of the one parameter of a grid.

    The search passes sample weights on, whatever the user's configuration: with
    ``enable_metadata_routing``, it would require metadata requests.
    """
    search = GridSearchCV(model, grid, scoring=scoring, cv=folds, refit=False)
    with warnings.catch_warnings(), config_context(enable_metadata_routing=False):
        # Strengths that are not chosen may not converge.
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(rows.X, rows.Y, sample_weight=rows.w)
    (best,) = search.best_params_.values()
    return best


def linear_loss(head: Any, rows: Samples) -> tuple[float, np.ndarray]:
    """Return the loss of a fitted head on encoded targets, and its outputs."""
    X, Y = rows.X, rows.Y
    if hasattr(head, "predict_proba"):
        output, log = head.predict_proba(X), head.predict_log_proba(X)
        # The logarithm may be infinite where Y is zero.
        losses = -np.where(Y > 0, Y * log, 0).sum(axis=1)
    else:
        output = head.predict(X).reshape(Y.shape)
        losses = np.square(output - Y).mean(axis=1)
    return float(np.mean(rows.w * losses)), output


def _for_all_classes(
    coef: np.ndarray, intercept: np.ndarray, codes: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Add the classes whose samples all have a weight of zero.

    The outputs of the others have the same mean, that of their intercepts, for each
    row. So the added classes are never the most probable. They stay finite, so that a
    later fit may learn them.
    """
    all_coef = np.zeros((len(coef), n_classes))
    all_intercept = np.full(n_classes, intercept.mean() + _LOG_OF_NOTHING)
    all_coef[:, codes], all_intercept[codes] = coef, intercept
    return all_coef, all_intercept


def _store(
    head: Any, scaling: Scaling, coef: np.ndarray, intercept: np.ndarray, targets: Any
) -> None:
    parameters = ([coef.astype(np.float32)], [intercept.astype(np.float32)])
    store_learned(head, scaling, parameters, targets)
