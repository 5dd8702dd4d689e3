"""Standardize features and targets, in training and in predictions.

The network takes standardized features and returns standardized targets. Both are
converted in float64, because features and targets may be far from zero.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches

from skvgg._head.training import Samples

#: Root mean square length of scaled rows: that of 4096 standardized features, for which
#: the recipe's initial weights and learning rate were chosen. This makes the outputs of
#: the first layer independent of the number of features.
_ROW_LENGTH = 64

#: Maximum factor, for fewer than 29 features. Larger factors make the few features so
#: large that the output does not say much about places without samples: with two
#: noisy features, a class of nearly all the weight is predicted for 100 % of new
#: samples with a factor of 12, and for 74 to 98 % with a factor of 45.
_MAX_FACTOR = 12

#: Number of samples summed together; limits the memory of float64 copies.
_BATCH = 1024


@dataclass(frozen=True)
class Standardization:
    """(x - `mean`) / `scale`, column by column.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_columns,), float64
        The scale is infinite for columns that are left out.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, X: Any, weights: np.ndarray) -> Standardization:
        """Return the weighted means and standard deviations of the columns of X.

        Sparse X is not centered (its means are 0), because that would make it dense.
        Columns whose standard deviation is within rounding error are constant and left
        out.
        """
        scaler = StandardScaler(with_mean=not issparse(X))
        with warnings.catch_warnings():
            # Raised for columns that are constant up to rounding.
            warnings.filterwarnings("ignore", "Numerical issues", UserWarning)
            for rows in gen_batches(len(weights), _BATCH):
                scaler.partial_fit(X[rows], sample_weight=weights[rows])
        # The network gets values in float32 that are not centered, if X is sparse.
        dtype = np.float32 if issparse(X) else X.dtype
        resolution = max(  # of the values, and of the mean of many of them
            4 * np.finfo(dtype).eps, len(weights) * np.finfo(np.float64).eps
        )
        is_constant = np.sqrt(scaler.var_) <= resolution * np.abs(scaler.mean_)
        mean = np.zeros_like(scaler.mean_) if issparse(X) else scaler.mean_
        return cls(mean, np.where(is_constant, np.inf, scaler.scale_))

    def with_constants(self) -> Standardization:
        """Return a copy that keeps constant columns, with a scale of 1."""
        return replace(self, scale=np.where(np.isinf(self.scale), 1, self.scale))

    def to_row_length(self, X: Any, weights: np.ndarray) -> Standardization:
        """Return a copy that also scales rows to :data:`_ROW_LENGTH` if they are long.

        Few features are scaled by :data:`_MAX_FACTOR`.
        """
        total = 0.0
        for rows in gen_batches(len(weights), _BATCH):
            part = StandardizedRows(X, self)[rows].astype(np.float64)
            total += float(weights[rows] @ np.square(part).sum(axis=1))
        length = np.sqrt(total / weights.sum())
        factor = min(_ROW_LENGTH / length, _MAX_FACTOR) if length else 1.0
        return replace(self, scale=self.scale / factor)

    def __call__(self, X: Any) -> Any:
        """Return standardized columns in float64; sparse ones stay sparse if possible.

        The mean may be many deviations from zero, so it is subtracted here and not
        folded into the first layer.
        """
        if issparse(X):
            if not self.mean.any():
                return X.multiply(1 / self.scale).tocsr()
            X = X.toarray()
        return (X - self.mean) / self.scale

    def undo(self, Z: np.ndarray) -> np.ndarray:
        """Return the columns that were standardized to Z."""
        return Z * self.scale + self.mean


class StandardizedRows:
    """Samples of X that are standardized on access, without a copy of X.

    Parameters
    ----------
    X : ndarray or sparse array of shape (n, n_features)
        Unscaled samples.
    standardization : Standardization
        The standardization to apply.
    """

    def __init__(self, X: Any, standardization: Standardization) -> None:
        self._X = X
        self._standardization = standardization
        self.shape = X.shape

    def __getitem__(self, rows: Any) -> np.ndarray:
        taken = self._X[rows]
        dense = taken.toarray() if issparse(taken) else taken
        return self._standardization(dense).astype(np.float32)


@dataclass(frozen=True)
class Scaling:
    """Standardization of the features and targets of a head; None means unchanged."""

    inputs: Standardization | None = None
    outputs: Standardization | None = None

    @classmethod
    def of(cls, head: Any) -> Scaling:
        """Return the scaling of a fitted head; nothing is scaled in other models."""
        inputs = outputs = None
        if getattr(head, "feature_mean_", None) is not None:
            inputs = Standardization(head.feature_mean_, head.feature_scale_)
        if getattr(head, "target_mean_", None) is not None:
            outputs = Standardization(head.target_mean_, head.target_scale_)
        return cls(inputs, outputs)

    def attributes_of_features(self) -> dict[str, Any]:
        """Return the fitted attributes that describe the scaling of features."""
        mean, scale = _mean_and_scale(self.inputs)
        return {"feature_mean_": mean, "feature_scale_": scale}

    def attributes_of_targets(self) -> dict[str, Any]:
        """Return the fitted attributes that describe the scaling of targets."""
        mean, scale = _mean_and_scale(self.outputs)
        return {"target_mean_": mean, "target_scale_": scale}

    def apply(self, rows: Samples) -> Samples:
        """Return scaled samples for the network."""
        X, Y = rows.X, rows.Y
        if self.inputs is not None:
            X = StandardizedRows(X, self.inputs)
        if self.outputs is not None:
            Y = self.outputs(Y)
        return replace(rows, X=X, Y=Y.astype(np.float32, copy=False))


def _mean_and_scale(standardization: Standardization | None) -> tuple[Any, Any]:
    if standardization is None:
        return None, 1.0
    return standardization.mean, standardization.scale
