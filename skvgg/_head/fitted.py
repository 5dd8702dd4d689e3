"""Fitted attributes of heads and fine-tuned estimators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skvgg._head.forward import Parameters
from skvgg._head.standardization import Scaling
from skvgg._head.targets import MultilabelTargets, NumberTargets, Targets
from skvgg._head.training import EarlyStopping


@contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
    """Restore the state of an estimator if its fit fails."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def store_learned(
    head: Any, scaling: Scaling, parameters: Parameters, targets: Targets
) -> None:
    """Set the fitted attributes with which a head predicts.

    `parameters` are the weights and biases of each layer, for features and targets
    scaled by `scaling`.
    """
    learned = {**targets.attributes(), **scaling.attributes_of_features()}
    if isinstance(targets, NumberTargets):
        learned |= scaling.attributes_of_targets()
    else:
        learned["multilabel_"] = isinstance(targets, MultilabelTargets)
    vars(head).update(learned)
    head.coefs_, head.intercepts_ = map(list, parameters)
    head.n_features_in_ = len(head.coefs_[0])


def store_best(
    estimator: Any, stopping: EarlyStopping | None, n_before: int = 0
) -> None:
    """Set the attributes of early stopping, or remove those of an earlier fit.

    `n_before` is the number of epochs of earlier fits that this one continues.
    """
    for name in ("best_validation_score_", "best_epoch_"):
        vars(estimator).pop(name, None)
    if stopping is not None:
        estimator.best_validation_score_ = stopping.best_score
        estimator.best_epoch_ = n_before + stopping.best_epoch
