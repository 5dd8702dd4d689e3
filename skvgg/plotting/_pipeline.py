"""Split models into the transformer of images and the steps on its features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skvgg._dask import is_dask
from skvgg._images import MAX_PIXELS, Images, as_images, check_flattened_shape
from skvgg.features import VGG19Features


def split_pipeline(pipeline: Any) -> tuple[str, VGG19Features, Any]:
    """Return the transformer that a pipeline starts with, its name, and the rest.

    The first step may be such a pipeline, too. The name of the transformer is that in
    parameters of the pipeline. The other steps keep their names.
    """
    found = _find_features(pipeline)
    if found is None or found[2] == "passthrough":
        got = pipeline if found else f"{type(pipeline).__name__}: {pipeline!r:.200}"
        raise ValueError(
            "Expected a pipeline whose first step is a VGG19Features, followed by "
            "other steps, such as make_pipeline(VGG19Features(), StandardScaler(), "
            f"LogisticRegression()); got {got}."
        )
    return found


def _find_features(pipeline: Any) -> tuple[str, VGG19Features, Any] | None:
    if not isinstance(pipeline, Pipeline):
        return None
    name, first = pipeline.steps[0]
    rest: Any = pipeline[1:] if len(pipeline.steps) > 1 else "passthrough"
    if isinstance(first, VGG19Features):
        return name, first, rest
    found = _find_features(first)
    if found is None or rest == "passthrough":
        return found and (f"{name}__{found[0]}", found[1], found[2])
    steps = [(name, found[2]), *rest.steps]
    rest = type(rest)(steps, memory=rest.memory, verbose=rest.verbose)
    return f"{name}__{found[0]}", found[1], rest


def split_fitted(model: Any) -> tuple[VGG19Features, list[Any]]:
    """Return the transformer of a fitted model, and the other steps.

    The model is a pipeline whose first step is a :class:`VGG19Features`, an estimator
    with `features_` and `head_`, or a search over one of these. The steps are
    transformers, followed by a classifier or regressor.
    """
    check_is_fitted(model)
    model = unwrap(model)
    if hasattr(model, "features_") and hasattr(model, "head_"):
        return model.features_, _steps_of(model.head_)
    first, *steps = _steps_of(model)
    if not isinstance(first, VGG19Features) or not steps:
        raise ValueError(
            "Expected a fitted pipeline whose first step is a VGG19Features and whose "
            "last step is a classifier or regressor; got "
            f"{type(model).__name__}: {model!r:.200}."
        )
    return first, steps


def _steps_of(estimator: Any) -> list[Any]:
    """Return the steps of nested pipelines as a flat list."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if estimator is None or estimator == "passthrough":
        return []
    if not isinstance(estimator, Pipeline):
        return [estimator]
    steps = without_samplers(estimator).steps
    return [step for _, nested in steps for step in _steps_of(nested)]


def without_samplers(pipeline: Pipeline) -> Pipeline:
    """Return a pipeline with the fitted steps that transform or predict.

    Steps with `fit_resample`, which imbalanced-learn's pipelines may have, only change
    the rows that the next steps are fitted on.
    """
    steps = [step for step in pipeline.steps if not hasattr(step[1], "fit_resample")]
    return Pipeline(steps)


def unwrap(estimator: Any) -> Any:
    """Return the fitted estimator that a wrapper predicts with.

    Wrappers are searches, thresholds and frozen estimators. Other estimators are
    returned as they are. A search must have been fitted with `refit`.
    """
    if isinstance(estimator, FrozenEstimator):
        return unwrap(estimator.estimator)
    if isinstance(estimator, FixedThresholdClassifier | TunedThresholdClassifierCV):
        check_is_fitted(estimator, "estimator_")
        return unwrap(estimator.estimator_)
    if hasattr(estimator, "best_estimator_"):
        return unwrap(estimator.best_estimator_)
    if not hasattr(estimator, "refit"):
        return estimator
    name = type(estimator).__name__
    if not hasattr(estimator, "cv_results_"):
        raise NotFittedError(
            f"This {name} is not fitted, so it has no best_estimator_. Call fit first, "
            "or pass the estimator that it searches over."
        )
    raise ValueError(
        f"This {name} has no best_estimator_, because it was fitted with "
        f"refit={estimator.refit!r}. Set refit=True and fit it again."
    )


def last_step(estimator: Any) -> Any:
    """Return the final estimator of nested fitted searches and pipelines."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    is_pipeline = isinstance(estimator, Pipeline)
    return last_step(estimator.steps[-1][1]) if is_pipeline else estimator


def find_features(estimator: Any) -> VGG19Features | None:
    """Return the first VGG19Features within an estimator, or None."""
    if isinstance(estimator, VGG19Features):
        return estimator
    parts = estimator.get_params(deep=True).values()
    return next((part for part in parts if isinstance(part, VGG19Features)), None)


def _takes_tables(estimator: Any) -> bool:
    """Return whether an estimator selects columns of its input."""
    inner = getattr(estimator, "best_estimator_", getattr(estimator, "estimator", None))
    if inner is not None:
        return _takes_tables(inner)
    if isinstance(estimator, Pipeline):
        return _takes_tables(estimator.steps[0][1])
    return isinstance(estimator, ColumnTransformer)


def read_as(estimator: Any, X: Any, instead: str = "") -> tuple[Images, int | None]:
    """Return X as a sequence of images, and the maximum image size.

    If `estimator` has a :class:`VGG19Features`, images are read with its parameters.
    `instead` says what to do if `estimator` selects a column of images from a table.
    """
    if is_dask(X):
        raise ValueError(
            f"X is a Dask collection ({type(X).__name__}), but displays need images "
            "in memory. Pass X.compute(), or a part of the images."
        )
    if len(getattr(X, "columns", ())) > 1 and _takes_tables(estimator):
        raise ValueError(
            f"X is a DataFrame of {len(X.columns)} columns, and the display cannot "
            "know which of them the ColumnTransformer takes images from; expected one "
            f"column of paths or images. If 'path' is that column: {instead}"
        )
    features = None if estimator is None else find_features(estimator)
    if features is None:
        return as_images(X), MAX_PIXELS
    shape = check_flattened_shape(features.flattened_shape)
    check_items = features.on_error == "raise"
    return as_images(X, shape, check_items=check_items), features.max_pixels


@contextmanager
def computed_once(estimator: Any, X: Any) -> Iterator[tuple[Any, Any]]:
    """Yield an estimator that is cheap to fit repeatedly, and its input.

    If `estimator` starts with a :class:`VGG19Features`, these are its other steps and
    the features, which depend neither on targets nor on folds. Otherwise it is a clone
    that caches the features of each image while the context is open.
    """
    found = _find_features(estimator)
    if found is not None and found[2] != "passthrough":
        yield found[2], clone(found[1]).fit_transform(X)
        return
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield _remembering(clone(estimator), folder), X


def _remembering(estimator: Any, folder: str) -> Any:
    """Set `memory` of the image estimators that have none to a folder."""
    params = estimator.get_params(deep=True)
    parts = {"": estimator, **{f"{name}__": part for name, part in params.items()}}
    memories = {
        f"{prefix}memory": folder
        for prefix, part in parts.items()
        if _takes_images(part) and part.memory is None
    }
    candidates = {
        name: _remembering_all(value, folder)
        for name, value in params.items()
        if name.endswith(("param_grid", "param_distributions"))
    }
    return estimator.set_params(**memories, **candidates)


def _remembering_all(candidates: Any, folder: str) -> Any:
    """Return the candidates of a search, whose image estimators use a folder."""
    if isinstance(candidates, Mapping):
        return {name: _remembering_all(v, folder) for name, v in candidates.items()}
    if isinstance(candidates, list | tuple):
        return [_remembering_all(value, folder) for value in candidates]
    if isinstance(candidates, BaseEstimator):
        return _remembering(clone(candidates), folder)
    return candidates


def _takes_images(part: Any) -> bool:
    """Return whether an object is an image estimator of this package."""
    return hasattr(part, "image_size") and hasattr(part, "memory")


def transformer_of(estimator: Any) -> Any:
    """Return the transformer of images in an estimator.

    That is the estimator itself, its `features_`, or all steps of a pipeline but the
    last one if that is not a transformer.
    """
    estimator = unwrap(estimator)
    if isinstance(getattr(estimator, "features_", None), VGG19Features):
        return estimator.features_
    if hasattr(estimator, "transform"):
        return estimator
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        return transformer_of(without_samplers(estimator)[:-1])
    if _takes_images(estimator):
        check_is_fitted(estimator)
    raise ValueError(
        "Expected a transformer of images such as VGG19Features, a pipeline that "
        "starts with one, or a fitted VGG19Classifier or VGG19Regressor; got "
        f"{type(estimator).__name__}: {estimator!r:.200}."
    )


def rows_of(
    estimator: Any, X: Any, y: Any = None
) -> tuple[np.ndarray, Callable[[Any], Any]]:
    """Return the features of images, and a function for unchecked ones of others.

    If the transformer of `estimator` is not fitted, a clone is fitted on X and y. Each
    image goes through the network once.
    """
    transformer = transformer_of(estimator)
    try:
        check_is_fitted(transformer)
    except NotFittedError:
        transformer = clone(transformer)
        rows = transformer.fit_transform(X, y)
    else:
        rows = transformer.transform(X)

    return check_rows(rows), transformer.transform


def check_rows(rows: Any, name: str = "X") -> np.ndarray:
    """Check that rows are 2-D and finite, and return them as float64."""
    if hasattr(rows, "toarray"):
        rows = rows.toarray()
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2:
        raise ValueError(
            f"{name} has features of shape {rows.shape}; expected one row per image, "
            "(n_samples, n_features)."
        )
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{name}[{bad[0]}] has features that are NaN or infinite "
            f"({len(bad)} such image(s) in total). Drop these images. "
            "skvgg.datasets.find_bad_images finds out what is wrong with them."
        )
    return rows
