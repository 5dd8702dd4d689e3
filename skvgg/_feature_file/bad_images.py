"""Find bad images whose warnings were lost in another process or thread."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np
from joblib import effective_n_jobs, parallel_config
from sklearn.utils import _safe_indexing

from skvgg._runtime.warn import holding_warnings
from skvgg.exceptions import BadImageWarning, ImageError


def find_unnamed(
    transformer: Any, part: Any, rows: np.ndarray, named: Container[int]
) -> dict[int, ImageError]:
    """Return the errors of bad images without a warning, by index in `rows`.

    Images with NaN in their row are transformed once more in this thread, so that
    warnings tell what is wrong. (Bad images never reach the network.)

    Parameters
    ----------
    transformer : object
        An object with ``transform``.
    part : sequence of length n
        Input of ``transform``.
    rows : ndarray of shape (n, n_features)
        Output of ``transform``.
    named : container of int
        Indices of rows with a warning.
    """
    if rows.dtype.kind != "f" or not _runs_elsewhere(transformer):
        return {}
    nan = np.flatnonzero(np.isnan(rows).any(axis=1)).tolist()
    suspects = [index for index in nan if index not in named]
    if not suspects:
        return {}
    with parallel_config("sequential"), holding_warnings() as held:
        transformer.transform(_safe_indexing(part, suspects))
    return {
        suspects[place]: why.shifted(suspects[place] - place)
        for warning in held
        if isinstance(warning, BadImageWarning)
        for place, why in warning.bad_images.items()
    }


def _runs_elsewhere(transformer: Any) -> bool:
    """Return whether steps that skip bad images may run where warnings are lost."""
    if not hasattr(transformer, "get_params"):
        return False
    parameters = transformer.get_params()
    owners = {
        name.removesuffix("on_error")
        for name, value in parameters.items()
        if name.endswith("on_error") and isinstance(value, str) and value == "nan"
    }
    return bool(owners) and any(
        effective_n_jobs(value) > 1
        for name, value in parameters.items()
        # Estimators with both parameters pass on their warnings.
        if name.endswith("n_jobs") and name.removesuffix("n_jobs") not in owners
    )
