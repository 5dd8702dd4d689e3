"""Types of public parameters, and typed versions of scikit-learn's decorators.

scikit-learn, SciPy and joblib are untyped: type checkers see their objects, and any
function that they decorate, as :class:`typing.Any`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
from joblib import Memory
from numpy.typing import ArrayLike
from scipy.sparse import sparray, spmatrix
from sklearn.base import _fit_context
from sklearn.utils._param_validation import validate_params

from skvgg._definition.vocabulary import Flips

P = ParamSpec("P")
R = TypeVar("R")

#: A table of features: an array, a DataFrame or a sparse matrix.
MatrixLike = ArrayLike | spmatrix | sparray
#: Images in any form that :meth:`skvgg.VGG19Features.transform` accepts. These forms
#: have no common type: they include Dask, pandas and pyarrow collections.
ImagesLike = Any

LayerLike = str | Sequence[str] | np.ndarray
Augment = (
    Flips
    | Literal["crop"]
    | Callable[[np.ndarray, np.random.Generator], np.ndarray]
    | None
)
Activation = Literal["identity", "logistic", "tanh", "relu"]
Callback = Callable[[int, dict[str, float]], object]
Callbacks = Callback | Sequence[Callback] | None
ClassWeight = Mapping[Any, float] | Literal["balanced"] | None
MemoryLike = str | os.PathLike[str] | Memory | None
RandomState = int | np.random.RandomState | None


def fit_context(
    *, prefer_skip_nested_validation: bool
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return scikit-learn's decorator for fit methods."""
    decorate: Callable[[Callable[P, R]], Callable[P, R]] = _fit_context(
        prefer_skip_nested_validation=prefer_skip_nested_validation
    )
    return decorate


def checked_params(
    constraints: Mapping[str, Any],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return scikit-learn's decorator that validates parameters of functions."""
    decorate: Callable[[Callable[P, R]], Callable[P, R]] = validate_params(
        constraints, prefer_skip_nested_validation=True
    )
    return decorate
