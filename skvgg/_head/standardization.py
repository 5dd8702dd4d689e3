"""Features and targets on one scale for the training, and back into the weights.

The network learns on standardized features and targets. When the training ends, the
means and deviations are folded into its first and last layers, so that what is kept
takes features as they come and gives targets in their own units.
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

#: Length to which rows of features are brought, on average: that of 4096 standardized
#: features, for which the recipe chose its initial weights and its learning rate. So
#: neither few nor many features change what comes out of the first layer.
_ROW_LENGTH = 64

#: Samples whose sums are taken together; bounds the memory of float64 copies.
_BATCH = 1024


@dataclass(frozen=True)
class Standardization:
    """(x - `mean`) / `scale`, column by column.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_columns,), float64
        The scale of a column that is to be left out is infinite.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, X: Any, weights: np.ndarray) -> Standardization:
        """Return the weighted means and deviations of the columns of X.

        Sparse X is not centred, which would fill it: its means are 0. A deviation that
        is rounding of the type of X is none: such columns are left out.
        """
        scaler = StandardScaler(with_mean=not issparse(X))
        with warnings.catch_warnings():
            # Of columns whose deviation is rounding.
            warnings.filterwarnings("ignore", "Numerical issues", UserWarning)
            for rows in gen_batches(len(weights), _BATCH):
                scaler.partial_fit(X[rows], sample_weight=weights[rows])
        resolution = 4 * np.finfo(X.dtype).eps
        is_constant = np.sqrt(scaler.var_) <= resolution * np.abs(scaler.mean_)
        mean = np.zeros_like(scaler.mean_) if issparse(X) else scaler.mean_
        return cls(mean, np.where(is_constant, np.inf, scaler.scale_))

    def with_constants(self) -> Standardization:
        """Return the one that leaves no column out, and divides those by 1."""
        return replace(self, scale=np.where(np.isinf(self.scale), 1, self.scale))

    def to_row_length(self, X: Any, weights: np.ndarray) -> Standardization:
        """Return the one that also brings rows to :data:`_ROW_LENGTH`, on average."""
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
        """Return a layer that does to x what this one does to standardized x."""
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
        """Return a layer that gives y where this one gives standardized y.

        Its intercept is float64: y may lie far from zero.
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
    """Samples of X, standardized when they are taken, so that no copy of X is made.

    Parameters
    ----------
    X : ndarray or sparse array of shape (n, n_features), float32
        Samples as they come.
    standardization : Standardization
        What is done to them.
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
    """What is done to the features and to the targets of a head; None is nothing."""

    inputs: Standardization | None = None
    outputs: Standardization | None = None

    def apply(self, rows: Samples) -> Samples:
        """Return rows as the network is to see them."""
        X, Y = rows.X, rows.Y
        if self.inputs is not None:
            X = StandardizedRows(X, self.inputs)
        if self.outputs is not None:
            Y = self.outputs(Y)
        return replace(rows, X=X, Y=Y.astype(np.float32, copy=False))

    def fold(self, parameters: Parameters) -> Parameters:
        """Return the parameters of a network that takes and gives what people have."""
        weights, biases = map(list, parameters)
        if self.inputs is not None:
            weights[0], biases[0] = self.inputs.fold_into_inputs(weights[0], biases[0])
        if self.outputs is not None:
            last = self.outputs.fold_into_outputs(weights[-1], biases[-1])
            weights[-1], biases[-1] = last
        return weights, biases

    def unfold(self, parameters: Parameters) -> Parameters:
        """Undo :meth:`fold`, but for rounding."""
        weights, biases = map(list, parameters)
        if self.outputs is not None:
            last = self.outputs.unfold_from_outputs(weights[-1], biases[-1])
            weights[-1], biases[-1] = last
        if self.inputs is not None:
            first = self.inputs.unfold_from_inputs(weights[0], biases[0])
            weights[0], biases[0] = first
        return weights, biases
