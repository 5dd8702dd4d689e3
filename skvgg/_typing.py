"""Types of what the public functions take, and typed decorators of scikit-learn's.

scikit-learn, SciPy and joblib have no types of their own: what is imported from them is
:class:`typing.Any` to a type checker, and so is any function that they decorate.
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

P = ParamSpec("P")
R = TypeVar("R")

#: A table of features: an array, a DataFrame or a sparse matrix.
MatrixLike = ArrayLike | spmatrix | sparray
#: Images in any of the forms that :meth:`skvgg.VGG19Features.transform` lists. They
#: have no type in common: collections of Dask, pandas and pyarrow are among them.
ImagesLike = Any

LayerLike = str | Sequence[str] | np.ndarray
PoolingName = Literal["avg", "max"]
PoolingLike = PoolingName | Sequence[PoolingName] | None
PreprocessingName = Literal["auto", "caffe", "torch", "none"]
Flips = Literal["flip", "flips"]
Augment = (
    Flips
    | Literal["crop"]
    | Callable[[np.ndarray, np.random.Generator], np.ndarray]
    | None
)
TrainingPrecision = Literal["float32", "tensorfloat32", "bfloat16"]
Activation = Literal["identity", "logistic", "tanh", "relu"]
Callback = Callable[[int, dict[str, float]], object]
Callbacks = Callback | Sequence[Callback] | None
ClassWeight = Mapping[Any, float] | Literal["balanced"] | None
MemoryLike = str | os.PathLike[str] | Memory | None
RandomState = int | np.random.RandomState | None


def fit_context(
    *, prefer_skip_nested_validation: bool
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return scikit-learn's decorator of methods that fit."""
    decorate: Callable[[Callable[P, R]], Callable[P, R]] = _fit_context(
        prefer_skip_nested_validation=prefer_skip_nested_validation
    )
    return decorate


def checked_params(
    constraints: Mapping[str, Any],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return scikit-learn's decorator of functions that check their parameters."""
    decorate: Callable[[Callable[P, R]], Callable[P, R]] = validate_params(
        constraints, prefer_skip_nested_validation=True
    )
    return decorate
