"""Metadata for splitters and estimators, as in scikit-learn's cross-validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn import get_config
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)


def check_groups(groups: Any) -> None:
    """Raise an error for groups with metadata routing, as scikit-learn does.

    Raises
    ------
    ValueError
        If routing is enabled and there are groups.
    """
    if groups is not None and get_config()["enable_metadata_routing"]:
        raise ValueError(
            "With metadata routing, groups are one of the params: pass "
            "params={'groups': groups}, and leave groups=None."
        )


def route(
    estimator: Any,
    splitter: Any,
    groups: Any,
    params: Mapping[str, Any] | None,
    caller: str,
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the parameters of `split` and of `fit`.

    Parameters
    ----------
    estimator : estimator
        The estimator to fit.
    splitter : cross-validator
        The splitter.
    groups, params
        As in :func:`sklearn.model_selection.cross_val_predict`.
    caller : str
        Name of the function in error messages.

    Raises
    ------
    ValueError
        If routing is enabled and there are groups, or a parameter is neither requested
        nor refused.
    TypeError
        If routing is enabled and nothing takes a parameter.
    """
    check_groups(groups)
    params = {} if params is None else params
    if not get_config()["enable_metadata_routing"]:
        return {"groups": groups}, params
    router = (
        MetadataRouter(owner=caller)
        .add(
            splitter=splitter,
            method_mapping=MethodMapping().add(caller="fit", callee="split"),
        )
        .add(
            estimator=estimator,
            method_mapping=MethodMapping().add(caller="fit", callee="fit"),
        )
    )
    routed = process_routing(router, "fit", **params)
    return routed.splitter.split, routed.estimator.fit
