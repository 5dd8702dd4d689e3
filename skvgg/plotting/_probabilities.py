"""Out-of-sample predicted probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.model_selection import check_cv, cross_validate
from sklearn.utils import _safe_indexing, indexable

from skvgg.plotting._pipeline import check_rows, computed_once, last_step
from skvgg.plotting._routing import route

#: Tolerance for the sum of the probabilities of a sample.
_TOLERANCE = 1e-3


def cross_val_proba(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    groups: Any,
    cv: Any,
    n_jobs: int | None,
    params: Mapping[str, Any] | None,
    caller: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Return cross-validated probabilities, and the classes of their columns.

    Layers that do not depend on y are computed once per image. Unlike
    :func:`sklearn.model_selection.cross_val_predict`, this fits on the labels as they
    are, so parameters may name them, such as `class_weight` of a classifier.
    """
    indexable(X, y, groups)
    splitter = check_cv(cv, y, classifier=is_classifier(estimator))
    split_params, fit_params = route(estimator, splitter, groups, params, caller)
    folds = list(splitter.split(X, y, **split_params))
    _check_partition(folds, len(y), cv)
    classes = np.unique(y)
    y_proba = np.zeros((len(y), len(classes)))
    with computed_once(estimator, X) as (rest, rows):
        if rows is not X:
            check_rows(rows)
        models = cross_validate(
            rest,
            rows,
            y,
            cv=folds,
            n_jobs=n_jobs,
            params=fit_params,
            scoring=_no_score,
            return_estimator=True,
            error_score="raise",
        )["estimator"]
        for number, (model, (_, test)) in enumerate(zip(models, folds, strict=True)):
            columns = np.searchsorted(classes, model.classes_)
            if len(columns) < len(classes):
                absent = np.delete(classes, columns).tolist()
                warnings.warn(
                    f"Fold {number} has no training images of the class(es) "
                    f"{', '.join(map(repr, absent))}, so their probability is 0 in "
                    "this fold. Use a stratified cv, or drop classes with few images.",
                    RuntimeWarning,
                    stacklevel=3,
                )
            proba = model.predict_proba(_safe_indexing(rows, test))
            y_proba[np.ix_(test, columns)] = proba
    return check_proba(y_proba, len(y), len(classes)), classes


def check_has_proba(estimator: Any) -> None:
    """Raise a ValueError if an estimator has no `predict_proba`."""
    name = type(last_step(estimator)).__name__
    if is_regressor(estimator):
        raise ValueError(
            f"{name} is a regressor, but losses and label errors are "
            "those of a classifier. To find the images with the largest errors of a "
            "regressor, sort np.abs(y - cross_val_predict(model, X, y)); see also "
            "sklearn.metrics.PredictionErrorDisplay."
        )
    if not hasattr(estimator, "predict_proba"):
        raise ValueError(
            f"{name} has no predict_proba, but losses and label errors "
            "are computed from probabilities. Use a classifier with predict_proba, "
            "such as LogisticRegression, TFLearnMLPClassifier or VGG19Classifier, or "
            "wrap your classifier: CalibratedClassifierCV(LinearSVC())."
        )


def _no_score(estimator: Any, X: Any, y: Any) -> float:
    """Score nothing: only the fitted estimators are needed."""
    return 0.0


def _check_partition(
    folds: list[tuple[np.ndarray, np.ndarray]], n_samples: int, cv: Any
) -> None:
    """Raise an error unless each sample is in one test fold."""
    tested = np.concatenate([test for _, test in folds])
    n_times = np.bincount(tested, minlength=n_samples)
    if (n_times != 1).any():
        index = int(np.flatnonzero(n_times != 1)[0])
        raise ValueError(
            f"cv={cv!r} puts X[{index}] into {n_times[index]} test folds; expected "
            "each image in exactly one, as with KFold, StratifiedKFold or GroupKFold."
        )


def check_proba(y_proba: Any, n_samples: int, n_classes: int) -> np.ndarray:
    """Check probabilities and return them as float64."""
    y_proba = np.asarray(y_proba, np.float64)
    if y_proba.shape != (n_samples, n_classes):
        hint = ""
        if y_proba.ndim == 1:
            hint = " For two classes, pass both: np.column_stack([1 - p, p])."
        raise ValueError(
            f"y_proba has shape {y_proba.shape}; expected one row per image and one "
            f"column per class, {(n_samples, n_classes)}.{hint}"
        )
    in_range = (y_proba >= 0).all(axis=1) & (y_proba <= 1 + _TOLERANCE).all(axis=1)
    adds_up = np.abs(y_proba.sum(axis=1) - 1) <= _TOLERANCE
    bad = np.flatnonzero(~(in_range & adds_up))
    if len(bad):
        raise ValueError(
            f"y_proba[{bad[0]}] is {y_proba[bad[0]]}; expected probabilities in 0..1 "
            "that add up to 1, such as the output of predict_proba."
        )
    return y_proba


def classes_of_columns(
    y_proba: Any, classes: np.ndarray, *, is_ordered: bool
) -> np.ndarray:
    """Return the classes in the order of the columns of probabilities.

    Names of columns that are classes, or their strings, set the order, also after a
    prefix, such as "probability_". Other names do not, such as the numbers that pandas
    gives by default if not all of them are classes. `is_ordered` is whether the user
    says that the columns have the order of `classes`; names must not contradict it.
    """
    names = list(getattr(y_proba, "columns", ()))
    if len(names) != len(classes):
        return classes
    labels = classes.tolist()
    by_name = {str(label): place for place, label in enumerate(labels)}
    by_name |= {label: place for place, label in enumerate(labels)}  # 1 is also 1.0
    places = [
        by_name.get(name, by_name.get(str(name)))
        for name in _without_prefix(names, labels)
    ]
    found = [place for place in places if place is not None]
    is_numbered = names == list(range(len(names))) and len(found) < len(names)
    if not found or is_numbered:
        return classes
    if sorted(found) != list(range(len(classes))):
        raise ValueError(
            f"y_proba has the columns {_listed(names)}, but the classes are "
            f"{_listed(classes.tolist())}. Name all columns after classes, each once, "
            "or pass an array, y_proba.to_numpy(), whose columns are in the order of "
            "labels, or of the sorted classes."
        )
    if is_ordered and found != sorted(found):
        raise ValueError(
            f"y_proba has the columns {_listed(names)}, but labels has another order: "
            f"{_listed(classes.tolist())}. Leave labels out to use the names."
        )
    return classes[found]


def _without_prefix(names: list[Any], labels: list[Any]) -> list[Any]:
    """Return names without what precedes the label in all of them."""
    texts = sorted(map(str, labels))
    for text in texts:
        prefix = str(names[0]).removesuffix(text)
        short = [str(name).removeprefix(prefix) for name in names]
        if sorted(short) == texts:
            return short
    return names


def _listed(names: list[Any]) -> str:
    return f"{', '.join(map(repr, names)):.200}"


def log_losses(own: np.ndarray) -> np.ndarray:
    """Return the loss of each sample in nats, from the probability of its label."""
    return -np.log(np.maximum(own, np.finfo(np.float64).eps))
