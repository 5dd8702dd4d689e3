"""Heads made of dense layers, including linear models, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from skvgg._head.base import BaseTFLearnMLP
from skvgg._head.standardization import Scaling

#: Activations, and their derivatives as functions of the activation's output.
_ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "identity": (lambda x: x, np.ones_like),
    "logistic": (expit, lambda a: a * (1 - a)),
    "tanh": (np.tanh, lambda a: 1 - a**2),
    "relu": (lambda x: np.maximum(x, 0), lambda a: (a > 0).astype(a.dtype)),
}

#: Tolerance between a score and a linear function, relative to the sum of the terms;
#: it allows for float32 rounding.
_TOLERANCE = 1e-6

_UNSCALED = Scaling()


@dataclass(frozen=True)
class DenseHead:
    """Dense layers; the last one has no activation.

    Parameters
    ----------
    coefs : list of ndarray of shape (n_inputs, n_outputs)
        Weights of each layer.
    intercepts : list of ndarray of shape (n_outputs,)
        Intercepts of each layer.
    activation : {"identity", "logistic", "tanh", "relu"}
        Activation of the hidden layers.
    scaling : Scaling
        Standardization of the inputs and outputs of the layers.
    """

    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    activation: str
    scaling: Scaling = _UNSCALED

    def hidden(self, x: np.ndarray) -> list[np.ndarray]:
        """Return the input of each layer, for a float64 row."""
        activate, _ = _ACTIVATIONS[self.activation]
        standardize = self.scaling.inputs
        inputs = [x if standardize is None else standardize(x)]
        for coef, intercept in zip(self.coefs[:-1], self.intercepts[:-1], strict=True):
            inputs.append(activate(inputs[-1] @ coef + intercept))
        return inputs

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Return the output of the last layer, for a float64 row."""
        outputs = self.hidden(x)[-1] @ self.coefs[-1] + self.intercepts[-1]
        scaled = self.scaling.outputs
        return outputs if scaled is None else scaled.undo(outputs)

    def gradient(self, x: np.ndarray, column: int) -> np.ndarray:
        """Return the gradient of an output with respect to a float64 row."""
        _, derivative = _ACTIVATIONS[self.activation]
        gradient = self.coefs[-1][:, column].astype(np.float64)
        inputs, standardize = self.hidden(x), self.scaling.inputs
        for coef, given in zip(self.coefs[-2::-1], inputs[:0:-1], strict=True):
            gradient = coef @ (gradient * derivative(given))
        if self.scaling.outputs is not None:
            gradient = gradient * self.scaling.outputs.scale[column]
        return gradient if standardize is None else gradient / standardize.scale


def as_dense_layers(head: Any) -> DenseHead | None:
    """Return the layers of a multi-layer perceptron; None for other models."""
    if not hasattr(head, "coefs_") or head.activation not in _ACTIVATIONS:
        return None
    scaling = head._get_scaling() if isinstance(head, BaseTFLearnMLP) else _UNSCALED
    return DenseHead(
        list(head.coefs_), list(head.intercepts_), head.activation, scaling
    )


def as_linear(head: Any, x: np.ndarray, scores: np.ndarray) -> DenseHead | None:
    """Return a linear model as one layer; None if its scores are not linear.

    Scores of a model with coefficients may still be nonlinear, as in generalized linear
    models and a one-versus-one SVC.

    Parameters
    ----------
    head : estimator
        The model.
    x : ndarray of shape (n_features,)
        A row.
    scores : ndarray of shape (n_outputs,)
        The scores of the model for this row.
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
