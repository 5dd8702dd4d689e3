"""Models taken apart: the transformer of images, and what learns on its rows."""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skvgg.features import VGG19Features


def split_pipeline(pipeline: Any) -> tuple[str, VGG19Features, Any]:
    """Return the transformer of a pipeline, fitted or not, and the other steps.

    Parameters
    ----------
    pipeline : Pipeline
        Its first step is a :class:`VGG19Features`, or a pipeline of which that is so.

    Returns
    -------
    name : str
        The step of the transformer, as parameters of the pipeline are prefixed.
    features : VGG19Features
    rest : Pipeline
        The steps after it, under the names that they have in `pipeline`.

    Raises
    ------
    ValueError
        If `pipeline` is something else, or has no other step.
    """
    found = _find_features(pipeline)
    if found is None or found[2] == "passthrough":
        got = pipeline if found else f"{type(pipeline).__name__}: {pipeline!r:.200}"
        raise ValueError(
            "Expected a pipeline whose first step is a VGG19Features and whose other "
            "steps learn on its rows, such as make_pipeline(VGG19Features(), "
            f"StandardScaler(), LogisticRegression()); got {got}."
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
    rest = Pipeline(steps, memory=rest.memory, verbose=rest.verbose)
    return f"{name}__{found[0]}", found[1], rest


def split_fitted(model: Any) -> tuple[VGG19Features, list[Any]]:
    """Return the transformer of a fitted model, and the steps on its rows.

    Parameters
    ----------
    model : estimator
        A pipeline whose first step is a :class:`VGG19Features`; or an estimator that
        has one as its attribute `features_` and what was fitted on its rows as
        `head_`; or a search over such models.

    Returns
    -------
    features : VGG19Features
    steps : list of estimator
        Transformers, and last a classifier or regressor.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the model is not fitted.
    ValueError
        If it is of another kind.
    """
    check_is_fitted(model)
    model = getattr(model, "best_estimator_", model)
    if hasattr(model, "features_") and hasattr(model, "head_"):
        return model.features_, _steps_of(model.head_)
    first, *steps = _steps_of(model)
    if not isinstance(first, VGG19Features) or not steps:
        raise ValueError(
            "Expected a fitted pipeline whose first step is a VGG19Features and whose "
            "last one is a classifier or regressor; got "
            f"{type(model).__name__}: {model!r:.200}."
        )
    return first, steps


def _steps_of(estimator: Any) -> list[Any]:
    """Return the steps of nested pipelines, the others as they are."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    if estimator is None or estimator == "passthrough":
        return []
    if not isinstance(estimator, Pipeline):
        return [estimator]
    return [step for _, nested in estimator.steps for step in _steps_of(nested)]
