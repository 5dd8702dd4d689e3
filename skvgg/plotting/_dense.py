"""The gradients of dense layers, including linear models."""

from __future__ import annotations

from typing import Any

import numpy as np

from skvgg._head.forward import ACTIVATIONS, HIDDEN_ACTIVATIONS, DenseLayers

#: Tolerance between a score and a linear function, relative to the sum of the terms;
#: it allows for float32 rounding.
_TOLERANCE = 1e-6


def scores(layers: DenseLayers, x: np.ndarray) -> np.ndarray:
    """Return the outputs of the last layer, before its activation, for a row."""
    return layers.outputs(x[None], "identity")[0]


def gradient(layers: DenseLayers, x: np.ndarray, column: int) -> np.ndarray:
    """Return the gradient of an output with respect to a float64 row."""
    derivative = ACTIVATIONS[layers.activation].derivative
    assert derivative is not None
    gradient = layers.coefs[-1][:, column].astype(np.float64)
    inputs, scaling = layers.layer_inputs(x[None]), layers.scaling
    for coef, given in zip(layers.coefs[-2::-1], inputs[:0:-1], strict=True):
        gradient = coef @ (gradient * derivative(given[0]))
    if scaling.outputs is not None:
        gradient = gradient * scaling.outputs.scale[column]
    return gradient if scaling.inputs is None else gradient / scaling.inputs.scale


def as_dense_layers(head: Any) -> DenseLayers | None:
    """Return the layers of a multi-layer perceptron; None for other models."""
    if not hasattr(head, "coefs_") or head.activation not in HIDDEN_ACTIVATIONS:
        return None
    return DenseLayers.of(head)


def as_linear(head: Any, x: np.ndarray, scores: np.ndarray) -> DenseLayers | None:
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
    return DenseLayers([coef], [np.broadcast_to(intercept, scores.shape)])
