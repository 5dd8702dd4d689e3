"""Heads that are dense layers, linear models among them, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

#: Each activation, and its derivative as a function of what it gives.
_ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "identity": (lambda x: x, np.ones_like),
    "logistic": (expit, lambda a: a * (1 - a)),
    "tanh": (np.tanh, lambda a: 1 - a**2),
    "relu": (lambda x: np.maximum(x, 0), lambda a: (a > 0).astype(a.dtype)),
}

#: Share of the sum of its terms by which a score may differ from a linear one's:
#: rounding of float32.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class DenseHead:
    """Dense layers, the last without its activation.

    Parameters
    ----------
    coefs : list of ndarray of shape (n_inputs, n_outputs)
        Weights of each layer.
    intercepts : list of ndarray of shape (n_outputs,)
        Intercepts of each layer.
    activation : {"identity", "logistic", "tanh", "relu"}
        Activation of the hidden layers.
    """

    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    activation: str

    def hidden(self, x: np.ndarray) -> list[np.ndarray]:
        """Return what goes into each layer, for a row of float64."""
        activate, _ = _ACTIVATIONS[self.activation]
        inputs = [x]
        for coef, intercept in zip(self.coefs[:-1], self.intercepts[:-1], strict=True):
            inputs.append(activate(inputs[-1] @ coef + intercept))
        return inputs

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Return what comes out of the last layer, for a row of float64."""
        return self.hidden(x)[-1] @ self.coefs[-1] + self.intercepts[-1]

    def gradient(self, x: np.ndarray, column: int) -> np.ndarray:
        """Return the gradient of an output with respect to a row of float64."""
        _, derivative = _ACTIVATIONS[self.activation]
        gradient = self.coefs[-1][:, column].astype(np.float64)
        inputs = self.hidden(x)
        for coef, given in zip(self.coefs[-2::-1], inputs[:0:-1], strict=True):
            gradient = coef @ (gradient * derivative(given))
        return gradient


def as_dense_layers(head: Any) -> DenseHead | None:
    """Return a multi-layer perceptron's layers; None if it is none."""
    if not hasattr(head, "coefs_") or head.activation not in _ACTIVATIONS:
        return None
    return DenseHead(list(head.coefs_), list(head.intercepts_), head.activation)


def as_linear(head: Any, x: np.ndarray, scores: np.ndarray) -> DenseHead | None:
    """Return a linear model as one layer; None if its scores are not linear.

    That a model has coefficients does not say that: those of generalized linear models
    and of a one-versus-one SVC do other things.

    Parameters
    ----------
    head : estimator
        The model.
    x : ndarray of shape (n_features,)
        A row.
    scores : ndarray of shape (n_outputs,)
        What the model makes of it.
    """
    coef, intercept = getattr(head, "coef_", None), getattr(head, "intercept_", None)
    if not isinstance(coef, np.ndarray) or intercept is None:
        return None
    coef = np.atleast_2d(coef).T.astype(np.float64)
    if coef.shape != (len(x), len(scores)):
        return None
    linear = x @ coef + intercept
    terms = np.abs(x) @ np.abs(coef) + np.abs(intercept)
    if (np.abs(linear - scores) > _TOLERANCE * terms).any():
        return None
    return DenseHead([coef], [np.broadcast_to(intercept, scores.shape)], "identity")
