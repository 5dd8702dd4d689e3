"""Scores of the layers of a network, with one forward pass per image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv, cross_val_score
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import get_routing_for_object

from skvgg._definition.architecture import POOLINGS, Output, PoolingName
from skvgg.features import VGG19Features
from skvgg.plotting._pipeline import last_step, split_pipeline
from skvgg.plotting._routing import check_groups


def check_poolings(
    poolings: PoolingName | Sequence[PoolingName],
) -> tuple[PoolingName, ...]:
    """Check and return the poolings."""
    if isinstance(poolings, str):
        poolings = (poolings,)
    names = tuple(poolings)
    unknown = [name for name in names if name not in POOLINGS]
    if unknown or not names or len(set(names)) < len(names):
        problem = f"unknown: {unknown[0]!r}" if unknown else "empty or has duplicates"
        raise ValueError(
            f"poolings={names!r} is {problem}. Expected one or more of "
            f"{', '.join(POOLINGS)}, without duplicates."
        )
    return names


def score_layers(
    pipeline: Any,
    X: Any,
    y: Any,
    layers: Sequence[str],
    poolings: Sequence[PoolingName],
    *,
    groups: Any,
    cv: Any,
    scoring: Any,
    n_jobs: int | None,
    params: Mapping[str, Any] | None,
    error_score: Any,
) -> np.ndarray:
    """Return cross-validated scores of a pipeline for each layer and pooling.

    Features depend neither on y nor on the folds, so they are computed first. The shape
    of the scores is (n_layers, n_poolings, n_folds).
    """
    _, features, rest = split_pipeline(pipeline)
    if y is None and (is_classifier(rest) or is_regressor(rest)):
        raise ValueError(
            f"y is None, but {type(last_step(rest)).__name__} learns from targets; "
            "pass the targets of X, one per image."
        )
    check_groups(groups)
    check_scoring(rest, scoring=scoring)
    X, y, groups = indexable(X, y, groups)
    splitter = _SplitOnce(check_cv(cv, y, classifier=is_classifier(rest)), X)
    scores: dict[Output, np.ndarray] = {}
    with _one_pass(features, X, layers) as extractor:
        for layer in layers:
            for pooling in poolings:
                output = Output.of(layer, pooling)
                if output in scores:
                    continue
                extractor.set_params(layer=layer, pooling=pooling)
                scores[output] = cross_val_score(
                    rest,
                    extractor.transform(X),
                    y,
                    groups=groups,
                    scoring=scoring,
                    cv=splitter,
                    n_jobs=n_jobs,
                    params=params,
                    error_score=error_score,
                )
    outputs = [[Output.of(layer, pool) for pool in poolings] for layer in layers]
    return np.array([[scores[output] for output in row] for row in outputs])


@contextmanager
def _one_pass(
    features: VGG19Features, X: Any, layers: Sequence[str]
) -> Iterator[VGG19Features]:
    """Yield a fitted clone that computes all layers on the first request.

    Features are stored in the memory of `features`, or in a temporary folder.
    """
    extractor = clone(features).set_params(layer=layers, memory_layers=layers)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if extractor.memory is None:
            extractor.set_params(memory=folder)
        yield extractor.fit(X)


class _SplitOnce:
    """A splitter that draws its folds once, from images in place of features."""

    def __init__(self, splitter: Any, X: Any) -> None:
        self._splitter = splitter
        self._X = X
        self._folds: list[tuple[np.ndarray, np.ndarray]] | None = None

    def get_n_splits(self, X: Any = None, y: Any = None, **metadata: Any) -> int:
        """Return the number of folds."""
        return self._splitter.get_n_splits(self._X, y, **metadata)

    def split(
        self, X: Any, y: Any = None, groups: Any = None, **metadata: Any
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Return the training and test indices of each fold."""
        if self._folds is None:
            if groups is not None:
                metadata["groups"] = groups
            self._folds = list(self._splitter.split(self._X, y, **metadata))
        return iter(self._folds)

    def get_metadata_routing(self) -> Any:
        """Return the metadata routing of the splitter."""
        return get_routing_for_object(self._splitter)
