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
    """Raise a ValueError for groups with metadata routing, as scikit-learn does."""
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
    """Return the parameters of `split` and of `fit`, as cross_val_predict does."""
    check_groups(groups)
    params = {} if params is None else params
    if not get_config()["enable_metadata_routing"]:
        return {"groups": groups}, params
    to_split = MethodMapping().add(caller="fit", callee="split")
    to_fit = MethodMapping().add(caller="fit", callee="fit")
    router = MetadataRouter(owner=caller)
    router.add(splitter=splitter, method_mapping=to_split)
    router.add(estimator=estimator, method_mapping=to_fit)
    routed = process_routing(router, "fit", **params)
    return routed.splitter.split, routed.estimator.fit
