"""Standardize features and targets for training, and fold this into the weights.

The network is trained on standardized features and targets. After training, means and
scales are folded into its first and last layers, so that the fitted network takes
unscaled features and predicts targets in their original units.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches

from skvgg._head.dense import Parameters
from skvgg._head.training import Samples

#: Root mean square length of scaled rows: that of 4096 standardized features, for which
#: the recipe's initial weights and learning rate were chosen. This makes the outputs of
#: the first layer independent of the number of features.
_ROW_LENGTH = 64

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
        resolution = 4 * np.finfo(X.dtype).eps
        is_constant = np.sqrt(scaler.var_) <= resolution * np.abs(scaler.mean_)
        mean = np.zeros_like(scaler.mean_) if issparse(X) else scaler.mean_
        return cls(mean, np.where(is_constant, np.inf, scaler.scale_))

    def with_constants(self) -> Standardization:
        """Return a copy that keeps constant columns, with a scale of 1."""
        return replace(self, scale=np.where(np.isinf(self.scale), 1, self.scale))

    def to_row_length(self, X: Any, weights: np.ndarray) -> Standardization:
        """Return a copy that also scales rows to :data:`_ROW_LENGTH`."""
        total = 0.0
        for rows in gen_batches(len(weights), _BATCH):
            part = StandardizedRows(X, self)[rows].astype(np.float64)
            total += float(weights[rows] @ np.square(part).sum(axis=1))
        length = np.sqrt(total / weights.sum())
        return replace(self, scale=self.scale * (length / _ROW_LENGTH or 1.0))

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Return standardized columns, float32."""
        return ((X - self.mean) / self.scale).astype(np.float32)

    def fold_into_inputs(
        self, coef: np.ndarray, intercept: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a layer for x that is equivalent to this layer for standardized x."""
        folded = coef / self.scale[:, None]
        shift = self.mean @ folded
        return folded.astype(np.float32), (intercept - shift).astype(np.float32)

    def unfold_from_inputs(
        self, coef: np.ndarray, intercept: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Undo :meth:`fold_into_inputs`."""
        shift = self.mean @ coef.astype(np.float64)
        scale = np.where(np.isinf(self.scale), 0, self.scale)
        unfolded = (coef * scale[:, None]).astype(np.float32)
        return unfolded, (intercept + shift).astype(np.float32)

    def fold_into_outputs(
        self, coef: np.ndarray, intercept: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a layer that outputs y where this layer outputs standardized y.

        Its intercept is float64, because y may be far from zero.
        """
        shifted = intercept * self.scale + self.mean
        return (coef * self.scale).astype(np.float32), shifted

    def unfold_from_outputs(
        self, coef: np.ndarray, intercept: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Undo :meth:`fold_into_outputs`."""
        shifted = (intercept - self.mean) / self.scale
        return (coef / self.scale).astype(np.float32), shifted.astype(np.float32)


class StandardizedRows:
    """Samples of X that are standardized on access, without a copy of X.

    Parameters
    ----------
    X : ndarray or sparse array of shape (n, n_features), float32
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
        return self._standardization(dense)


@dataclass(frozen=True)
class Scaling:
    """Standardization of the features and targets of a head; None means unchanged."""

    inputs: Standardization | None = None
    outputs: Standardization | None = None

    def apply(self, rows: Samples) -> Samples:
        """Return scaled samples for the network."""
        X, Y = rows.X, rows.Y
        if self.inputs is not None:
            X = StandardizedRows(X, self.inputs)
        if self.outputs is not None:
            Y = self.outputs(Y)
        return replace(rows, X=X, Y=Y.astype(np.float32, copy=False))

    def fold(self, parameters: Parameters) -> Parameters:
        """Return parameters for unscaled features and targets."""
        weights, biases = map(list, parameters)
        if self.inputs is not None:
            weights[0], biases[0] = self.inputs.fold_into_inputs(weights[0], biases[0])
        if self.outputs is not None:
            last = self.outputs.fold_into_outputs(weights[-1], biases[-1])
            weights[-1], biases[-1] = last
        return weights, biases

    def unfold(self, parameters: Parameters) -> Parameters:
        """Undo :meth:`fold`, up to rounding."""
        weights, biases = map(list, parameters)
        if self.outputs is not None:
            last = self.outputs.unfold_from_outputs(weights[-1], biases[-1])
            weights[-1], biases[-1] = last
        if self.inputs is not None:
            first = self.inputs.unfold_from_inputs(weights[0], biases[0])
            weights[0], biases[0] = first
        return weights, biases
